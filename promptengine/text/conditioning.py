"""Chunks to conditioning: the text model, weights, and the restoration of the mean.

The text model is passed in as a function of token ids, so everything here can be tested with a fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from promptengine.prompt import Schedule, Segment
from promptengine.request.options import Emphasis, NegativeWeights
from promptengine.text.chunks import (
    EMPTY_CHUNK,
    NO_WORDS,
    Chunk,
    chunk_fragments,
    old_chunk,
    read_segment,
)
from promptengine.text.encoder import Encoded, TextModel, clip_text_model
from promptengine.text.textual_inversion.table import EmbeddingTable

if TYPE_CHECKING:
    from promptengine.text.textual_inversion.embedding import Embedding

__all__ = [
    "Conditioning",
    "TextModel",
    "clip_text_model",
    "embedding_hashes",
    "encode_chunks",
    "encode_schedule",
    "keys_of",
    "words_of",
]

_DIGITS_OF_A_HASH = 12


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What one prompt part tells the UNet over a sampling pass.

    Attributes:
        embeddings: ``[segments, 77 * chunks, width]``, one row per scheduled text.
        until_step: For each segment the last call it serves, as ``Schedule.last_calls`` tells.
        pooled: ``[segments, width]`` for families that use it, else None.
        words: The textual-inversion words in its texts, each once, in order of first use.
        aesthetic_score: What the UNet is told of how good an image shall be, for families that use it,
            else None.
        signs: ``[segments, 77 * chunks]``, -1 for each token whose value cross-attention turns around
            and 1 for all others; None where it turns none.
    """

    embeddings: Tensor
    until_step: tuple[int, ...]
    pooled: Tensor | None = None
    words: tuple[Embedding, ...] = ()
    aesthetic_score: float | None = None
    signs: Tensor | None = None

    def at(self, call: int) -> Tensor:
        """Return the embeddings ``[77 * chunks, width]`` at the 0-based denoiser call.

        A segment serves every call up to its ``until_step``; past the last one the first holds.
        """
        return self.embeddings[self.segment_at(call)]

    def pooled_at(self, call: int) -> Tensor | None:
        """Return the pooled vector ``[width]`` at a call, where the family uses it."""
        return None if self.pooled is None else self.pooled[self.segment_at(call)]

    def signs_at(self, call: int) -> Tensor | None:
        """Return the signs ``[77 * chunks]`` of the tokens' values at a call; None where all are 1."""
        return None if self.signs is None else self.signs[self.segment_at(call)]

    def segment_at(self, call: int) -> int:
        """Return which segment serves a call."""
        ends = enumerate(self.until_step)
        return next((index for index, until in ends if call <= until), 0)


def encode_schedule(
    schedule: Schedule,
    model: TextModel | Sequence[TextModel],
    *,
    embeddings: EmbeddingTable = NO_WORDS,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = 20,
    old_emphasis: bool = False,
    negative_weights: NegativeWeights = "scale",
) -> Conditioning:
    """Encode all texts of a schedule as one batch, as WebUI does.

    One batch matters: texts are filled up to equal chunk counts with empty chunks, and the mean that
    emphasis disturbs is restored over the whole batch.

    Args:
        schedule: A part's schedule; equal texts are encoded once by a model.
        model: The text model, or that of each segment, where networks change it over the steps.
        embeddings: The textual-inversion words that texts may name; all must fit the model's widths.
        emphasis: What becomes of weights.
        comma_backtrack: See :func:`promptengine.text.chunks.chunk_fragments`.
        old_emphasis: Read texts by :func:`promptengine.text.chunks.old_chunk`, which cuts them short.
        negative_weights: ``subtract`` applies weights below 0 without their sign, and tells in
            :attr:`Conditioning.signs` which tokens have one. Not where emphasis drops the weights.

    Returns:
        Conditioning with one row per segment, on the model's device.
    """

    def chunks_of(segment: Segment) -> Sequence[Chunk]:
        if old_emphasis:
            weighted = emphasis != "None"
            return [old_chunk(segment.text, weighted=weighted, embeddings=embeddings)[0]]
        fragments = read_segment(segment, emphasis)
        return chunk_fragments(fragments, comma_backtrack=comma_backtrack, embeddings=embeddings)

    keys = keys_of(schedule, model)
    distinct = dict(zip(keys, schedule.segments, strict=True))
    row_of = {key: row for row, key in enumerate(distinct)}
    rows = [row_of[key] for key in keys]
    texts = [chunks_of(segment) for segment in distinct.values()]
    negative: Tensor | None = None
    if negative_weights == "subtract" and emphasis in ("Original", "No norm"):
        negative = _negative(texts, rows)
        texts = [[_without_signs(chunk) for chunk in chunks] for chunks in texts]
    states, pooled = encode_chunks(texts, [by for _, by in distinct], rows=rows, emphasis=emphasis)
    return Conditioning(
        embeddings=states,
        until_step=schedule.last_calls,
        pooled=pooled,
        words=words_of(texts),
        signs=None if negative is None else 1.0 - 2.0 * negative.to(states),
    )


def keys_of(
    schedule: Schedule, model: TextModel | Sequence[TextModel]
) -> list[tuple[str, TextModel]]:
    """Return for each segment of a schedule its text and what encodes it; equal ones are encoded once.

    Args:
        schedule: A part's.
        model: The text model, or that of each segment.
    """
    models = model if isinstance(model, Sequence) else [model] * len(schedule.segments)
    return [(one.text, by) for one, by in zip(schedule.segments, models, strict=True)]


