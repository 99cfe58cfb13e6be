"""Text encoders as functions of tokens: what a family of models reads from which layer.

============  =========================  ==========================  ===========  ===================
family        encoders                   states                      norm after   padding
============  =========================  ==========================  ===========  ===================
SD1           CLIP-L                     last layer, or clip skip    yes          end token
SD2           OpenCLIP-H                 last but one                yes          0
SDXL          CLIP-L, OpenCLIP-G         last but one, of both       no           end token; 0
SDXL refiner  OpenCLIP-G                 last but one                no           0
SD3           CLIP-L, OpenCLIP-G         last but one, of both       no           end token; 0
============  =========================  ==========================  ===========  ===================

SDXL and its refiner also hand on OpenCLIP's projected state of the end token ("pooled"), SD3 those of both
encoders. Flux reads nothing of CLIP but CLIP-L's pooled state (:func:`pooled_text`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from promptengine.errors import RequestError
from promptengine.text.textual_inversion.table import Placement
from promptengine.text.tokenizer import END_TOKEN
from promptengine.undo import UndoLog

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "Encoded",
    "TextModel",
    "clip_text_model",
    "pooled_text",
    "refiner_text_model",
    "sd2_text_model",
    "sd3_text_model",
    "sdxl_text_model",
    "text_widths",
]

_OPEN_CLIP_PADDING = 0


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What a text model says about a batch of chunks.

    Attributes:
        states: Per encoder ``[batch, 77, width]``; side by side they are what cross-attention reads.
        pooled: ``[batch, width]``, one vector per chunk for families that use it, else None.
    """

    states: tuple[Tensor, ...]
    pooled: Tensor | None = None


