"""How changes of weights are written as a LoRA. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from promptengine.conversion.fit import SiteChange

__all__ = ["LORA_LAYOUTS", "LoraLayout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraLayout:
    """How the changes are written.

    Attributes:
        name: As users write it.
        help: Who reads it.
        constants: Whether it has room for constants, which biases of a hypernetwork come to.
        ranked: Whether a rank can be asked for.
        tensors: Takes a change, and returns its tensors by what they are called behind the module's name.
    """

    name: str
    help: str
    constants: bool
    ranked: bool
    tensors: Callable[[SiteChange], dict[str, Tensor]]


def _low_rank(change: SiteChange) -> dict[str, Tensor]:
    # Without an alpha the scale is 1 everywhere; diffusers loses those of projections whose rank is their own.
    return {"lora_up.weight": change.up.contiguous(), "lora_down.weight": change.down.contiguous()}


def _differences(change: SiteChange) -> dict[str, Tensor]:
    tensors = {"diff": change.whole.contiguous()}
    return tensors if change.constant is None else tensors | {"diff_b": change.constant}


LORA_LAYOUTS: Final[Mapping[str, LoraLayout]] = {
    layout.name: layout
    for layout in (
        LoraLayout(
            name="lora",
            help="factors, which every program reads",
            constants=False,
            ranked=True,
            tensors=_low_rank,
        ),
        LoraLayout(
            name="lora-diff",
            help="whole differences with biases, for WebUI and this program",
            constants=True,
            ranked=False,
            tensors=_differences,
        ),
    )
}
"""All layouts by name."""
