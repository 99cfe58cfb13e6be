"""Puts hypernetworks into a UNet and takes them out again.

A hypernetwork acts on what two projections of an attention read (key and value, or key and query),
so a forward pre-hook on those two modules is all it needs. The hooks are there for the length of a
``with`` block; the UNet's weights and its state dictionary are never touched.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from promptengine.errors import IncompatibleNetworkError, PromptEngineError
from promptengine.networks.hypernetwork import Hypernetwork, ResidualNetwork

__all__ = [
    "AttentionWidths",
    "attention_widths",
    "injected",
    "misfit",
    "refuse_fused",
    "require_fit",
]

_PROJECTIONS: Final = {"key": "to_k", "value": "to_v", "query": "to_q"}
# Text widths by which a network shows what it was made for.
_TEXT_WIDTHS: Final = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}


@dataclass(frozen=True)
class AttentionWidths:
    """Widths of what the attentions of a UNet read for keys and values.

    Attributes:
        text: Width of the text context, or None where the UNet takes no text.
        image: Widths of self-attention.
    """

    text: int | None
    image: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        """All widths that a network can act on."""
        return self.image if self.text is None else self.image | {self.text}


@contextmanager
def injected(
    unet: nn.Module, stack: Sequence[tuple[Hypernetwork, float]], *, training: bool = False
) -> Generator[None]:
    """Lets hypernetworks act on every self- and cross-attention of a UNet within a ``with`` block.

    Each projection gets the networks that hold the width it reads, in the order of the stack, each
    on the output of the one before: ``x + multiplier * f(x)``, apart for keys and values. All rows
    of a batch are treated alike; a width that no network holds passes through. The rules are
    WebUI's. Queries are changed only by networks whose transform is ``key,query``, which leave
    values alone. A multiplier of 0 adds no hook; the same network may occur more than once.

    When the block ends, by an exception too, the UNet computes bit for bit what it did before.
    Nested blocks add up: the outer stack acts first. Gradients pass through; a backward pass of
    gradient checkpointing must run inside the block. A UNet must not be compiled before, nor its
    projections fused within the block: both bypass hooks.

    A network whose device or dtype is not that of the projection is copied once, on entry; the
    caller's network stays as it is, and gradients reach it only where no copy was needed.

    Args:
        unet: Any diffusers UNet.
        stack: Networks with their multipliers, finite numbers, negative ones too.
        training: Use the networks themselves, never copies, so that gradients reach them. Where
            their dtype is not the UNet's, call the UNet under ``torch.autocast``.

    Raises:
        PromptEngineError: The UNet's projections are fused.
    """
    uses = [(network, multiplier) for network, multiplier in stack if multiplier != 0]
    copies: dict[tuple[int, torch.device, torch.dtype], Hypernetwork] = {}

    def at(weight: Tensor, network: Hypernetwork) -> Hypernetwork:
        if training:
            return network
        place = (id(network), weight.device, weight.dtype)
        if place not in copies:
            copies[place] = network.cast_to(device=weight.device, dtype=weight.dtype)
        return copies[place]

    if uses:
        refuse_fused(unet)
    with ExitStack() as hooks:
        for attention in _attentions(unet) if uses else ():
            for part, projection in attention.projections.items():
                chain = [
                    (residual, multiplier)
                    for network, multiplier in uses
                    if (residual := at(attention.weight, network).part(_width(projection), part))
                ]
                if chain:
                    handle = projection.register_forward_pre_hook(partial(_apply, chain))
                    hooks.callback(handle.remove)
        yield


def attention_widths(unet: nn.Module) -> AttentionWidths:
    """Finds what widths the attentions of any diffusers UNet read for keys and values."""
    text: set[int] = set()
    image: set[int] = set()
    for attention in _attentions(unet):
        (text if attention.reads_text else image).add(attention.width)
    return AttentionWidths(text=max(text, default=None), image=frozenset(image))


def misfit(widths: AttentionWidths, network: Hypernetwork) -> str | None:
    """Tells why a network does not fit a model, or returns None where it does.

    A network misfits when the model reads none of its widths, or when it lacks the model's text
    width but holds that of another family: of a network for Stable Diffusion 1, an SDXL model
    would run the self-attention half only. A network that merely holds some of the widths fits.
    """
    held = ", ".join(map(str, sorted(network.widths)))
    read = ", ".join(map(str, sorted(widths.all)))
    if not widths.all & set(network.widths):
        return f"it holds widths {held}, and this model reads {read}"
    if widths.text is None or widths.text in network.widths:
        return None
    foreign = sorted(set(network.widths) & _TEXT_WIDTHS.keys() - widths.all)
    if not foreign:
        return None
    return (
        f"it was made for {_TEXT_WIDTHS[foreign[0]]} (text width {foreign[0]}): it holds widths "
        f"{held}, and this model reads text of width {widths.text}"
    )


def require_fit(widths: AttentionWidths, network: Hypernetwork, *, name: str | None = None) -> None:
    """Refuses a network that does not fit, by the rule of :func:`misfit`.

    Args:
        widths: What the model reads.
        network: The network.
        name: What the user calls it; by default the name written inside its file.

    Raises:
        IncompatibleNetworkError: With the widths found and needed.
    """
    reason = misfit(widths, network)
    if reason is not None:
        raise IncompatibleNetworkError(
            f"hypernetwork {(name or network.name)!r} does not fit: {reason}",
            found=sorted(network.widths),
            needed=sorted(widths.all),
        )


def _apply(
    chain: Sequence[tuple[ResidualNetwork, float]],
    _projection: nn.Module,
    inputs: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    x, *others = inputs
    for network, multiplier in chain:
        x = network(x, multiplier)
    return (x, *others)


class _Attention(NamedTuple):
    """What matters of an attention module: its projections and what kind of input they read."""

    projections: dict[str, nn.Module]
    width: int
    weight: Tensor
    reads_text: bool


def _attentions(unet: nn.Module) -> Iterator[_Attention]:
    for module in unet.modules():
        projections = {
            part: projection
            for part, name in _PROJECTIONS.items()
            if isinstance(projection := getattr(module, name, None), nn.Module)
        }
        if not projections.keys() >= {"key", "value"}:
            continue
        key = projections["key"]
        yield _Attention(
            projections,
            width=_width(key),
            weight=cast("Tensor", key.weight),
            reads_text=bool(getattr(module, "is_cross_attention", False)),
        )


def _width(projection: nn.Module) -> int:
    return cast("int", projection.in_features)


def refuse_fused(unet: nn.Module) -> None:
    """Refuses a UNet whose attentions compute key, value and query at once, past their projections.

    Raises:
        PromptEngineError: It is fused, with the call that unfuses it.
    """
    # The flag on attentions stays set when diffusers unfuses a UNet; the processors tell the truth.
    processors = (getattr(module, "processor", None) for module in unet.modules())
    if any(type(processor).__name__.startswith("Fused") for processor in processors):
        raise PromptEngineError(
            "the UNet's attention projections are fused, which bypasses networks; "
            "call unet.unfuse_qkv_projections() first"
        )