class TextModel(Protocol):
    """All text encoders of a model as one function."""

    def __call__(
        self,
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        """Encode chunks.

        Args:
            tokens: Ids ``[batch, 77]`` on any device, each row padded with end tokens.
            placements: For each row the vectors that take the places of tokens; none by default.
            mask: ``[batch, 77]``, 0 where no token attends to the one there; by default 1 everywhere.
        """
        ...


def clip_text_model(encoder: PreTrainedModel, *, clip_skip: int = 1) -> TextModel:
    """Read SD1's text encoder.

    Args:
        encoder: A transformers ``CLIPTextModel``; its final layer norm is applied whatever layer is
            read.
        clip_skip: 1 reads the last layer, n the n-th from the end ("stop at last layers").

    Raises:
        RequestError: ``clip_skip`` is larger than the number of layers.
    """
    layers = encoder.config.num_hidden_layers
    if clip_skip > layers:
        message = f"clip_skip is {clip_skip}, and the text model has {layers} layers"
        raise RequestError(message, field="clip_skip")
    return _model(_Reading(encoder, layer=clip_skip, normalized=True, padding=END_TOKEN))


def sd2_text_model(encoder: PreTrainedModel, *, layer: int = 1) -> TextModel:
    """Read SD2's text encoder; clip skip has no say there, as in WebUI.

    Args:
        encoder: OpenCLIP-H as a transformers ``CLIPTextModel``.
        layer: The last but one of OpenCLIP's layers, counted from the end: 1 for an encoder that is
            kept without its unused last layer, as diffusers does; 2 for a whole one.
    """
    return _model(_Reading(encoder, layer=layer, normalized=True, padding=_OPEN_CLIP_PADDING))


def sdxl_text_model(first: PreTrainedModel, second: PreTrainedModel) -> TextModel:
    """Read SDXL's text encoders; clip skip has no say there, as in WebUI by default.

    Args:
        first: CLIP-L as a transformers ``CLIPTextModel``.
        second: OpenCLIP-G as a transformers ``CLIPTextModelWithProjection``.
    """
    return _model(
        _Reading(first, layer=2, normalized=False, padding=END_TOKEN),
        _Reading(second, layer=2, normalized=False, padding=_OPEN_CLIP_PADDING),
    )


def refiner_text_model(encoder: PreTrainedModel) -> TextModel:
    """Read the SDXL refiner's text encoder, as SDXL's second is read; clip skip has no say, as in WebUI.

    Args:
        encoder: OpenCLIP-G as a transformers ``CLIPTextModelWithProjection``.
    """
    return _model(_Reading(encoder, layer=2, normalized=False, padding=_OPEN_CLIP_PADDING))


def sd3_text_model(
    first: PreTrainedModel,
    second: PreTrainedModel,
    *,
    clip_skip: int = 0,
    paddings: tuple[int, int] = (END_TOKEN, _OPEN_CLIP_PADDING),
    device: torch.device | None = None,
) -> TextModel:
    """Read the CLIP encoders of Stable Diffusion 3 (Esser et al., arXiv:2403.03206) as one.

    Their states stand side by side as those of one encoder, since WebUI 1.10.1 restores the mean of both together
    where weights have disturbed it.

    Args:
        first: CLIP-L as a transformers ``CLIPTextModelWithProjection``.
        second: OpenCLIP-G, likewise.
        clip_skip: As diffusers counts: layers of both to leave out beyond the last.
        paddings: The id behind the end token that each was trained to see.
        device: Where their input belongs; by default where their weights are, which is not so where weights
            come to the device with each call.

    Raises:
        RequestError: ``clip_skip`` is larger than the layers that are left.
    """
    layers = min(first.config.num_hidden_layers, second.config.num_hidden_layers)
    if not 0 <= clip_skip <= layers - 2:
        message = f"clip_skip is {clip_skip}; with these text encoders it must be 0 to {layers - 2}"
        raise RequestError(message, field="clip_skip")
    readings = [
        _Reading(encoder, layer=2 + clip_skip, normalized=False, padding=padding, device=device)
        for encoder, padding in zip((first, second), paddings, strict=True)
    ]

    @torch.no_grad()
    def encode(
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        read = [one.read(tokens, placements, part, mask) for part, one in enumerate(readings)]
        states = torch.cat([states for states, _ in read], dim=-1)
        pooled = [pooled for _, pooled in read if pooled is not None]
        return Encoded((states,), torch.cat(pooled, dim=-1))

    return encode


@torch.no_grad()
def pooled_text(encoder: PreTrainedModel, tokens: Tensor, *, padding: int = END_TOKEN) -> Tensor:
    """Return CLIP's state of the end token alone, which is all that Flux reads of it: ``[batch, width]``.

    Args:
        encoder: CLIP-L as a transformers ``CLIPTextModel``.
        tokens: Ids ``[batch, 77]`` where the encoder's input belongs, each row padded with end tokens.
        padding: The id behind the end token that the encoder was trained to see.
    """
    output: Any = encoder(input_ids=_padded(tokens, padding))
    return output.pooler_output


def text_widths(*encoders: PreTrainedModel) -> tuple[int, ...]:
    """Return the widths of the vectors that encoders read in place of tokens, in their order."""
    return tuple(_token_embedding(encoder).embedding_dim for encoder in encoders)


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """What a family reads from one encoder.

    Attributes:
        encoder: The transformers model.
        layer: The layer that is read, counted from the end: 1 is the last.
        normalized: Whether the final layer norm follows.
        padding: The id after the end token.
        device: Where the encoder's input belongs; by default where its weights are.
    """

    encoder: PreTrainedModel
    layer: int
    normalized: bool
    padding: int
    device: torch.device | None = None

    def read(
        self,
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]],
        part: int,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the states ``[batch, 77, width]``, and the pooled projection where the encoder has one."""
        encoder = self.encoder
        device = self.device or next(encoder.parameters()).device
        ids = _padded(tokens.to(device), self.padding)
        inner_layer = self.layer > 1 or not self.normalized
        with _standing_in(_token_embedding(encoder), ids, placements, part):
            # An argument that is left out keeps the quicker way through attention.
            masked = {} if mask is None else {"attention_mask": mask.to(ids.device)}
            output: Any = encoder(input_ids=ids, output_hidden_states=inner_layer, **masked)
        pooled = getattr(output, "text_embeds", None)
        if not inner_layer:
            return output.last_hidden_state, pooled
        states = output.hidden_states[-self.layer]
        if self.normalized:
            inner: Any = getattr(encoder, "text_model", encoder)
            states = inner.final_layer_norm(states)
        return states, pooled


def _model(*readings: _Reading) -> TextModel:
    @torch.no_grad()
    def encode(
        tokens: Tensor,
        placements: Sequence[Sequence[Placement]] = (),
        *,
        mask: Tensor | None = None,
    ) -> Encoded:
        read = [r.read(tokens, placements, part, mask) for part, r in enumerate(readings)]
        return Encoded(tuple(states for states, _ in read), read[-1][1])

    return encode


def _token_embedding(encoder: PreTrainedModel) -> nn.Embedding:
    return cast("nn.Embedding", encoder.get_input_embeddings())


def _padded(tokens: Tensor, padding: int) -> Tensor:
    """Fill each row with ``padding`` after its first end token, even one that the text itself holds."""
    if padding == END_TOKEN:
        return tokens
    ends = (tokens == END_TOKEN).cumsum(dim=1)
    filling = (ends > 1) | ((ends == 1) & (tokens != END_TOKEN))
    return tokens.masked_fill(filling, padding)


@contextmanager
def _standing_in(
    layer: nn.Embedding, ids: Tensor, placements: Sequence[Sequence[Placement]], part: int
) -> Generator[None]:
    """Let vectors take the places of token embeddings, for one call with these very ids.

    The encoder itself stays as it is, and calls from other threads pass by untouched: they have other
    ids.
    """
    if not any(placements):
        yield
        return

    def replace(_layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if arguments[0].data_ptr() != ids.data_ptr():
            return None
        changed = output.clone()
        for row, placed in enumerate(placements):
            for place in placed:
                vectors = place.embedding.parts[part].to(output)
                changed[row, place.position : place.position + len(vectors)] = vectors
        return changed

    hooks: dict[int, object] = vars(layer)["_forward_hooks"]
    with UndoLog().block() as changes:
        changes.write(partial(_forget, hooks, replace))
        layer.register_forward_hook(replace)
        yield


def _forget(hooks: dict[int, object], hook: object) -> None:
    for key in [key for key, known in hooks.items() if known is hook]:
        hooks.pop(key, None)
