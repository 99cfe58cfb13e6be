"""Weighted fragments to CLIP's 77-token windows.

A prompt of any length becomes chunks of 75 tokens between a start and an end token, each encoded on its
own, as WebUI does it. Token-level rules only: no torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promptengine.prompt import Fragment, Segment, Span
from promptengine.request.options import Emphasis
from promptengine.text.textual_inversion.table import EmbeddingTable, Placement
from promptengine.text.tokenizer import (
    COMMA_TOKEN,
    END_TOKEN,
    START_TOKEN,
    bracket_factors,
    tokenize,
    untokenize,
)

if TYPE_CHECKING:
    from promptengine.text.textual_inversion.embedding import Embedding

__all__ = [
    "CHUNK_LENGTH",
    "EMPTY_CHUNK",
    "NO_WORDS",
    "Chunk",
    "Page",
    "chunk_fragments",
    "count_tokens",
    "old_chunk",
    "read_segment",
]

CHUNK_LENGTH = 75
"""Tokens of a chunk that are the prompt's own."""

NO_WORDS = EmbeddingTable()
"""For texts without textual inversion."""

_PLACEHOLDER_TOKEN = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One window of text for CLIP.

    Attributes:
        tokens: 77 ids: start, up to 75 of the prompt, then end tokens; 0 where vectors stand.
        weights: 77 weights; 1.0 for start, end and padding.
        placements: Where textual-inversion vectors take the places of tokens, first to last.
        counted: Tokens as WebUI counts them: 75 for a chunk that something follows, even ``BREAK``.
        used: Tokens of the prompt that are in it.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    placements: tuple[Placement, ...] = ()
    counted: int = 0
    used: int = 0


def read_segment(segment: Segment, emphasis: Emphasis) -> tuple[Fragment, ...]:
    """Return a scheduled text's fragments; without emphasis it is one, brackets and all."""
    if emphasis != "None":
        return segment.fragments
    return (Fragment(segment.text, 1.0, Span(0, len(segment.text))),)


def chunk_fragments(
    fragments: Iterable[Fragment],
    *,
    comma_backtrack: int = 20,
    embeddings: EmbeddingTable = NO_WORDS,
) -> list[Chunk]:
    """Cut fragments into chunks.

    When a chunk is full and the next token is no comma, the words after its last comma move to the
    next chunk if that comma lies at most ``comma_backtrack`` tokens back, so that a phrase is not torn
    apart. ``BREAK`` (a fragment of weight -1) ends a chunk early. A fragment is tokenized as a whole.

    A textual-inversion word takes as many places as it has vectors, all of its fragment's weight. It
    is never torn: where the rest of a chunk is too short for it, it begins the next one. Its vectors
    move with it when words after a comma do (WebUI leaves them behind, over padding).

    Args:
        fragments: Text with weights.
        comma_backtrack: Tokens to look back for a comma; 0 turns the rule off.
        embeddings: The words that stand for vectors.

    Returns:
        At least one chunk.
    """
    pieces = list(fragments)
    chunks: list[Chunk] = []
    page = Page()
    for piece, ids in zip(pieces, tokenize([piece.text for piece in pieces]), strict=True):
        if piece.text == "BREAK" and piece.weight == -1.0:
            chunks.append(page.closed(CHUNK_LENGTH))
            page = Page()
            continue
        position = 0
        while position < len(ids):
            if len(page.tokens) == CHUNK_LENGTH:
                following = page.split(_cut(page.tokens, ids[position], comma_backtrack))
                chunks.append(page.closed(CHUNK_LENGTH))
                page = following
            match = embeddings.at(ids, position)
            if match is None:
                page.add([ids[position]], piece.weight)
                position += 1
                continue
            if len(page.tokens) + match.embedding.count > CHUNK_LENGTH:
                chunks.append(page.closed(CHUNK_LENGTH))
                page = Page()
            page.place(match.embedding, piece.weight)
            position += match.tokens
    if page.tokens or not chunks:
        chunks.append(page.closed(len(page.tokens)))
    return chunks


