"""Other programs' prompt languages: how one is recognized, and what to write instead.

One table. None of it changes how a prompt is read: such text is text there, and its author is told so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Final

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt import remedies
from promptengine.prompt.ast import Severity
from promptengine.prompt.diagnostic_kinds import DiagnosticKind
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.tag_kinds import tag_words

__all__ = [
    "ANGLED",
    "CHOICE",
    "EMBEDDING_KINDS",
    "OTHERS",
    "SPOKEN_TAGS",
    "TABLE",
    "TAG_KINDS",
    "WEBUI_LIKE",
    "Range",
    "Syntax",
    "other_dialect",
]

Range = tuple[int, int]

ANGLED: Final = re.compile(r"<[^<>]*>")
_NETWORK: Final = re.compile(r"<(\w+):[^<>]+>")
_BRACE: Final = re.compile(r"[{}|\[\]]")
WEBUI_LIKE: Final = (WEBUI, "extended")
OTHERS: Final = ("compel", "novelai", "comfyui", "swarmui")
_OTHER_WEIGHTS: Final = ("compel", "novelai")
_SEVERAL: Final = "promptengine grid --x 'prompt=a,b,c' makes an image of each"


def _matches(pattern: str) -> Callable[[str], Iterator[Range]]:
    """Find what a pattern matches; each is written so that it takes linear time on any text."""
    # Few texts have the marks that most patterns begin with, and compiling all takes longer than reading one.
    compiled = cache(lambda: re.compile(pattern, re.MULTILINE))
    return lambda text: (match.span() for match in compiled().finditer(text))


def _braces(text: str) -> Iterator[tuple[Range, bool]]:
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


def _choices(text: str) -> Iterator[Range]:
    return (place for place, bar in _braces(text) if bar)


def _plain_braces(text: str) -> Iterator[Range]:
    return (place for place, bar in _braces(text) if not bar)


_infotext_lines: Final = _matches(r"^(?:Negative prompt: |Steps: \d+, [A-Z])")


def _network_tags(text: str) -> Iterator[Range]:
    """Find the tags that name networks."""
    words = tag_words()
    return (tag.span() for tag in _NETWORK.finditer(text) if tag[1] in words)


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
class Syntax:
    """One construct of another language.

    Attributes:
        program: Whose it is.
        marker: What a text with it holds, to look no closer at any other.
        find: Its places in a text.
        hint: What to write instead.
        kind: What it is told as.
        severity: Where it is not the kind's.
        mend: Takes a text and a place in it, and returns what to write where instead and what that does, or None.
        own: Dialects of ours that it belongs to, where it is no text.
        elsewhere: Dialects in which it is not looked for either, because it may be meant as it stands.
        dialect: The dialect that reads it, for whoever wants all of a prompt read so.
        tags: Whether it is looked for in tags, too, which are text in some dialects.
        weight: A number that it may stand for.
        says: What comes of it.
    """

    program: str
    marker: str
    find: Callable[[str], Iterator[Range]]
    hint: str
    kind: DiagnosticKind
    severity: Severity | None = None
    mend: Callable[[str, int, int], tuple[int, int, str, str] | None] = _leave
    own: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    dialect: str = ""
    tags: bool = False
    weight: str = "1.3"
    says: str = "is text here"

    def told_in(self, dialect: str) -> bool:
        """Return whether it is somebody else's language for a dialect."""
        return dialect not in self.own and dialect not in self.elsewhere

    def hint_in(self, dialect: str) -> str:
        """Return what to write in a dialect instead, and how to have all of the prompt read as it is."""
        hints = [self.hint.format(weighed=_weighed(self.weight, dialect))]
        if self.dialect:
            hints.append(other_dialect(self.dialect, dialect))
        return "; ".join(filter(None, hints))


def _weighed(weight: str, dialect: str) -> str:
    """Return how a dialect weighs words."""
    match dialect:
        case "compel":
            return f"(words){weight}"
        case "novelai":
            return f"{weight}::words::"
        case _:
            return f"(words:{weight})"


def other_dialect(spoken: str, dialect: str) -> str:
    """Return how a prompt of one dialect is used where another one is read.

    Args:
        spoken: Name of the dialect it is written in.
        dialect: Name of the one that it was read in.
    """
    into = "" if dialect in WEBUI_LIKE else f" --to {dialect}"
    return f"--dialect {spoken} reads it, promptengine translate --from {spoken}{into} rewrites it"


