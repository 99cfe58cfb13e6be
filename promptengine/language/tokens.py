"""What each stretch of a text is, for editors to color: ascending stretches that never overlap.

Nothing is guessed from brackets. What the dialect's own reading leaves as words are words, and what it took away
around them are marks, whatever the dialect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from promptengine.language.reading import Reading, read
from promptengine.language.syntax import PromptSyntax
from promptengine.prompt.ast import Fragment, Part, Span
from promptengine.prompt.emphasis import attention
from promptengine.prompt.lint import branch_texts
from promptengine.prompt.regions import divided
from promptengine.prompt.source_map import MappedText, join
from promptengine.prompt.templates.tree import Variable, Wildcard
from promptengine.prompt.weighing import BREAK_WEIGHT

__all__ = ["SemanticToken", "TokenKind", "semantic_tokens", "tokens_of"]

TokenKind: TypeAlias = Literal[
    "words", "keyword", "operator", "number", "comment", "kind", "name", "argument", "macro"
]
"""``words`` are told where they have a weight; ``kind``, ``name`` and ``argument`` are a tag's; ``macro`` is a
template's wildcard or variable."""

_PIECE: Final = re.compile(
    r"(?P<comment>#[^\n]*)|(?P<number>(?<![^\W\d])[-+]?(?:\d+\.?\d*|\.\d+)(?![^\W\d]))"
    r"|(?P<keyword>[^\W\d]\w*)|(?P<operator>\S)"
)
_LINE_END: Final = re.compile(r"[\r\n]")
_TAG_PIECE: Final = re.compile(
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?=[\s:>),\]]))|(?P<argument>[^<>:(),\[\]\s][^<>:(),\[\]]*)|(?P<operator>[<>:(),\[\]])"
)


@dataclass(frozen=True, slots=True)
class SemanticToken:
    """A stretch of a text.

    Attributes:
        span: Its place, on one line.
        kind: What it is.
        weight: Of words.
    """

    span: Span
    kind: TokenKind
    weight: float = 1.0


def semantic_tokens(text: str, syntax: PromptSyntax | None = None) -> tuple[SemanticToken, ...]:
    """Tell what each stretch of a text is; plain words of weight 1 are left out.

    Args:
        text: Any string.
        syntax: How it is read; as WebUI's prompt by default.

    Raises:
        RequestError: It is no text.
    """
    return tokens_of(read(text, syntax or PromptSyntax()))


def tokens_of(reading: Reading) -> tuple[SemanticToken, ...]:
    """Tell the same of a text that is read already."""
    text = reading.text
    found = [*_template_tokens(reading), *_tag_tokens(reading)]
    found += (SemanticToken(place, "keyword") for place in _region_keywords(reading))
    covered = bytearray(len(text))
    for token in found:
        covered[token.span.start : token.span.end] = b"\1" * (token.span.end - token.span.start)
    for tag in reading.prompt.tags:
        covered[tag.span.start : tag.span.end] = b"\1" * (tag.span.end - tag.span.start)
    for place, fragment in _words(reading):
        free = place.start >= place.end or not any(covered[place.start : place.end])
        covered[place.start : place.end] = b"\1" * (place.end - place.start)
        if fragment.text == "BREAK" and fragment.weight == BREAK_WEIGHT:
            found.append(SemanticToken(place, "keyword"))
        elif fragment.weight != 1 and free and text[place.start : place.end].strip():
            found.append(SemanticToken(place, "words", fragment.weight))
    found += _rest(reading, covered)
    lines: list[SemanticToken] = []
    for token in found:
        if _LINE_END.search(text, token.span.start, token.span.end):
            lines += _by_lines(text, token)
        else:
            lines.append(token)
    return tuple(sorted(lines, key=lambda token: token.span.start))


def _template_tokens(reading: Reading) -> Iterator[SemanticToken]:
    for span, node in reading.marks:
        named = isinstance(node, Wildcard | Variable)
        yield SemanticToken(span, "macro" if named else "operator")


def _tag_tokens(reading: Reading) -> Iterator[SemanticToken]:
    """Yield the pieces of tags: the first word is the kind, the next one the name."""
    for tag in reading.prompt.tags:
        waiting: list[TokenKind] = ["name", "kind"]
        for match in _TAG_PIECE.finditer(reading.text, tag.span.start, tag.span.end):
            kind: TokenKind = "operator"
            if match.lastgroup != "operator":
                kind = waiting.pop() if waiting else match.lastgroup  # type: ignore[assignment]
            if match[0].strip():
                yield SemanticToken(Span(*match.span()), kind)


