"""Obvious mends of what diagnostics tell of, as changes of the source.

Each function looks at a place that a diagnostic is about, and returns None where no single mend is the obvious
one. After a mend its diagnostic has nothing left to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from promptengine.prompt.ast import Remedy, Span, Tag
from promptengine.prompt.source_map import MappedText

__all__ = [
    "bare_weight",
    "closed_bracket",
    "closed_tag",
    "comma_as_point",
    "compel_weight",
    "compel_word",
    "curly_emphasis",
    "escaped",
    "latin_marks",
    "novelai_weight",
    "of_argument",
    "put_in",
    "replaced",
    "taken_out",
    "without_prefix",
]

_BOUNDS: Final = re.compile(
    r"\\.|[()\[\],\n]|\bBREAK\b|:\s*[-+]?(?:\d+\.?\d*|\.\d+)(?=[\s,]|\Z)", re.DOTALL
)
_CLOSERS: Final[Mapping[str, str]] = {"(": ")", "[": "]"}
_OPENERS: Final[Mapping[str, str]] = {")": "(", "]": "["}
_MOST_CHARACTERS: Final = 24
_MOST_WORDS: Final = 3
_MOST_MARKS: Final = 6
_MOST_LOOKED_AT: Final = 1000
_SHOWN_CHARACTERS: Final = 30
_CURLY: Final = re.compile(r"(\{+)([^{}()\[\]:|\\]+)(\}+)")
_NOVELAI_END: Final = re.compile(r"([^:()\[\]|\\]+)::")
_OPEN_TAG: Final = re.compile(r"<\w+(?::[^\s,:<>]+)+")
_SPACED_TAG: Final = re.compile(r"<\s*(\w+)\s*:([^<>]+)>")
_LATIN: Final = str.maketrans("（）［］：", "()[]:")
_NUMBER: Final = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*")


def replaced(excerpt: MappedText, start: int, end: int, text: str, label: str) -> Remedy | None:
    """Replace ``start:end`` of an excerpt, unless something that was taken out lies within.

    Args:
        excerpt: Of the source.
        start: Offset in the excerpt.
        end: Likewise.
        text: What shall stand there.
        label: What that does.
    """
    span = excerpt.span(start, end)
    return Remedy(span, text, label) if span.end - span.start == end - start else None


def put_in(excerpt: MappedText, place: int, text: str, label: str) -> Remedy:
    """Put a text behind the character before an offset of an excerpt, which is not its first."""
    behind = excerpt.locate(place - 1) + 1
    return Remedy(Span(behind, behind), text, label)


def taken_out(source: str, span: Span, label: str) -> Remedy:
    """Take a place out of the source, with one of the blanks around it where there are two."""
    start, end = span.start, span.end
    if (start == 0 or source[start - 1].isspace()) and source[end : end + 1] == " ":
        end += 1
    return Remedy(Span(start, end), "", label)


def escaped(excerpt: MappedText, place: int) -> Remedy:
    """Write a bracket as the character itself."""
    span = excerpt.span(place, place + 1)
    label = f"write \\{excerpt.text[place]}"
    return Remedy(Span(span.start, span.start), "\\", label)


def closed_bracket(excerpt: MappedText, place: int) -> Remedy | None:
    """Close a bracket behind its weight, or else where its phrase ends: at a comma, a line's end, a BREAK, or a
    bracket that closes one around it. One that holds nothing is written as the character itself.

    Args:
        excerpt: Text of a part.
        place: Of the opening bracket, which has no partner.
    """
    text = excerpt.text
    phrase = _phrase(text, place)
    if phrase is None:
        return None
    end, closers = phrase
    while text[end - 1].isspace():
        end -= 1
    if end <= place + 1:
        return escaped(excerpt, place)
    if text[end - 1] == "\\":
        return None
    return put_in(excerpt, end, closers, f"close it with {closers}")


def _phrase(text: str, place: int) -> tuple[int, str] | None:
    """Return where the phrase behind a bracket ends, and what closes this one and those left open in it."""
    opened, stop = [text[place]], place + _MOST_LOOKED_AT
    end = len(text) if len(text) <= stop else None
    for mark in _BOUNDS.finditer(text, place + 1, stop):
        found = mark[0]
        if found in _CLOSERS:
            opened.append(found)
        elif found in _OPENERS and _OPENERS[found] in opened[1:]:
            del opened[len(opened) - 1 - opened[::-1].index(_OPENERS[found])]
        elif found in _OPENERS or (len(opened) == 1 and found[0] not in "\\:"):
            end = mark.start()
            break
        elif opened == ["("] and found[0] == ":":
            end = mark.end()
            break
    return None if end is None else (end, "".join(_CLOSERS[one] for one in reversed(opened)))


def comma_as_point(excerpt: MappedText, start: int, end: int) -> Remedy | None:
    """Write the last comma of ``start:end`` as a decimal point."""
    comma = excerpt.text.rfind(",", start, end)
    number = excerpt.text[start:end].rpartition(":")[2].strip().replace(",", ".")
    return replaced(excerpt, comma, comma + 1, ".", f"write {number}")


def bare_weight(text: str, start: int, end: int) -> tuple[int, str] | None:
    """Put a few words and the weight behind them in brackets.

    Args:
        text: In which they stand.
        start: Of the weight's colon.
        end: Past its number.

    Returns:
        Where the words begin, and what shall stand from there to ``end``; None where these are no few words.
    """
    first = max(0, start - _MOST_LOOKED_AT)
    begin = max(text.rfind(mark, first, start) for mark in ",\n()[]") + 1
    words = text[begin:start].strip()
    number = text[start + 1 : end].strip()
    if not 0 < len(words) <= _MOST_CHARACTERS or len(words.split()) > _MOST_WORDS:
        return None
    if words[-1].isdigit() or set(words) & set(":|\\<>") or not _NUMBER.fullmatch(number):
        return None
    if text[begin - 1 : begin] == "\\":
        return None
    begin += len(text[begin:start]) - len(text[begin:start].lstrip())
    return begin, f"({words}:{number})"


def closed_tag(excerpt: MappedText, start: int, end: int, words: tuple[str, ...]) -> Remedy | None:
    """Close a tag that lacks its end, or take the blanks out that keep one from being a tag.

    Args:
        excerpt: Text with what is almost a tag.
        start: Of its ``<``.
        end: Past its last character.
        words: Kinds of tags.
    """
    text = excerpt.text[start:end]
    if not text.endswith(">"):
        open_tag = _OPEN_TAG.match(text)
        return open_tag and put_in(excerpt, start + open_tag.end(), ">", "close it with >")
    spaced = _SPACED_TAG.fullmatch(text)
    if spaced is None or spaced[1] not in words:
        return None
    head = len(text) - len(spaced[2]) - 1
    written = f"<{spaced[1]}:"
    if text[:head] == written:
        return None
    return replaced(excerpt, start, start + head, written, "take the blanks out")


def of_argument(tag: Tag, number: int, text: str | None, label: str) -> Remedy | None:
    """Replace an argument of a tag, or the word of its kind; None where a comment lies within the tag.

    Args:
        tag: Of a prompt.
        number: Of the argument, from 0; -1 for the word.
        text: What shall stand there; None takes the argument out, with its colon.
        label: What that does.
    """
    items = (tag.kind, *tag.arguments)
    if tag.span.end - tag.span.start != sum(map(len, items)) + len(items) + 1:
        return None
    start = tag.span.start + 1 + sum(len(item) + 1 for item in items[: number + 1])
    end = start + len(items[number + 1])
    return Remedy(Span(start if text is not None else start - 1, end), text or "", label)


_Change = tuple[int, int, str, str]
"""Where in a text something else shall stand, what, and what that does."""


def curly_emphasis(text: str, start: int, end: int) -> _Change | None:
    """Write NovelAI's ``{words}`` with a weight: 1.05 for each pair of braces."""
    match = _CURLY.fullmatch(text, start, end)
    if match is None or len(match[1]) != len(match[3]) or not match[2].strip():
        return None
    return _weighed(start, end, match[2], 1.05 ** min(len(match[1]), _MOST_MARKS))