CHOICE: Final = Syntax(
    "Dynamic Prompts' choice",
    "|",
    _choices,
    f"nothing is drawn at random without --dynamic: give it, or write one of them; {_SEVERAL}",
    kinds.DYNAMIC_SYNTAX,
)
TABLE: Final = (
    Syntax(
        "WebUI's tag",
        "<",
        _network_tags,
        "",
        kinds.WEBUI_SYNTAX,
        "warning",
        own=(*WEBUI_LIKE, "swarmui"),
        dialect=WEBUI,
        tags=True,
    ),
    Syntax(
        "SwarmUI's tag",
        "<",
        _matches(
            r"<(?:(?:alternate|alt|random|wildcard|embed|segment):[^<>]*|fromto\[[^\[\]<>]*\]:[^<>]*|break)>"
        ),
        "",
        kinds.SWARMUI_SYNTAX,
        own=("swarmui",),
        elsewhere=WEBUI_LIKE,
        dialect="swarmui",
        tags=True,
    ),
    Syntax(
        "SwarmUI's tag",
        "<break>",
        _matches("<break>"),
        "write BREAK",
        kinds.SWARMUI_SYNTAX,
        own=("swarmui",),
        elsewhere=("compel", "novelai", "comfyui"),
        dialect="swarmui",
        tags=True,
    ),
    Syntax(
        "an infotext's",
        ": ",
        lambda text: islice(_infotext_lines(text), 1),
        "this looks like an infotext: save it as a text file and use --from FILE",
        kinds.INFOTEXT_SYNTAX,
    ),
    CHOICE,
    Syntax(
        "Dynamic Prompts' wildcard",
        "__",
        _matches(
            r"(?<!\w)__(?:[^\W_]|[/*.~-])+(?:_(?:[^\W_]|[/*.~-])+)*__(?!_)",
        ),
        f"no file is looked up without --dynamic: give it, or write the words themselves; {_SEVERAL}",
        kinds.DYNAMIC_SYNTAX,
        "info",
    ),
    Syntax(
        "NovelAI's weight",
        "::",
        _matches(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)::"),
        "write {weighed}",
        kinds.NOVELAI_SYNTAX,
        weight="1.5",
        mend=remedies.novelai_weight,
        own=("novelai",),
        dialect="novelai",
    ),
    Syntax(
        "Midjourney's weight",
        "::",
        _matches(r"(?<=\w)::-?(?:\d+(?:\.\d+)?|\.\d+)(?=[\s,]|\Z)(?!\s*\])"),
        "write {weighed}",
        kinds.MIDJOURNEY_SYNTAX,
        weight="1.5",
        elsewhere=("novelai",),
    ),
    Syntax(
        "NovelAI's emphasis",
        "{",
        _plain_braces,
        "write {weighed}",
        kinds.NOVELAI_SYNTAX,
        "info",
        weight="1.05",
        own=("novelai",),
        dialect="novelai",
        mend=remedies.curly_emphasis,
    ),
    Syntax(
        "Midjourney's option",
        "--",
        _matches(
            r"(?<!\S)--(?:ar|aspect|v|niji|stylize|chaos|no|style|quality|weird|cref|sref|iw)\b"
        ),
        "sizes, seeds and negative prompts are options of their own here, such as --width",
        kinds.MIDJOURNEY_SYNTAX,
    ),
    Syntax(
        "compel's weight",
        ")",
        _matches(r"\)(?:[+-]+|\d+\.\d+)(?=[\s,.;]|\Z)"),
        "write {weighed}",
        kinds.COMPEL_SYNTAX,
        weight="1.1",
        own=("compel",),
        dialect="compel",
        mend=remedies.compel_weight,
    ),
    Syntax(
        "compel's weight",
        "++",
        _matches(r"(?<=[^\W\d_]{2})\+{2,}(?![\w+])"),
        "write {weighed}",
        kinds.COMPEL_SYNTAX,
        weight="1.1",
        own=("compel",),
        dialect="compel",
        mend=remedies.compel_word,
    ),
    Syntax(
        "compel's function",
        "(",
        _matches(r"(?<=[\w)\"'])\.(?:and|blend|swap)\("),
        "",
        kinds.COMPEL_SYNTAX,
        own=("compel",),
        dialect="compel",
    ),
    Syntax(
        "compel's tag of a LoRA",
        "withLora(",
        _matches(r"\bwithLora\("),
        "",
        kinds.COMPEL_SYNTAX,
        own=("compel",),
        dialect="compel",
    ),
    Syntax(
        "ComfyUI's name of an embedding",
        "embedding:",
        _matches(r"\bembedding:[^\s,:()\[\]]+"),
        "here the bare name is the word: leave 'embedding:' out",
        kinds.COMFYUI_SYNTAX,
        mend=remedies.without_prefix,
        own=("comfyui",),
        dialect="comfyui",
    ),
    Syntax(
        "an extension's keyword",
        "AND_",
        _matches(r"\bAND_[A-Z]\w*"),
        "only AND combines prompts here",
        kinds.EXTENSION_SYNTAX,
        elsewhere=OTHERS,
    ),
    Syntax(
        "the Regional Prompter extension's keyword",
        "ADD",
        _matches(r"\bADD(?:COMM|BASE|COL|ROW)\b"),
        "a prompt holds for the whole image here, and so does every negative prompt",
        kinds.EXTENDED_SYNTAX,
        own=("extended",),
        dialect="extended",
    ),
    *(
        Syntax(
            f"a full-width {what}",
            marker,
            _matches(pattern),
            "write ( ) [ ] and : as they are on a Latin keyboard, as in {weighed}",
            kinds.FULL_WIDTH_MARK,
            elsewhere=_OTHER_WEIGHTS,
            mend=remedies.latin_marks,
        )
        for what, marker, pattern in (
            ("bracket", "（", r"（[^（）]*）?"),
            ("bracket", "［", r"［[^［］]*］?"),
            ("colon", "：", r"：\s*[-+]?\.?\d"),
        )
    ),
    Syntax(
        "a weight without brackets",
        ":",
        _matches(r"(?<=[^\W\d]):\d*\.\d+(?=\s*,)"),
        "write {weighed}",
        kinds.BARE_WEIGHT,
        weight="1.2",
        elsewhere=_OTHER_WEIGHTS,
        mend=_bracketed,
    ),
    Syntax(
        "WebUI's weight",
        ":",
        _matches(r"(?<!\d):\s*[-+]?(?:\d?\.\d+|\d)\s*\)"),
        "write {weighed}",
        kinds.WEBUI_SYNTAX,
        own=(*WEBUI_LIKE, "comfyui", "swarmui"),
        dialect=WEBUI,
    ),
    Syntax(
        "WebUI's emphasis",
        "((",
        _matches(r"\(\([^()]+\)\)"),
        "write {weighed}",
        kinds.WEBUI_SYNTAX,
        own=(*WEBUI_LIKE, "comfyui", "swarmui"),
        dialect=WEBUI,
    ),
    Syntax(
        "WebUI's schedule",
        ":",
        _matches(r"\[(?:[^\[\]:]*:)?[^\[\]:]*(?<!\d):\s*(?:\d*\.\d+|\d+)\s*\]"),
        "",
        kinds.WEBUI_SYNTAX,
        "warning",
        own=WEBUI_LIKE,
        dialect=WEBUI,
        says="changes nothing over the steps here",
    ),
    Syntax(
        "WebUI's alternation",
        "|",
        _matches(r"\[[^\[\]|]*\|[^\[\]]*\]"),
        "",
        kinds.WEBUI_SYNTAX,
        "warning",
        own=WEBUI_LIKE,
        dialect=WEBUI,
        says="does not alternate here",
    ),
    Syntax(
        "WebUI's keyword",
        "BREAK",
        _matches(r"(?:(?<=[\s,])|\A)BREAK(?=[\s,]|\Z)(?!\s+[A-Z]{2})"),
        "",
        kinds.WEBUI_SYNTAX,
        own=WEBUI_LIKE,
        dialect=WEBUI,
    ),
    Syntax(
        "WebUI's keyword",
        "AND",
        _matches(r"(?<=[^A-Z]\s)AND(?=\s+[^A-Z\s])"),
        "",
        kinds.WEBUI_SYNTAX,
        own=WEBUI_LIKE,
        dialect=WEBUI,
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

SPOKEN_TAGS: Final = ("alternate", "fromto", "embed")
"""Those that the dialect of SwarmUI reads."""

EMBEDDING_KINDS: Final = ("embed", "embedding")
"""Those whose name alone is what to write."""
