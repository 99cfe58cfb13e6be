"""Text made of pieces of the source, which still knows where each character came from.

Stages take text out (comments, tags, the branches of a schedule that do not hold). What is left is a
list of pieces; two arrays, one entry a piece, lead from any offset back to the source.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from promptengine.prompt.ast import Span

__all__ = ["MappedText", "join", "take", "whole"]


@dataclass(frozen=True, slots=True)
class MappedText:
    """A text and where it comes from.

    Attributes:
        text: The pieces, joined.
        starts: Where each piece begins in ``text``, ascending; the first is 0.
        origins: Where each piece begins in the source, in the same order.
    """

    text: str
    starts: tuple[int, ...]
    origins: tuple[int, ...]

    def locate(self, offset: int) -> int:
        """Return the source offset of the character at ``offset`` of ``text``."""
        piece = bisect_right(self.starts, offset) - 1
        return self.origins[piece] + offset - self.starts[piece]

    def span(self, start: int, end: int) -> Span:
        """Return the source span from the first to past the last character of ``start:end``."""
        if len(self.origins) == 1:
            moved = self.origins[0]
            return Span(start + moved, end + moved)
        if start == end:
            place = self.locate(start)
            return Span(place, place)
        return Span(self.locate(start), self.locate(end - 1) + 1)

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield where the runs of the source in ``start:end`` begin and end, and their origin.

        An empty stretch is one empty run.
        """
        piece = bisect_right(self.starts, start) - 1
        while True:
            last = piece + 1 == len(self.starts)
            stop = end if last else min(end, self.starts[piece + 1])
            yield start, stop, self.origins[piece] + start - self.starts[piece]
            if stop == end:
                return
            start, piece = stop, piece + 1


def whole(source: str) -> MappedText:
    """Return the excerpt that is all of the source."""
    return MappedText(source, (0,), (0,))


def join(pieces: Iterable[tuple[str, int]], *, origin: int) -> MappedText:
    """Join pieces of the source, given as text and source offset.

    Args:
        pieces: In the order in which they are to be read.
        origin: The place of the result in the source should it be empty.
    """
    texts: list[str] = []
    starts: list[int] = []
    origins: list[int] = []
    length, expected = 0, -1
    for text, place in pieces:
        if not text:
            continue
        if place != expected:
            starts.append(length)
            origins.append(place)
        texts.append(text)
        length += len(text)
        expected = place + len(text)
    return MappedText("".join(texts), tuple(starts) or (0,), tuple(origins) or (origin,))


def take(excerpt: MappedText, ranges: Iterable[tuple[int, int]]) -> MappedText:
    """Return the excerpt that keeps only ``ranges`` of another one's text.

    Args:
        excerpt: What to take from.
        ranges: Half-open offsets in ``excerpt.text``, ascending and disjoint.
    """
    kept = [
        (excerpt.text[first:last], origin)
        for start, end in ranges
        for first, last, origin in excerpt.runs(start, end)
    ]
    return join(kept, origin=kept[0][1] if kept else 0)
