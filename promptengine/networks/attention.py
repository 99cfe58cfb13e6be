"""The attentions of a diffusers UNet: what they read, and which networks fit them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from torch import nn

from promptengine.errors import IncompatibleNetworkError, PromptEngineError
from promptengine.families import FAMILIES, FamilySpec
from promptengine.networks.blocks import UNetBlocks
from promptengine.networks.hypernetwork.module import Hypernetwork

__all__ = [
    "Attention",
    "AttentionWidths",
    "attention_widths",
    "attentions",
    "explain_misfit",
    "refuse_fused",
    "require_fit",
]

_PROJECTIONS: Final = {"key": "to_k", "value": "to_v", "query": "to_q"}
# Text widths by which a network shows what it was made for.
_SPECS: Final = {spec.text_width: spec for spec in FAMILIES.values()}
"""Families by the width of their text."""


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


def attention_widths(unet: nn.Module) -> AttentionWidths:
    """Find what widths the attentions of any diffusers UNet read for keys and values."""
    text: set[int] = set()
    image: set[int] = set()
    for attention in attentions(unet):
        (text if attention.reads_text else image).add(attention.width)
    return AttentionWidths(text=max(text, default=None), image=frozenset(image))


def explain_misfit(widths: AttentionWidths, network: Hypernetwork) -> str | None:
    """Tell why a network does not fit a model, or returns None where it does.

    A network misfits when the model reads none of its widths, or when it lacks the model's text
    width but holds that of another family: of a network for Stable Diffusion 1, an SDXL model
    would run the self-attention half only. It misfits too when it holds the model's text width as one
    of self-attention: the text of SDXL's refiner is as wide as the deepest level of other families, and
    theirs as one of its levels. That shows where another family has all of a network's widths and
    neither the model nor its family has. A network that merely holds some of the widths fits.
    """
    held = ", ".join(map(str, sorted(network.widths)))
    read = ", ".join(map(str, sorted(widths.all)))
    if not widths.all & set(network.widths):
        return f"it holds widths {held}, and this model reads {read}"
    spec = _maker(widths, frozenset(network.widths))
    if spec is None:
        return None
    return (
        f"it was made for {spec.title} (text width {spec.text_width}): it holds widths "
        f"{held}, and this model reads text of width {widths.text}"
    )


def _maker(widths: AttentionWidths, held: frozenset[int]) -> FamilySpec | None:
    """Return the other family that a network of these widths was made for, or None where it may fit."""
    if widths.text is None or held <= widths.all or _fits_family(held, _SPECS.get(widths.text)):
        return None
    others = [spec for text, spec in _SPECS.items() if text != widths.text]
    if widths.text not in held:
        others = [spec for spec in others if spec.text_width in held]
    whole = next((spec for spec in others if _fits_family(held, spec)), None)
    if whole is not None or widths.text in held:
        return whole
    return next((spec for spec in others if spec.text_width not in widths.image), None)


def _fits_family(held: frozenset[int], spec: FamilySpec | None) -> bool:
    return spec is not None and held <= spec.image_widths | {spec.text_width}


def require_fit(widths: AttentionWidths, network: Hypernetwork, *, name: str | None = None) -> None:
    """Refuse a network that does not fit, by the rule of :func:`explain_misfit`.

    Args:
        widths: What the model reads.
        network: The network.
        name: What the user calls it; by default the name written inside its file.

    Raises:
        IncompatibleNetworkError: With the widths found and needed.
    """
    reason = explain_misfit(widths, network)
    if reason is not None:
        raise IncompatibleNetworkError(
            f"hypernetwork {(name or network.name)!r} does not fit: {reason}",
            found=sorted(network.widths),
            needed=sorted(widths.all),
        )


class Attention(NamedTuple):
    """What matters of an attention module.

    Attributes:
        projections: Its projections by what they make: ``key``, ``value`` and ``query``.
        width: Of what key and value read.
        reads_text: Whether that is text.
        block: The block it lies in, as :data:`promptengine.kinds.blocks.BLOCKS` names it; None for what
            lies in none.
    """

    projections: dict[str, nn.Module]
    width: int
    reads_text: bool
    block: str | None


def attentions(unet: nn.Module) -> Iterator[Attention]:
    """Yield every attention of a UNet that has a key and a value projection."""
    blocks = UNetBlocks(path for path, _ in unet.named_modules())
    for path, module in unet.named_modules():
        projections = {
            part: projection
            for part, name in _PROJECTIONS.items()
            if isinstance(projection := getattr(module, name, None), nn.Module)
        }
        if projections.keys() >= {"key", "value"}:
            width = cast("int", projections["key"].in_features)
            reads_text = bool(getattr(module, "is_cross_attention", False))
            yield Attention(projections, width, reads_text, blocks.of(path))


def refuse_fused(unet: nn.Module) -> None:
    """Refuse a UNet whose attentions compute key, value and query at once, past their projections.

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
