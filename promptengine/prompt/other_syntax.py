"""Other programs' prompt languages: how one is recognized, and what to write here instead.

One table. None of it changes how a prompt is read: such text is text here, and its author is told so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt import remedies
from promptengine.prompt.ast import Diagnostic, Severity, Span
from promptengine.prompt.diagnostic_kinds import DiagnosticKind
from promptengine.prompt.quoting import quoted, told
from promptengine.prompt.source_map import MappedText

__all__ = ["EMBEDDING_KINDS", "TAG_KINDS", "Foreign", "foreign_syntax"]

_Range = tuple[int, int]

_TAG: Final = re.compile(r"<[^<>]*>")
_BRACE: Final = re.compile(r"[{}|\[\]]")
_SEVERAL: Final = "promptengine grid --x 'prompt=a,b,c' makes an image of each"


def _matches(pattern: str) -> Callable[[str], Iterator[_Range]]:
    """Find what a pattern matches; each is written so that it takes linear time on any text."""
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda text: (match.span() for match in compiled.finditer(text))


def _braces(text: str) -> Iterator[tuple[_Range, bool]]:
    """Yield each outermost pair of braces, and whether a bar stands in it outside of brackets."""
    opened: list[int] = []
    start, depth, bar = 0, 0, False
    for mark in _BRACE.finditer(text):
        match mark[0]:
            case "{":
                if not opened:
                    start, depth, bar = mark.start(), 0, False
                opened.append(mark.start())
            case "}" if opened:
                opened.pop()
                if not opened:
                    yield (start, mark.end()), bar
            case "|" if opened and depth == 0:
                bar = True
            case "[" | "]" if opened:
                depth = max(0, depth + (1 if mark[0] == "[" else -1))
            case _:
                pass


def _choices(text: str) -> Iterator[_Range]:
    return (place for place, bar in _braces(text) if bar)


def _plain_braces(text: str) -> Iterator[_Range]:
    return (place for place, bar in _braces(text) if not bar)


_infotext_lines: Final = _matches(r"^(?:Negative prompt: |Steps: \d+, [A-Z])")


def _leave(_text: str, _start: int, _end: int) -> None:
    """Know no mend."""


def _bracketed(text: str, start: int, end: int) -> tuple[int, int, str, str] | None:
    """Put words and the weight behind them in brackets."""
    weighed = remedies.bare_weight(text, start, end)
    if weighed is None:
        return None
    begin, written = weighed
    return begin, end, written, f"write {written}"


@dataclass(frozen=True, slots=True)
class _Syntax:
    """One construct of another language.

    Attributes:
        program: Whose it is.
        marker: What a text with it holds, to look no closer at any other.
        find: Its places in a text.
        hint: What to write instead.
        kind: What it is told as.
        severity: Where it is not the kind's.
        mend: Takes a text and a place in it, and returns what to write where instead and what that does, or None.
        regions: Whether it is of our own language where that has regions.
    """

    program: str
    marker: str
    find: Callable[[str], Iterator[_Range]]
    hint: str
    kind: DiagnosticKind
    severity: Severity | None = None
    mend: Callable[[str, int, int], tuple[int, int, str, str] | None] = _leave
    regions: bool = False


_CHOICE: Final = _Syntax(
    "Dynamic Prompts' choice",
    "|",
    _choices,
    f"nothing is drawn at random without --dynamic: give it, or write one of them; {_SEVERAL}",
    kinds.DYNAMIC_SYNTAX,
)
_TABLE: Final = (
    _Syntax(
        "an infotext's",
        ": ",
        lambda text: islice(_infotext_lines(text), 1),
        "this looks like an infotext: save it as a text file and use --from FILE",
        kinds.INFOTEXT_SYNTAX,
    ),
    _CHOICE,
    _Syntax(
        "Dynamic Prompts' wildcard",
        "__",
        _matches(
            r"(?<!\w)__(?:[^\W_]|[/*.~-])+(?:_(?:[^\W_]|[/*.~-])+)*__(?!_)",
        ),
        f"no file is looked up without --dynamic: give it, or write the words themselves; {_SEVERAL}",
        kinds.DYNAMIC_SYNTAX,
        "info",
    ),
    _Syntax(
        "NovelAI's weight",
        "::",
        _matches(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)::"),
        "write (words:1.5)",
        kinds.NOVELAI_SYNTAX,
        mend=remedies.novelai_weight,
    ),
    _Syntax(
        "Midjourney's weight",
        "::",
        _matches(r"(?<=\w)::-?(?:\d+(?:\.\d+)?|\.\d+)(?=[\s,]|\Z)"),
        "write (words:1.5), or words :1.5 AND others",
        kinds.MIDJOURNEY_SYNTAX,
    ),
    _Syntax(
        "NovelAI's emphasis",
        "{",
        _plain_braces,
        "write (words) or (words:1.05), and [words] for less",
        kinds.NOVELAI_SYNTAX,
        "info",
        mend=remedies.curly_emphasis,
    ),
    _Syntax(
        "Midjourney's option",
        "--",
        _matches(
            r"(?<!\S)--(?:ar|aspect|v|niji|stylize|chaos|no|style|quality|weird|cref|sref|iw)\b"
        ),
        "sizes, seeds and negative prompts are options of their own here, such as --width",
        kinds.MIDJOURNEY_SYNTAX,
    ),
    _Syntax(
        "compel's weight",
        ")",
        _matches(r"\)(?:[+-]+|\d+\.\d+)(?=[\s,.;]|\Z)"),
        "write (words:1.1), or (words:0.9) for less",
        kinds.COMPEL_SYNTAX,
        mend=remedies.compel_weight,
    ),
    _Syntax(
        "compel's weight",
        "++",
        _matches(r"(?<=[^\W\d_]{2})\+{2,}(?![\w+])"),
        "write (words:1.1), once more in brackets for each further +",
        kinds.COMPEL_SYNTAX,
        mend=remedies.compel_word,
    ),
    _Syntax(
        "compel's function",
        "(",
        _matches(r"(?<=[\w)\"'])\.(?:and|blend|swap)\("),
        "write a AND b, or [a:b:0.5] to change from one to the other",
        kinds.COMPEL_SYNTAX,
    ),
    _Syntax(
        "ComfyUI's name of an embedding",
        "embedding:",
        _matches(r"\bembedding:[^\s,:()\[\]]+"),
        "here the bare name is the word: leave 'embedding:' out",
        kinds.COMFYUI_SYNTAX,
        mend=remedies.without_prefix,
    ),
    _Syntax(
        "an extension's keyword",
        "AND_",
        _matches(r"\bAND_[A-Z]\w*"),
        "only AND combines prompts here",
        kinds.EXTENSION_SYNTAX,
    ),
    _Syntax(
        "the Regional Prompter extension's keyword",
        "ADD",
        _matches(r"\bADD(?:COMM|BASE|COL|ROW)\b"),
        "a prompt holds for the whole image here; --dialect extended divides the image into regions, a negative "
        "prompt excepted",
        kinds.REGIONS_SYNTAX,
        regions=True,
    ),
    *(
        _Syntax(
            f"a full-width {what}",
            marker,
            _matches(pattern),
            "write ( ) [ ] and : as they are on a Latin keyboard, as in (words:1.3)",
            kinds.FULL_WIDTH_MARK,
            mend=remedies.latin_marks,
        )
        for what, marker, pattern in (
            ("bracket", "（", r"（[^（）]*）?"),
            ("bracket", "［", r"［[^［］]*］?"),
            ("colon", "：", r"：\s*[-+]?\.?\d"),
        )
    ),
    _Syntax(
        "a weight without brackets",
        ":",
        _matches(r"(?<=[^\W\d]):\d*\.\d+(?=\s*,)"),
        "write (words:1.2)",
        kinds.BARE_WEIGHT,
        mend=_bracketed,
    ),
)

TAG_KINDS: Final[Mapping[str, str]] = {
    "random": f"SwarmUI's; write one of the choices; {_SEVERAL}",
    "wildcard": f"SwarmUI's; write the words themselves; {_SEVERAL}",
    "alternate": "SwarmUI's; write [a|b]",
    "fromto": "SwarmUI's; write [a:b:0.5]",
    "embed": "SwarmUI's; here an embedding's bare name is the word",
    "embedding": "here an embedding's bare name is the word",
    "segment": "SwarmUI's, and not known here",
    "region": "SwarmUI's, and not known here",
    "object": "SwarmUI's, and not known here",
}
"""Kinds of tags that mean something elsewhere, and what to write instead."""

EMBEDDING_KINDS: Final = ("embed", "embedding")
"""Those whose name alone is what to write."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What was found of other languages.

    Attributes:
        diagnostics: What to say of it.
        choices: Where braces hold bars, whose bars say nothing of their own.
    """

    diagnostics: tuple[Diagnostic, ...]
    choices: tuple[Span, ...]


def foreign_syntax(rest: MappedText, *, regions: bool) -> Foreign:
    """Look for other languages in a text without its comments and tags.

    Of two constructs at one place the one that stands first in the table is told. Tags that were left
    in the text, as in a negative prompt, are not looked into.

    Args:
        rest: The text.
        regions: Whether the prompt may be divided into regions.
    """
    text = _blanked(rest.text, (tag.span() for tag in _TAG.finditer(rest.text)))
    diagnostics: list[Diagnostic] = []
    choices: tuple[Span, ...] = ()
    for syntax in _TABLE:
        own = regions and syntax.regions
        found = list(syntax.find(text)) if syntax.marker in text and not own else []
        if not found:
            continue
        text = _blanked(text, found)
        diagnostics += _told(syntax, rest, found)
        if syntax is _CHOICE:
            choices = tuple(rest.span(*place) for place in found)
    return Foreign(tuple(diagnostics), choices)


def _told(syntax: _Syntax, rest: MappedText, found: list[_Range]) -> Iterator[Diagnostic]:
    def tell(place: _Range) -> Diagnostic:
        change = syntax.mend(rest.text, *place)
        return syntax.kind(
            f"{quoted(rest.text, *place)} is {syntax.program} and is text here",
            rest.span(*place),
            syntax.hint,
            None if change is None else remedies.replaced(rest, *change),
            severity=syntax.severity,
        )

    return told(found, tell)


def _blanked(text: str, places: Iterable[_Range]) -> str:
    """Return a text of the same length with blanks at some places."""
    kept, pieces = 0, list[str]()
    for start, end in places:
        pieces += [text[kept:start], " " * (end - start)]
        kept = end
    return "".join([*pieces, text[kept:]]) if pieces else text
