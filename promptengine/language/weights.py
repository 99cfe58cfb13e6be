"""Ctrl+Up and Ctrl+Down: the weight at a selection, as an edit of the text.

Words, selections and tags change as WebUI's keys change them. Where those would break a prompt, this does not: an
escaped bracket is a character, and in ``[a:b:0.5]`` and ``[a|b]`` the words are weighed, or the number the caret is in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from promptengine.language.syntax import PromptSyntax
from promptengine.prompt.compel import MINUS, PLUS
from promptengine.prompt.novelai import FACTOR
from promptengine.validation import Between, check_type

__all__ = ["STEP", "TextEdit", "weight_down", "weight_up"]

STEP: Final = 0.1
"""Of a weight, as WebUI's settings have it."""

_LARGEST: Final = 1e6
_NUMBER: Final = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*", re.ASCII)
_WORD_ENDS: Final = frozenset(".,\\/!?%^*;:{}=`~() \t\r\n[]<>|")
_CLOSERS: Final[Mapping[str, str]] = {"<": ">", "(": ")", "[": "]"}
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_ROUND: Final = re.compile(r"\([^()]*\)")
_NOVELAI: Final = re.compile(r"(?<![\w.])(-?(?:\d+(?:\.\d+)?|\.\d+))::([^:]*)::", re.ASCII)
_COMPEL: Final = re.compile(r"\(([^()]*)\)(\++|-+|\d+(?:\.\d+)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TextEdit:
    """A change of a text.

    Attributes:
        start: Of what is replaced.
        end: Its end.
        text: What stands there then.
        select: The selection afterwards, as offsets in the new text.
    """

    start: int
    end: int
    text: str
    select: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Words with a weight.

    Attributes:
        start: Where their marks begin.
        end: And end.
        words: What is in them.
        weight: Theirs.
    """

    start: int
    end: int
    words: str
    weight: float


@dataclass(frozen=True, slots=True)
class _Marks:
    """How a language writes weights.

    Attributes:
        find: Takes a text and a selection; returns the weighted words that it is in, or None.
        open: What stands before words, given the weight.
        close: What stands behind them.
    """

    find: Callable[[str, int, int], _Weighed | None]
    open: Callable[[str], str]
    close: Callable[[str], str]


def weight_up(
    text: str, start: int, end: int, step: float = STEP, syntax: PromptSyntax | None = None
) -> TextEdit | None:
    """Raise the weight of a selection, of what a caret is in, or of the word there.

    Args:
        text: Any string.
        start: Of the selection.
        end: Its end; the same for a caret.
        step: By how much, above 0; a tag's multiplier changes by half of it.
        syntax: How the text is read; as WebUI's prompt by default.

    Returns:
        The edit, or None where nothing can be weighed.

    Raises:
        RequestError: A value of another type, or out of range.
    """
    return _moved(text, start, end, step, syntax, sign=1)


def weight_down(
    text: str, start: int, end: int, step: float = STEP, syntax: PromptSyntax | None = None
) -> TextEdit | None:
    """Lower the weight of a selection; see :func:`weight_up`."""
    return _moved(text, start, end, step, syntax, sign=-1)


def _moved(
    text: str, start: int, end: int, step: float, syntax: PromptSyntax | None, *, sign: int
) -> TextEdit | None:
    check_type("text", text, str)
    for name, value in (("start", start), ("end", end)):
        check_type(name, value, int)
        Between(0, len(text)).check(name, value)
    check_type("step", step, int, float)
    Between(0.001, 10.0).check("step", step)
    spoken = syntax or PromptSyntax()
    check_type("syntax", spoken, PromptSyntax)
    start, end = min(start, end), max(start, end)
    marks = _MARKS.get(spoken.dialect, _WEBUI_MARKS)
    plain = _ESCAPE.sub("\0\0", text)
    if marks is _WEBUI_MARKS:
        tag = _block(plain, start, end, "<")
        if tag is not None:
            return _number(text, tag, sign * step / 2, tag=True)
        schedule = _schedule(plain, start, end)
        if schedule is not None:
            colon = _colon(text, schedule)
            if colon is not None and colon < start:
                return _number(text, schedule, sign * step, tag=False)
            return _word(text, start, end, sign * step, marks)
    weighed = marks.find(text, start, end)
    if weighed is None:
        return _word(text, start, end, sign * step, marks)
    return _written(weighed, weighed.weight + sign * step, marks)


def _block(plain: str, start: int, end: int, opener: str) -> tuple[int, int] | None:
    """Return where the brackets around a place stand, with none of their shape between them and it; else None."""
    closer = _CLOSERS[opener]
    first = plain.rfind(opener, 0, start)
    last = plain.find(closer, end)
    if first < 0 or last < 0 or plain.find(closer, first, start) >= 0:
        return None
    other = plain.find(opener, end, last)
    return None if other >= 0 else (first, last)


def _colon(text: str, block: tuple[int, int]) -> int | None:
    """Return where the colon before a number at the end of brackets is."""
    colon = text.rfind(":", *block)
    return colon if colon >= 0 and _NUMBER.fullmatch(text, colon + 1, block[1]) else None


def _schedule(plain: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the square brackets that schedule or alternate what a place is in, without round ones in between."""
    block = _block(plain, start, end, "[")
    if block is None:
        return None
    inside = _block(plain, start, end, "(")
    if inside is not None and inside[0] > block[0]:
        return None
    words = _ROUND.sub("", plain[block[0] + 1 : block[1]])
    return block if ":" in words or "|" in words else None


def _number(text: str, block: tuple[int, int], change: float, *, tag: bool) -> TextEdit | None:
    """Change the number at the end of brackets; a whole one of a schedule is a step."""
    colon = _colon(text, block)
    if colon is None:
        return None
    written = text[colon + 1 : block[1]]
    if tag:
        shown = _shown(float(written) + change)
    elif "." in written:
        shown = _shown(max(float(written) + change, 0.0))
    else:
        steps = math.trunc(min(max(float(written), 0.0), _LARGEST))
        shown = str(max(steps + (1 if change > 0 else -1), 0))
    caret = colon + 1 + len(shown)
    return TextEdit(colon + 1, block[1], shown, (caret, caret))


def _word(text: str, start: int, end: int, change: float, marks: _Marks) -> TextEdit | None:
    """Give a selection, or the word at a caret, a weight."""
    if start == end:
        while start > 0 and text[start - 1] not in _WORD_ENDS:
            start -= 1
        while end < len(text) and text[end] not in _WORD_ENDS:
            end += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    if start == end:
        return None
    return _written(_Weighed(start, end, text[start:end], 1.0), 1.0 + change, marks)


def _written(weighed: _Weighed, weight: float, marks: _Marks) -> TextEdit:
    """Write words with another weight; that of 1 needs no marks."""
    shown = _shown(weight)
    opener, closer = marks.open(shown), marks.close(shown)
    if float(shown) == 1:
        opener = closer = ""
    select = weighed.start + len(opener)
    text = f"{opener}{weighed.words}{closer}"
    return TextEdit(weighed.start, weighed.end, text, (select, select + len(weighed.words)))


def _shown(number: float) -> str:
    """Write a number without the noise of binary fractions, with a point."""
    written = f"{Decimal(f'{min(max(number, -_LARGEST), _LARGEST):.12g}'):f}"
    return written if "." in written else f"{written}.0"


def _webui_weighed(text: str, start: int, end: int) -> _Weighed | None:
    """Find ``(words:1.2)``, ``((words))`` or ``[words]`` around a selection."""
    plain = _ESCAPE.sub("\0\0", text)
    for opener in "([":
        block = _block(plain, start, end, opener)
        if block is None:
            continue
        first, last = block
        colon = _colon(text, block) if opener == "(" else None
        stop = last if colon is None else colon
        if start < end and text[start:end].strip() != text[first + 1 : stop].strip():
            return None
        if colon is not None:
            return _Weighed(first, last + 1, text[first + 1 : colon], float(text[colon + 1 : last]))
        closer, depth = _CLOSERS[opener], 1
        while plain[first - depth : first - depth + 1] == opener and first >= depth:
            if plain[last + depth : last + depth + 1] != closer:
                break
            depth += 1
        factor = (1.1 if opener == "(" else 1 / 1.1) ** min(depth, 100)
        # WebUI's keys begin at the nearest tenth.
        weight = math.floor(factor / STEP + 0.5) * STEP
        words = text[first + 1 : last]
        return _Weighed(first - depth + 1, last + depth, words, weight)
    return None


def _novelai_weighed(text: str, start: int, end: int) -> _Weighed | None:
    """Find ``1.2::words::``, ``{words}`` or ``[words]`` around a selection."""
    for match in _NOVELAI.finditer(text):
        if match.start(2) <= start and end <= match.end(2):
            return _Weighed(*match.span(), match[2], float(match[1]))
    for opener, closer, factor in (("{", "}", FACTOR), ("[", "]", 1 / FACTOR)):
        first, last = text.rfind(opener, 0, start), text.find(closer, end)
        if first < 0 or last < 0 or set(text[first + 1 : last]) & {opener, closer}:
            continue
        depth = 1
        while first >= depth and text[first - depth] == opener:
            if text[last + depth : last + depth + 1] != closer:
                break
            depth += 1
        words = text[first + 1 : last]
        return _Weighed(first - depth + 1, last + depth, words, round(factor ** min(depth, 100), 2))
    return None


def _compel_weighed(text: str, start: int, end: int) -> _Weighed | None:
    """Find ``(words)1.2`` or ``(words)++`` around a selection."""
    for match in _COMPEL.finditer(text):
        if not (match.start(1) <= start and end <= match.end(1)):
            continue
        written = match[2] or "1"
        weight = float(written) if written[0] not in "+-" else _signs(written)
        return _Weighed(*match.span(), match[1], round(weight, 2))
    return None


def _signs(written: str) -> float:
    return (PLUS if written[0] == "+" else MINUS) ** min(len(written), 100)


_WEBUI_MARKS: Final = _Marks(_webui_weighed, lambda _: "(", lambda weight: f":{weight})")
_MARKS: Final[Mapping[str, _Marks]] = {
    "novelai": _Marks(_novelai_weighed, lambda weight: f"{weight}::", lambda _: "::"),
    "compel": _Marks(_compel_weighed, lambda _: "(", lambda weight: f"){weight}"),
}
"""Of dialects that write weights otherwise than WebUI."""