def novelai_weight(text: str, start: int, end: int) -> _Change | None:
    """Write NovelAI's ``1.3::words::`` with brackets."""
    match = _NOVELAI_END.match(text, end)
    if match is None or not match[1].strip():
        return None
    return _weighed(start, match.end(), match[1].strip(), float(text[start : end - 2]))


def compel_weight(text: str, start: int, end: int) -> _Change | None:
    """Take the number or the signs behind compel's bracket into it."""
    factor = _compel_factor(text[start + 1 : end])
    opener, depth, first = start, 1, max(0, start - _MOST_LOOKED_AT)
    while depth and opener > first:
        opener -= 1
        depth += {")": 1, "(": -1}.get(text[opener], 0)
    if factor is None or depth or set(text[opener:start]) & set(":\\"):
        return None
    return start, end, f":{factor:.4g})", f"weight it by {factor:.4g}"


def compel_word(text: str, start: int, end: int) -> _Change | None:
    """Write compel's ``word++`` with brackets."""
    factor, begin = _compel_factor(text[start:end]), start
    while begin and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
        begin -= 1
    return None if factor is None else _weighed(begin, end, text[begin:start], factor)


def _compel_factor(marks: str) -> float | None:
    if not set(marks) <= {"+"} and not set(marks) <= {"-"}:
        return float(marks) if _NUMBER.fullmatch(marks) else None
    base = 1.1 if marks[0] == "+" else 0.9
    return base ** len(marks) if len(marks) <= _MOST_MARKS else None


def without_prefix(text: str, start: int, end: int) -> _Change:
    """Leave out what stands before the colon of ``start:end``, and the colon."""
    colon = text.index(":", start, end) + 1
    return start, colon, "", f"leave {text[start:colon]!r} out"


def latin_marks(text: str, start: int, end: int) -> _Change:
    """Write full-width brackets and colons as they are on a Latin keyboard."""
    written = text[start:end].translate(_LATIN)
    short = written if len(written) <= _SHOWN_CHARACTERS else "( ) [ ] and :"
    return start, end, written, f"write {short}"


def _weighed(start: int, end: int, words: str, weight: float) -> _Change:
    return start, end, f"({words}:{weight:.4g})", f"weight it by {weight:.4g}"