def _region_keywords(reading: Reading) -> Iterator[Span]:
    """Yield where the words stand that divide the image."""
    for part in reading.prompt.parts:
        if part.regions is not None:
            leaves = ((leaf.text, leaf.span.start) for leaf in branch_texts(part.nodes))
            excerpt = join(leaves, origin=part.span.start)
            division = divided(excerpt)
            for keyword in () if division is None else division.keywords:
                yield excerpt.span(keyword.start, keyword.end)


def _words(reading: Reading) -> Iterator[tuple[Span, Fragment]]:
    """Yield the stretches of the source that are words, each with the fragment that says them."""
    for part in reading.prompt.parts:
        for arm in part.arms:
            excerpt = join(
                ((leaf.text, leaf.span.start) for leaf in branch_texts(arm)), origin=part.span.start
            )
            if excerpt.text:
                yield from _placed(excerpt, part, reading.prompt.source)


def _placed(excerpt: MappedText, part: Part, source: str) -> Iterator[tuple[Span, Fragment]]:
    """Find what each fragment says in the text that it comes from: the rest of that are marks."""
    places: list[int] = []
    for first, last, origin in excerpt.runs(0, len(excerpt.text)):
        places += range(origin, origin + last - first)
    cursor = 0
    for fragment in (part.weigh or attention)(excerpt):
        while cursor < len(places) and places[cursor] < fragment.span.start:
            cursor += 1
        end = _end(places, cursor, fragment.span.end)
        said = excerpt.text[cursor:end]
        literal = said == fragment.text and "\\" not in said
        if literal and said and source.startswith(said, places[cursor]):
            first, last = places[cursor], places[end - 1] + 1
            if last - first == len(said):
                yield Span(first, last), fragment
                cursor = end
                continue
        kept = range(cursor, end) if literal else _aligned(excerpt.text, cursor, end, fragment.text)
        # Of a tag that stands for words, such as SwarmUI's <embed:name>, these are not what is written.
        same = [places[one] for one in kept if source[places[one]] == excerpt.text[one]]
        for first, last in _runs(same):
            yield Span(first, last), fragment
        cursor = end


def _end(places: Sequence[int], start: int, limit: int) -> int:
    """Return where places from one on reach a limit."""
    if start < len(places):
        # Most are a run of the source up to there.
        last = start + limit - places[start]
        ends = last == len(places) or (last < len(places) and places[last] >= limit)
        if ends and places[start:last] == list(range(places[start], limit)):
            return last
    while start < len(places) and places[start] < limit:
        start += 1
    return start


def _aligned(text: str, start: int, end: int, said: str) -> Iterator[int]:
    """Yield the offsets of the characters of a stretch that are said, from left to right."""
    place = 0
    for offset in range(start, end):
        if place == len(said):
            return
        escaped = text[offset] == "\\" and offset + 1 < end and said[place] == text[offset + 1]
        blank = said[place].isspace() and text[offset].isalnum()
        place += blank
        if escaped or place == len(said):
            continue
        if text[offset] == said[place] or (text[offset].isspace() and said[place].isspace()):
            yield offset
            place += 1


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield stretches of ascending numbers without a gap."""
    if not places:
        return
    start = last = places[0]
    for place in places[1:]:
        if place != last + 1:
            yield start, last + 1
            start = place
        last = place
    yield start, last + 1


def _rest(reading: Reading, covered: bytearray) -> Iterator[SemanticToken]:
    """Yield what no words and no tag are: brackets, numbers, keywords and comments."""
    start = covered.find(0)
    while start >= 0:
        end = covered.find(1, start)
        end = len(covered) if end < 0 else end
        for match in _PIECE.finditer(reading.text, start, end):
            kind: TokenKind = match.lastgroup  # type: ignore[assignment]
            yield SemanticToken(Span(*match.span()), kind)
        start = covered.find(0, end)


def _by_lines(text: str, token: SemanticToken) -> Iterator[SemanticToken]:
    """Yield a token by lines, without those of blanks alone."""
    span = token.span
    for match in re.finditer(r"[^\r\n]+", text[span.start : span.end]):
        if match[0].strip():
            place = Span(span.start + match.start(), span.start + match.end())
            yield SemanticToken(place, token.kind, token.weight)
