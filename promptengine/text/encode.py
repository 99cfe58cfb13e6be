"""Chunks to conditioning: CLIP, weights, and the restoration of the mean.

The text model is passed in as a function of token ids, so everything here can be tested with a fake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.syntax import Schedule
from promptengine.text.chunks import EMPTY_CHUNK, Chunk, chunk_fragments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Conditioning", "TextModel", "clip_text_model", "encode_chunks", "encode_schedule"]

TextModel = Callable[[Tensor], Tensor]
"""Token ids ``[batch, 77]`` to embeddings ``[batch, 77, width]``."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What one prompt part tells the UNet over a sampling pass.

    Attributes:
        embeddings: ``[segments, 77 * chunks, width]``, one row per scheduled text.
        until_step: For each segment the last step it serves, as in ``Schedule``.
    """

    embeddings: Tensor
    until_step: tuple[int, ...]

    def at(self, call: int) -> Tensor:
        """Return the embeddings ``[77 * chunks, width]`` at the 0-based denoiser call.

        A segment serves every call up to its ``until_step``; past the last one the first holds.
        """
        for index, until in enumerate(self.until_step):
            if call <= until:
                return self.embeddings[index]
        return self.embeddings[0]


def encode_schedule(
    schedule: Schedule, model: TextModel, *, comma_backtrack: int = 20
) -> Conditioning:
    """Encode all texts of a schedule as one batch, as WebUI does.

    One batch matters: texts are filled up to equal chunk counts with empty chunks, and the mean that
    emphasis disturbs is restored over the whole batch.

    Args:
        schedule: A part's schedule; equal texts are encoded once.
        model: The text model.
        comma_backtrack: See :func:`promptengine.text.chunks.chunk_fragments`.

    Returns:
        Conditioning with one row per segment, on the model's device.
    """
    chunked = {
        segment.text: chunk_fragments(segment.fragments, comma_backtrack=comma_backtrack)
        for segment in schedule.segments
    }
    row_of = {text: row for row, text in enumerate(chunked)}
    rows = [row_of[segment.text] for segment in schedule.segments]
    return Conditioning(
        embeddings=encode_chunks(list(chunked.values()), model, rows=rows),
        until_step=tuple(segment.until_step for segment in schedule.segments),
    )


def encode_chunks(
    texts: Sequence[Sequence[Chunk]], model: TextModel, *, rows: Sequence[int] | None = None
) -> Tensor:
    """Encode chunked texts and apply their weights.

    Every token's embedding is multiplied by its weight; then each chunk column is scaled so that its
    mean over the *whole batch* is what it was before (WebUI's "Original" emphasis).

    Args:
        texts: Chunks of each distinct text.
        model: The text model.
        rows: Indices into ``texts`` that make up the batch; each text once by default. A text that
            stands in it several times counts as often in the mean but is encoded once.

    Returns:
        ``[len(rows), 77 * chunks, width]``.
    """
    batch = list(range(len(texts))) if rows is None else list(rows)
    columns: list[Tensor] = []
    for position in range(max(len(chunks) for chunks in texts)):
        column = [c[position] if position < len(c) else EMPTY_CHUNK for c in texts]
        embeddings = model(torch.tensor([chunk.tokens for chunk in column]))[batch]
        weights = torch.tensor([column[row].weights for row in batch]).to(embeddings)
        columns.append(_weighted(embeddings, weights))
    return torch.cat(columns, dim=1)


def _weighted(embeddings: Tensor, weights: Tensor) -> Tensor:
    if bool((weights == 1.0).all()):
        return embeddings
    before = embeddings.mean()
    weighted = embeddings * weights.unsqueeze(-1)
    return weighted * (before / weighted.mean())


def clip_text_model(encoder: PreTrainedModel, *, clip_skip: int = 1) -> TextModel:
    """Wrap a transformers ``CLIPTextModel``.

    Args:
        encoder: The model; its final layer norm is applied whatever layer is read.
        clip_skip: 1 reads the last layer, n the n-th from the end ("stop at last layers").

    Returns:
        A function of token ids ``[batch, 77]``, which may lie on any device.

    Raises:
        RequestError: ``clip_skip`` is larger than the number of layers.
    """
    layers = encoder.config.num_hidden_layers
    if clip_skip > layers:
        message = f"clip_skip is {clip_skip}, and the text model has {layers} layers"
        raise RequestError(message, field="clip_skip")
    inner: Any = getattr(encoder, "text_model", encoder)
    device = next(encoder.parameters()).device

    @torch.no_grad()
    def embed(tokens: Tensor) -> Tensor:
        output = encoder(input_ids=tokens.to(device), output_hidden_states=clip_skip > 1)
        if clip_skip == 1:
            return output.last_hidden_state
        return inner.final_layer_norm(output.hidden_states[-clip_skip])

    return embed
