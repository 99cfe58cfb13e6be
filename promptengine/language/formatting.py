"""A text with canonical spacing, which says the same to the last token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from promptengine.language.reading import Reading, read
from promptengine.language.syntax import PromptSyntax
from promptengine.prompt.ast import Fragment, Part, Span
from promptengine.prompt.schedule import bracketed_tags, schedule
from promptengine.prompt.templates import unparse

__all__ = ["format_prompt"]

_BLANKS: Final = re.compile(r"[^\S\r\n]+")
_BEFORE_COMMA: Final = re.compile(r"(?<=[\w)\]>])[^\S\r\n]+(?=,)")
_BEHIND_COMMA: Final = re.compile(r"(?<=,)(?=[^\W\d_]|[(\[])")
_WORD: Final = re.compile(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+")
_STEPS: Final = 12
_LONGEST: Final = 20_000


def format_prompt(text: str, syntax: PromptSyntax | None = None) -> str:
    """Set one blank where there are several, none before commas and one behind, and none at a line's end.

    Tags, comments, and what a template draws from stay as they are, and so do line breaks. What the text says is
    compared before and after: where a dialect makes something of a blank, only what changes nothing is done.

    Args:
        text: Any string; one of more than 20,000 characters stays as it is.
        syntax: How it is read; as WebUI's prompt by default.

    Raises:
        RequestError: It is no text.
    """
    spoken = syntax or PromptSyntax()
    reading = read(text, spoken)
    if len(text) > _LONGEST:
        return text
    words = [(span.start, span.end) for span in _loose(reading)]
    for change in (_spaced, _fewer_blanks):
        written = _changed(text, words, change)
        if written == text or _says_exactly(reading, read(written, spoken)):
            return written
    return text


def _loose(reading: Reading) -> Iterator[Span]:
    """Yield the stretches in which blanks may change: what is neither a tag, nor a comment, nor a template's mark."""
    fixed = [tag.span for tag in reading.prompt.tags]
    fixed += [span for span, _ in reading.marks]
    fixed += reading.prompt.comments
    place = 0
    for span in sorted(fixed, key=lambda one: one.start):
        if place < span.start:
            yield Span(place, span.start)
        place = max(place, span.end)
    if place < len(reading.text):
        yield Span(place, len(reading.text))


def _changed(text: str, places: Sequence[tuple[int, int]], change: Callable[[str], str]) -> str:
    kept, pieces = 0, list[str]()
    for start, end in places:
        pieces += [text[kept:start], change(text[start:end])]
        kept = end
    written = "".join([*pieces, text[kept:]])
    return re.sub(r"[^\S\r\n]+(?=[\r\n]|\Z)", "", written)


def _fewer_blanks(text: str) -> str:
    return _BLANKS.sub(" ", text)


def _spaced(text: str) -> str:
    return _BEHIND_COMMA.sub(" ", _BEFORE_COMMA.sub("", _fewer_blanks(text)))


def _says_exactly(one: Reading, other: Reading) -> bool:
    """Tell whether two texts say the same words, cut as CLIP cuts them, with the same weights at every step."""
    if (one.template is None) != (other.template is None):
        return False
    if one.template is not None and other.template is not None:
        mine, theirs = (
            _WORD.findall(unparse(each.nodes)) for each in (one.template, other.template)
        )
        if mine != theirs or len(one.marks) != len(other.marks):
            return False
    tags, others = (
        [(tag.kind, tag.arguments) for tag in each.prompt.tags] for each in (one, other)
    )
    parts = one.prompt.parts, other.prompt.parts
    return tags == others and len(parts[0]) == len(parts[1]) and all(map(_is_same, *parts))


def _is_same(one: Part, other: Part) -> bool:
    """Tell the same of two operands of ``AND``."""
    mine, theirs = ((part.text, part.weight, part.mix) for part in (one, other))
    if mine == theirs and not any(map(bracketed_tags, (one, other))):
        return True
    return _told(one) == _told(other)


def _told(part: Part) -> list[object]:
    """Return what is said at each step, with weights, and how the texts become one."""
    found = schedule(part, _STEPS)
    mix = None if found.mix is None else (found.mix.kind, found.mix.weights)
    told: list[object] = [part.weight, mix]
    # An alternation comes back to the same texts again and again.
    known: dict[int, list[tuple[list[str], float]]] = {}
    for segment in found.segments:
        tags = [(tag.kind, tag.arguments) for tag in segment.tags]
        arms = segment.arms or (segment.fragments,)
        for fragments in arms:
            if id(fragments) not in known:
                known[id(fragments)] = _pieces(fragments)
        told += [segment.until_step, tags, [known[id(arm)] for arm in arms]]
    return told


def _pieces(fragments: Sequence[Fragment]) -> list[tuple[list[str], float]]:
    return [(_WORD.findall(one.text), one.weight) for one in fragments]
