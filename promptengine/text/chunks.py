"""Weighted fragments to CLIP's 77-token windows.

A prompt of any length becomes chunks of 75 tokens between a start and an end token, each encoded on its
own, as WebUI does it. Token-level rules only: no torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptengine.syntax import Fragment
from promptengine.text.tokenizer import COMMA_TOKEN, END_TOKEN, START_TOKEN, tokenize

__all__ = ["CHUNK_LENGTH", "EMPTY_CHUNK", "Chunk", "chunk_fragments"]

CHUNK_LENGTH = 75
"""Tokens of a chunk that are the prompt's own."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One window of text for CLIP.

    Attributes:
        tokens: 77 ids: start, up to 75 of the prompt, then end tokens.
        weights: 77 weights; 1.0 for start, end and padding.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


def chunk_fragments(fragments: Iterable[Fragment], *, comma_backtrack: int = 20) -> list[Chunk]:
    """Cut fragments into chunks.

    When a chunk is full and the next token is no comma, the words after its last comma move to the
    next chunk if that comma lies at most ``comma_backtrack`` tokens back, so that a phrase is not torn
    apart. ``BREAK`` (a fragment of weight -1) ends a chunk early. A fragment is tokenized as a whole.

    Args:
        fragments: Text with weights.
        comma_backtrack: Tokens to look back for a comma; 0 turns the rule off.

    Returns:
        At least one chunk.
    """
    pieces = list(fragments)
    chunks: list[Chunk] = []
    tokens: list[int] = []
    weights: list[float] = []
    for piece, ids in zip(pieces, tokenize([piece.text for piece in pieces]), strict=True):
        if piece.text == "BREAK" and piece.weight == -1.0:
            chunks.append(_closed(tokens, weights))
            tokens, weights = [], []
            continue
        for token in ids:
            if len(tokens) == CHUNK_LENGTH:
                keep = _cut(tokens, token, comma_backtrack)
                chunks.append(_closed(tokens[:keep], weights[:keep]))
                tokens, weights = tokens[keep:], weights[keep:]
            tokens.append(token)
            weights.append(piece.weight)
    if tokens or not chunks:
        chunks.append(_closed(tokens, weights))
    return chunks


def _cut(tokens: Sequence[int], following: int, comma_backtrack: int) -> int:
    """How many tokens of a full chunk stay in it when ``following`` is to come next."""
    if following == COMMA_TOKEN:
        return len(tokens)
    for kept in range(len(tokens), len(tokens) - comma_backtrack, -1):
        if tokens[kept - 1] == COMMA_TOKEN:
            return kept
    return len(tokens)


def _closed(tokens: Sequence[int], weights: Sequence[float]) -> Chunk:
    padding = CHUNK_LENGTH - len(tokens)
    return Chunk(
        tokens=(START_TOKEN, *tokens, *[END_TOKEN] * (padding + 1)),
        weights=(1.0, *weights, *[1.0] * (padding + 1)),
    )


EMPTY_CHUNK = _closed((), ())
"""What a text of fewer chunks is filled up with beside a longer one."""