def old_chunk(
    text: str, *, weighted: bool = True, embeddings: EmbeddingTable = NO_WORDS
) -> tuple[Chunk, str]:
    """Read a text as the first versions of WebUI did: one chunk, with brackets as tokens that weigh.

    Each ``(`` within a token multiplies the weight of what follows by 1.1 and each ``[`` divides it,
    ``)`` and ``]`` undo that. Such tokens themselves are left out; what stands in a bracket after a
    colon are words.

    Args:
        text: A scheduled text.
        weighted: Read brackets so; else they are words.
        embeddings: The words that stand for vectors.

    Returns:
        The chunk, and the words that are cut off since they are beyond it.
    """
    (ids,) = tokenize([text])
    page, weight, position = Page(), 1.0, 0
    words: list[int] = []
    while position < len(ids):
        match = embeddings.at(ids, position)
        factor = bracket_factors().get(ids[position]) if weighted else None
        if factor is not None:
            weight *= factor
            position += 1
        elif match is None:
            page.add([ids[position]], weight)
            words.append(ids[position])
            position += 1
        else:
            page.place(match.embedding, weight)
            words += [_PLACEHOLDER_TOKEN] * match.embedding.count
            position += match.tokens
    rest = page.split(min(CHUNK_LENGTH, len(page.tokens)))
    return page.closed(len(page.tokens)), untokenize(words[len(words) - len(rest.tokens) :])


def count_tokens(chunks: Iterable[Chunk]) -> int:
    """Add up the tokens of a text as WebUI's counter shows them: chunks that are cut short by a comma
    or by ``BREAK`` count as full.
    """
    return sum(chunk.counted for chunk in chunks)


@dataclass(slots=True)
class Page:
    """A chunk that is being filled.

    Attributes:
        tokens: So far, without the start token.
        weights: One for each.
        placements: Where textual-inversion vectors stand among them.
    """

    tokens: list[int] = field(default_factory=list[int])
    weights: list[float] = field(default_factory=list[float])
    placements: list[Placement] = field(default_factory=list[Placement])

    def add(self, tokens: Sequence[int], weight: float) -> None:
        """Add tokens of one weight."""
        self.tokens += tokens
        self.weights += [weight] * len(tokens)

    def split(self, kept: int) -> Page:
        """Keep the first tokens and return the others as a page of their own."""
        moved = [
            Placement(p.position - kept, p.embedding) for p in self.placements if p.position > kept
        ]
        rest = Page(self.tokens[kept:], self.weights[kept:], moved)
        self.tokens, self.weights = self.tokens[:kept], self.weights[:kept]
        self.placements = [p for p in self.placements if p.position <= kept]
        return rest

    def place(self, embedding: Embedding, weight: float) -> None:
        """Add the vectors of a textual-inversion word."""
        # After the start token, a place further on.
        self.placements.append(Placement(len(self.tokens) + 1, embedding))
        self.add([_PLACEHOLDER_TOKEN] * embedding.count, weight)

    def closed(self, counted: int) -> Chunk:
        """Return it as a chunk that counts as some tokens."""
        padding = CHUNK_LENGTH - len(self.tokens)
        return Chunk(
            tokens=(START_TOKEN, *self.tokens, *[END_TOKEN] * (padding + 1)),
            weights=(1.0, *self.weights, *[1.0] * (padding + 1)),
            placements=tuple(self.placements),
            counted=counted,
            used=len(self.tokens),
        )


def _cut(tokens: Sequence[int], following: int, comma_backtrack: int) -> int:
    """Return how many tokens of a full chunk stay in it when ``following`` is to come next."""
    if following == COMMA_TOKEN:
        return len(tokens)
    for kept in range(len(tokens), max(len(tokens) - comma_backtrack, 0), -1):
        if tokens[kept - 1] == COMMA_TOKEN:
            return kept
    return len(tokens)


EMPTY_CHUNK = Page().closed(0)
"""What a text of fewer chunks is filled up with beside a longer one."""
