"""Which words of a text stand for learned vectors.

Words are matched on token ids, so case, accents and spacing matter as little as they do to CLIP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from promptengine.text.tokenizer import tokenize

if TYPE_CHECKING:
    from promptengine.text.textual_inversion.embedding import Embedding

__all__ = ["EmbeddingTable", "Match", "Placement", "mentioned"]


class Match(NamedTuple):
    """A word found in a text: what it stands for, and how many tokens spell it."""

    embedding: Embedding
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """An embedding in a chunk.

    Attributes:
        position: Index of its first vector among the chunk's 77 tokens.
        embedding: Whose vectors stand there, on as many places as it has.
    """

    position: int
    embedding: Embedding


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """The words that texts may name. Never altered; add words by making another one.

    Attributes:
        embeddings: The words. Of those that are spelled alike, the first one holds.
    """

    embeddings: tuple[Embedding, ...] = ()

    def with_words(self, more: Iterable[Embedding]) -> EmbeddingTable:
        """Return a table with more words, such as a LoRA file brings; these go behind its own."""
        return EmbeddingTable((*self.embeddings, *more))

    def at(self, tokens: Sequence[int], position: int) -> Match | None:
        """Find the longest word that begins at a token.

        Args:
            tokens: Ids of one fragment, without start and end.
            position: Index of the first token to look at.
        """
        for ids, embedding in self._by_first_token.get(tokens[position], ()):
            if tuple(tokens[position : position + len(ids)]) == ids:
                return Match(embedding, len(ids))
        return None

    def find(self, name: str) -> Embedding | None:
        """Return what a text means that consists of nothing but a name."""
        return self._by_tokens.get(tuple(tokenize([name])[0]))

    @cached_property
    def unreachable(self) -> tuple[tuple[Embedding, Embedding | None], ...]:
        """Words that no text can name, each with the one before it that is spelled alike, or None
        where its name holds nothing that the tokenizer reads.
        """
        return tuple(
            (embedding, self._by_tokens.get(ids))
            for embedding, ids in zip(self.embeddings, self._ids, strict=True)
            if self._by_tokens.get(ids) is not embedding
        )

    @cached_property
    def _ids(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(tuple, tokenize([embedding.name for embedding in self.embeddings])))

    @cached_property
    def _by_tokens(self) -> dict[tuple[int, ...], Embedding]:
        found: dict[tuple[int, ...], Embedding] = {}
        for ids, embedding in zip(self._ids, self.embeddings, strict=True):
            if ids:
                found.setdefault(ids, embedding)
        return found

    @cached_property
    def _by_first_token(self) -> dict[int, list[tuple[tuple[int, ...], Embedding]]]:
        """Spellings by their first token, the longest first."""
        found: dict[int, list[tuple[tuple[int, ...], Embedding]]] = {}
        for ids in sorted(self._by_tokens, key=len, reverse=True):
            found.setdefault(ids[0], []).append((ids, self._by_tokens[ids]))
        return found


def mentioned(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return those names that a text spells, whatever else they may be; in the order given."""
    spellings = tokenize(texts)
    return [
        name
        for name, ids in zip(names, tokenize(names), strict=True)
        if ids and any(_holds(spelled, ids) for spelled in spellings)
    ]


def _holds(tokens: Sequence[int], part: Sequence[int]) -> bool:
    places = range(len(tokens) - len(part) + 1)
    return any(tokens[place : place + len(part)] == part for place in places)
