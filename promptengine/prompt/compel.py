"""compel's prompts, as InvokeAI and diffusers take them: ``word++``, ``(words)1.3``, ``.blend()``, ``.and()``.

A plus multiplies by 1.1 and a minus by 0.9. Words are joined by one space, as compel joins them. Where compel
refuses a prompt (weights that are not as many as the prompts), it is text here and a diagnostic says so.
``.swap()`` is read as the words before it, which is what compel itself encodes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

from promptengine.garbage import gc_paused
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import (
    Diagnostic,
    Fragment,
    Mix,
    MixKind,
    Node,
    Part,
    Prompt,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.other_syntax import foreign_syntax
from promptengine.prompt.quoting import quoted
from promptengine.prompt.source_map import MappedText, take, whole
from promptengine.prompt.weighing import Leaf, Tree, fragments, leaves

__all__ = ["MINUS", "PLUS", "read_compel", "weigh"]

PLUS: Final = 1.1
"""What a plus multiplies by."""

MINUS: Final = 0.9
"""What a minus multiplies by."""

_NUMBER: Final = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PLAIN_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LORA: Final = re.compile(
    rf"(?<!\w)(?:use|with)Lora\(\s*([\w-]+)\s*(?:,\s*({_NUMBER})\s*)?\)", re.ASCII
)
_ESCAPE: Final = re.compile(r'\\([()"])')
_WORD_PIECES: Final = re.compile(
    r'(?P<ESCAPE>\\[()".,+\-=])|(?:[^\\]|\\(?![()".,+\-=]))+', re.DOTALL
)
_WEIGHTED: Final = re.compile(r"(\++|-+|\.attend\([^()]*\))\Z")
_RAW: Final = "no_normalize"


def read_compel(text: str, *, comments: bool, negative: bool) -> Prompt:
    """Read a prompt of compel.

    Args:
        text: Any string.
        comments: Not looked at: ``#`` is text there.
        negative: ``withLora()`` is text then, and a diagnostic says so.
    """
    tags: list[Tag] = []
    diagnostics: list[Diagnostic] = []
    rest = whole(text)
    loras = list(_LORA.finditer(text))
    if negative:
        diagnostics += (_lora_in_negative(lora) for lora in loras[:1])
    elif loras:
        tags = [Tag("lora", (lora[1], lora[2] or "1"), Span(*lora.span())) for lora in loras]
        ends = [0, *(lora.end() for lora in loras)]
        starts = [*(lora.start() for lora in loras), len(text)]
        rest = take(rest, zip(ends, starts, strict=True))
    diagnostics += foreign_syntax(rest, "compel").diagnostics
    mixed, found = _mixed(rest)
    arms: Sequence[MappedText] = (rest,) if mixed is None else mixed.arms
    nodes = [_texts(arm) for arm in arms]
    mix = None if mixed is None else Mix(mixed.kind, mixed.weights, tuple(nodes))
    for arm in arms:
        found += _diagnostics(arm)
    flat = tuple(node for some in nodes for node in some)
    span = rest.span(0, len(rest.text))
    part = Part(rest.text, 1.0, flat, span, weigh, mix)
    return Prompt(text, tuple(tags), (part,), (*diagnostics, *found), "compel")


def _texts(excerpt: MappedText) -> tuple[Node, ...]:
    runs = excerpt.runs(0, len(excerpt.text))
    return tuple(
        Text(excerpt.text[first:last], Span(origin, origin + last - first))
        for first, last, origin in runs
    )


def _lora_in_negative(lora: re.Match[str]) -> Diagnostic:
    message = f"{quoted(lora[0])} is text in a negative prompt"
    return kinds.TAG_IN_NEGATIVE(
        message, Span(*lora.span()), "it goes into the prompt", severity="info"
    )


@gc_paused
def weigh(excerpt: MappedText) -> tuple[Fragment, ...]:
    """Work out the weights of a text, without ``.blend()`` and ``.and()``."""
    lexemes = _lexed(excerpt.text)
    _balance(lexemes)
    return fragments(_said(_language().parse(lexemes)), excerpt)


def _said(tree: Tree) -> Iterator[Leaf]:
    """Yield the words, with one space where there is white space or a bracket between them."""
    # Neither begins with a space, and what is swapped in is not said.
    due, last, dropped = False, None, 0
    for leaf, weight, depth in leaves(tree):
        if leaf.type == "SWAP":
            dropped = depth
        dropped = 0 if depth < dropped else dropped
        if dropped or leaf.type in ("SPACE", "LPAR", "RPAR", "LQUOTE", "QUOTE", "WEIGHT"):
            due = True
            continue
        own = weight * leaf.factor
        if leaf.type == "POINT" and depth:
            due = True
        if due and last is not None:
            yield " ", last, leaf.start, leaf.start
        due = leaf.text == "," or (leaf.type == "POINT" and depth > 0) or leaf.type == "WEIGHTED"
        yield _ESCAPE.sub(r"\1", leaf.text), own, leaf.start, leaf.end
        last = own


def _diagnostics(excerpt: MappedText) -> Iterator[Diagnostic]:
    lexemes = _lexed(excerpt.text)
    _balance(lexemes)
    stray = next((one for one in lexemes if one.type == "TEXT" and one.text in "()"), None)
    if stray is not None:
        kind = kinds.UNCLOSED_BRACKET if stray.text == "(" else kinds.UNOPENED_BRACKET
        yield kind(
            f"{quoted(stray.text)} weighs nothing and is text",
            excerpt.span(stray.start, stray.end),
            "brackets begin a word and are closed; write a backslash before one that is meant",
        )
    swap = next((one for one in lexemes if one.type == "SWAP"), None)
    if swap is not None:
        yield kinds.NOTHING_SWAPPED(
            "nothing is swapped: the words before '.swap(' are read",
            excerpt.span(swap.start, swap.end),
            "take it out",
        )


@cache
def _language() -> Language:
    return language("compel", {"start": list, "group": list, "swapped": list})


def _lexed(text: str) -> list[Lexeme]:
    """Split a text into lexemes, and words into what is escaped and what is not."""
    lexemes: list[Lexeme] = []
    for lexeme in _language().lex(text):
        if lexeme.type != "WORD" or "\\" not in lexeme.text:
            lexemes.append(lexeme)
            continue
        for piece in _WORD_PIECES.finditer(lexeme.text):
            start = lexeme.start + piece.start()
            kind = piece.lastgroup or "WORD"
            lexemes.append(Lexeme(kind, piece[0], start, start + len(piece[0])))
    return lexemes


class _Scan:
    """Tells which brackets and quotes of a text mean something, from left to right.

    Args:
        lexemes: Of the text; retyped in place.
    """

    def __init__(self, lexemes: list[Lexeme]) -> None:
        self._lexemes = lexemes
        # Openers that wait for their closers, and how many of them are quotes.
        self._opened: list[int] = []
        self._quotes = 0
        # Where a word began that goes on to the next white space, brackets and all.
        self._word: int | None = None
        # The opener of the group that the lexeme before closed.
        self._closed: int | None = None

    def run(self) -> None:
        """Retype the lexemes so that they fit ``compel.lark``."""
        for index, lexeme in enumerate(self._lexemes):
            closed, self._closed = self._closed, None
            if self._is_bracket(index, lexeme, closed):
                continue
            match lexeme.type:
                case "SPACE":
                    self._word = None
                    continue
                case "POINT" if lexeme.text == ",":
                    self._word = None
                    continue
                case "WEIGHTED" if not self._inside_word():
                    _take_weight(lexeme)
                    continue
                case "SIGN":
                    # compel's brackets hold no sign of their own.
                    self._discard(0)
                case "WORD" | "ESCAPE" | "POINT" | "FUNCTION":
                    pass
                case _:
                    lexeme.type = "TEXT"
            if not self._opened and self._word is None:
                self._word = index
        self._discard(0)

    def _is_bracket(self, index: int, lexeme: Lexeme, closed: int | None) -> bool:
        """Open or close what a lexeme opens or closes; tell whether it does."""
        match lexeme.type:
            case "LPAR" if not self._inside_word():
                self._opened.append(index)
            case "RPAR" if self._opened and self._type() in ("LPAR", "SWAP"):
                self._closed = self._opened.pop()
            case "QUOTE" if self._quotes:
                self._close_quote()
            case "QUOTE" if not self._inside_word():
                lexeme.type = "LQUOTE"
                self._opened.append(index)
                self._quotes += 1
            case "WEIGHT" if closed is not None and self._lexemes[closed].type != "SWAP":
                self._lexemes[closed].factor = _factor(lexeme.text)
            case "SWAP" if closed is not None or self._follows_word(index):
                self._word = None
                self._opened.append(index)
            case _:
                return False
        return True

    def _type(self) -> str:
        return self._lexemes[self._opened[-1]].type

    def _inside_word(self) -> bool:
        return not self._opened and self._word is not None

    def _follows_word(self, index: int) -> bool:
        before = self._lexemes[index - 1].type if index else ""
        return before == "WORD" and (bool(self._opened) or self._word == index - 1)

    def _close_quote(self) -> None:
        while self._type() != "LQUOTE":
            self._discard(len(self._opened) - 1)
        self._closed = self._opened.pop()
        self._quotes -= 1

    def _discard(self, kept: int) -> None:
        for index in self._opened[kept:]:
            self._quotes -= self._lexemes[index].type == "LQUOTE"
            self._lexemes[index].type = "TEXT"
        del self._opened[kept:]


def _balance(lexemes: list[Lexeme]) -> None:
    _Scan(lexemes).run()


def _take_weight(lexeme: Lexeme) -> None:
    found = _WEIGHTED.search(lexeme.text)
    if found is not None:
        lexeme.factor = _factor(found[0])
        lexeme.text = lexeme.text[: found.start()]


def _factor(written: str) -> float:
    if written.startswith("."):
        inner = written[written.find("(") + 1 : -1].strip() if "(" in written else written
        return _factor(inner) if inner != written else float(written)
    if written[0] not in "+-" or written[1:2].isdigit() or written[1:2] == ".":
        return float(written)
    try:
        return (PLUS if written[0] == "+" else MINUS) ** len(written)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, slots=True)
class _Mixed:
    kind: MixKind
    weights: tuple[float, ...]
    arms: tuple[MappedText, ...]


def _mixed(excerpt: MappedText) -> tuple[_Mixed | None, list[Diagnostic]]:
    """Read ``("a", "b").blend(1, 2)`` or ``.and(1, 2)``, where that is all there is."""
    lexemes = [one for one in _lexed(excerpt.text) if one.type != "SPACE"]
    if len(lexemes) < 3 or lexemes[0].type != "LPAR" or lexemes[-1].type != "FUNCTION":
        return None, []
    arms = _arms(lexemes[1:-1], excerpt)
    function = lexemes[-1]
    if not arms:
        message = "write each prompt in quotes, and commas between them"
        return None, [_not_mixed(excerpt, function, message)]
    name, _, options = function.text.strip()[1:-1].partition("(")
    written = [option.strip() for option in options.split(",") if option.strip()]
    raw = written[-1:] == [_RAW] and name == "blend"
    numbers = written[: len(written) - raw]
    if not all(_PLAIN_NUMBER.fullmatch(one) and math.isfinite(float(one)) for one in numbers):
        return None, [_not_mixed(excerpt, function, "its weights must be numbers")]
    weights = [float(number) for number in numbers] or [1.0] * len(arms)
    if len(weights) != len(arms) or not all(map(math.isfinite, weights)):
        message = f"it needs a weight for each of {len(arms)} prompts (got {len(weights)})"
        return None, [_not_mixed(excerpt, function, message)]
    kind: MixKind = "concatenate" if name != "blend" else "sum" if raw else "blend"
    if kind == "blend" and sum(weights) == 0:
        message = "the weights add up to 0, so they are taken as they are"
        place = excerpt.span(function.start, function.end)
        told = kinds.WEIGHTS_CANCEL(message, place, "write no_normalize behind them")
        return _Mixed("sum", tuple(weights), arms), [told]
    return _Mixed(kind, tuple(weights), arms), []


def _not_mixed(excerpt: MappedText, function: Lexeme, hint: str) -> Diagnostic:
    name = function.text.strip()
    message = f"{quoted(name)} mixes nothing and is text"
    return kinds.NOTHING_MIXED(message, excerpt.span(function.start, function.end), hint)


def _arms(lexemes: Sequence[Lexeme], excerpt: MappedText) -> tuple[MappedText, ...]:
    """Return the prompts of a list: each in quotes or brackets, or a word; nothing where one is none.

    Args:
        lexemes: What stands between the list's opener and its function, its closer the last.
        excerpt: What they stand in.
    """
    arms: list[MappedText] = []
    item: list[Lexeme] = []
    depth, inside = 0, False
    for place, lexeme in enumerate(lexemes):
        if lexeme.type == "QUOTE":
            inside = not inside
        elif not inside:
            depth += (lexeme.type == "LPAR") - (lexeme.type == "RPAR")
        ends = depth < 0 or (depth == 0 and not inside and lexeme.text == ",")
        if not ends:
            item.append(lexeme)
            continue
        arm = _arm(item, excerpt)
        if arm is None or (depth < 0 and place + 1 < len(lexemes)):
            return ()
        arms.append(arm)
        item = []
    return tuple(arms) if depth < 0 else ()


def _arm(item: Sequence[Lexeme], excerpt: MappedText) -> MappedText | None:
    kinds = [lexeme.type for lexeme in item]
    match kinds:
        case ["QUOTE", *inner, "QUOTE"] if "QUOTE" not in inner:
            return take(excerpt, [(item[0].end, item[-1].start)])
        case ["LPAR", *_, "RPAR"] if _is_one_group(kinds):
            return take(excerpt, [(item[0].end, item[-1].start)])
        case ["WORD" | "ESCAPE", *_] if _is_one_word(item):
            return take(excerpt, [(item[0].start, item[-1].end)])
        case _:
            return None


def _is_one_word(item: Sequence[Lexeme]) -> bool:
    joined = all(one.end == other.start for one, other in pairwise(item))
    return joined and all(one.type in ("WORD", "ESCAPE") for one in item)


def _is_one_group(kinds: Sequence[str]) -> bool:
    depth = 0
    for place, kind in enumerate(kinds):
        depth += (kind == "LPAR") - (kind == "RPAR")
        if depth == 0:
            return place == len(kinds) - 1
    return False