def encode_chunks(
    texts: Sequence[Sequence[Chunk]],
    model: TextModel | Sequence[TextModel],
    *,
    rows: Sequence[int] | None = None,
    emphasis: Emphasis = "Original",
) -> tuple[Tensor, Tensor | None]:
    """Encode chunked texts and apply their weights.

    Every token's state is multiplied by its weight; then, by the ``Original`` emphasis, each chunk
    column is scaled so that its mean over the *whole batch* is what it was before. Of a model with
    several encoders each one's states are treated so on their own, then set side by side.

    Args:
        texts: Chunks of each distinct text.
        model: The text model, or that of each text.
        rows: Indices into ``texts`` that make up the batch; each text once by default. A text that
            stands in it several times counts as often in the mean but is encoded once.
        emphasis: What becomes of weights.

    Returns:
        ``[len(rows), 77 * chunks, width]``, and the pooled vectors ``[len(rows), width]`` of the
        first chunks, which weights leave alone, or None for families without.
    """
    batch = list(range(len(texts))) if rows is None else list(rows)
    models = model if isinstance(model, Sequence) else [model] * len(texts)
    columns: list[Tensor] = []
    pooled: Tensor | None = None
    for position in range(max(len(chunks) for chunks in texts)):
        column = [_chunk_at(chunks, position) for chunks in texts]
        encoded = _encoded(column, models)
        weights = torch.tensor([column[row].weights for row in batch])
        parts = [_weighted(states[batch], weights, emphasis) for states in encoded.states]
        columns.append(torch.cat(parts, dim=-1))
        if position == 0 and encoded.pooled is not None:
            pooled = encoded.pooled[batch]
    return torch.cat(columns, dim=1), pooled


def _encoded(column: Sequence[Chunk], models: Sequence[TextModel]) -> Encoded:
    """Encode a chunk of each text, those of one model as one batch."""
    rows_of: dict[TextModel, list[int]] = {}
    for row, model in enumerate(models):
        rows_of.setdefault(model, []).append(row)
    found = [
        model(
            torch.tensor([column[row].tokens for row in rows]),
            [column[row].placements for row in rows],
        )
        for model, rows in rows_of.items()
    ]
    if len(found) == 1:
        return found[0]
    back = torch.tensor([row for rows in rows_of.values() for row in rows]).argsort()
    states = zip(*(one.states for one in found), strict=True)
    pooled = [one.pooled for one in found if one.pooled is not None]
    return Encoded(
        tuple(torch.cat(some)[back] for some in states),
        torch.cat(pooled)[back] if pooled else None,
    )


def _negative(texts: Sequence[Sequence[Chunk]], rows: Sequence[int]) -> Tensor | None:
    """Return which tokens weigh less than 0, ``[len(rows), 77 * chunks]``; None where none does."""
    longest = max(len(chunks) for chunks in texts)
    weights = [
        [weight for place in range(longest) for weight in _chunk_at(chunks, place).weights]
        for chunks in texts
    ]
    found = torch.tensor([weights[row] for row in rows]) < 0
    return found if bool(found.any()) else None


def _without_signs(chunk: Chunk) -> Chunk:
    return replace(chunk, weights=tuple(map(abs, chunk.weights)))


def _chunk_at(chunks: Sequence[Chunk], position: int) -> Chunk:
    return chunks[position] if position < len(chunks) else EMPTY_CHUNK


def _weighted(states: Tensor, weights: Tensor, emphasis: Emphasis) -> Tensor:
    if emphasis in ("Ignore", "None") or bool((weights == 1.0).all()):
        return states
    weighted = states * weights.to(states).unsqueeze(-1)
    if emphasis == "No norm":
        return weighted
    return weighted * (states.mean() / weighted.mean())


def words_of(texts: Sequence[Sequence[Chunk]]) -> tuple[Embedding, ...]:
    """Return the textual-inversion words of chunked texts, in the order in which WebUI meets them: chunk by chunk through all texts."""
    longest = max(len(chunks) for chunks in texts)
    columns = [[_chunk_at(chunks, position) for chunks in texts] for position in range(longest)]
    placed = [p.embedding for column in columns for chunk in column for p in chunk.placements]
    return tuple(dict.fromkeys(placed))


def embedding_hashes(positive: Sequence[Conditioning], negative: Conditioning) -> str | None:
    """Write the value of the infotext's ``TI hashes``: ``name: hash, …``, or None where no word was
    used.

    A hash is the first 12 hexadecimal digits of a file's SHA-256; for words that a LoRA file brings, that
    file's name stands there, as in WebUI. What was encoded last stands first, as in WebUI: the prompt's last
    part before the others, the negative prompt at the end; but no word stands there twice.

    Args:
        positive: The prompt's parts.
        negative: The negative prompt.
    """
    words = dict.fromkeys(w for part in (*reversed(positive), negative) for w in part.words)
    # A colon or comma in a name would break the list.
    marks = str.maketrans("", "", ":,")
    entries = [
        f"{word.name.translate(marks)}: {source.translate(marks)}"
        for word in words
        if (source := word.brought_by or (word.digest or "")[:_DIGITS_OF_A_HASH])
    ]
    return ", ".join(entries) or None
