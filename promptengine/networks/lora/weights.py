"""What weights become under LoRAs, kept for the next time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn

from promptengine.files.lru import SizedLRU
from promptengine.networks.lora.delta import bias_delta, weight_delta
from promptengine.networks.lora.merge import (
    Application,
    Change,
    ChangedWeights,
    Part,
    Slot,
    merge,
    merge_module,
)

__all__ = ["LoraWeights"]

_KEPT_BYTES: Final = 4 << 30  # a Stable Diffusion 1 model in float32 takes 3.7 of these GiB


class LoraWeights:
    """Works out what LoRAs make of the weights of one model, each once while there is room.

    Args:
        room: Bytes that all of it may take together; what was longest unused goes first.
        home: Where it is kept; by default where it was worked out.
    """

    def __init__(self, room: int = _KEPT_BYTES, *, home: torch.device | None = None) -> None:
        self._home = home
        self._kept: SizedLRU[Hashable, ChangedWeights] = SizedLRU(room, _nbytes)

    def merged(self, uses: Sequence[Application], part: Part) -> ChangedWeights:
        """Return what the weights of a part of the model become; see :func:`merge`."""
        return self._kept.get((part, *uses), lambda: self._at_home(merge(uses, [part])))

    def of_module(self, module: nn.Module, changes: Sequence[Change]) -> ChangedWeights:
        """Return what the weights of a module become under some changes.

        Where no change depends on what another one leaves of the weight, each is worked out once, whatever
        its multiplier, so that one that moves costs an addition.
        """
        if any(change.module.reads_weight for change in changes[1:]):
            key = module, *changes
            return self._kept.get(key, lambda: self._at_home(merge_module(module, changes)))
        sums: dict[Slot, Tensor] = {}
        weight = cast("Tensor", module.weight)
        with torch.no_grad():
            for change in changes:
                for slot, delta in self._whole(module, change).items():
                    before = sums.get(slot)
                    if before is None:
                        before = cast("Tensor | None", getattr(module, slot.name))
                    step = delta.to(weight.device) * change.multiplier
                    sums[slot] = step if before is None else step.add_(before)
        return {slot: tensor.to(weight.dtype) for slot, tensor in sums.items()}

    def _whole(self, module: nn.Module, change: Change) -> ChangedWeights:
        """Return a change at multiplier 1, float32."""

        def make() -> ChangedWeights:
            weight = cast("Tensor", module.weight).detach().float()
            found = {
                Slot(module, "weight"): weight_delta(change.module, weight, ranks=change.ranks),
                Slot(module, "bias"): bias_delta(change.module, len(weight)),
            }
            known = {slot: delta for slot, delta in found.items() if delta is not None}
            return self._at_home({slot: d.to(weight.device) for slot, d in known.items()})

        return self._kept.get((module, change.module, change.ranks), make)

    def _at_home(self, weights: ChangedWeights) -> ChangedWeights:
        if self._home is None:
            return weights
        return {slot: tensor.to(self._home) for slot, tensor in weights.items()}


def _nbytes(weights: ChangedWeights) -> int:
    return sum(tensor.nbytes for tensor in weights.values())
