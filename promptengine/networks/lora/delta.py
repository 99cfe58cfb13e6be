"""From a module's tensors to the change of a weight: what all algorithms have in common.

``W`` is the present weight, ``D`` what the algorithm's formula makes of the tensors. Everything is computed in
float32, whatever the file's dtype, save where an algorithm says else:

1. **bias**, a tensor with as many numbers as ``D``, is added to it.
2. **scale** multiplies the sum, and the result takes the weight's shape: the change at multiplier 1.
3. **DoRA** (arXiv:2402.09353), where the file has magnitudes ``m``: with ``V = W + change`` and ``|V|`` the
   lengths along an axis, the new weight is ``m * V / |V|``, and the change is what that differs from W.

The caller multiplies the change, so a multiplier walks from W to the new weight in a straight line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from promptengine.networks.lora.algorithms.algorithm import MAGNITUDES, LoraAlgorithm

__all__ = ["LoraModule", "bias_delta", "factors", "fault", "inputs", "weight_delta"]

_INPAINTING_CHANNELS: Final = 9  # latents, the masked image's latents and the mask


@dataclass(frozen=True, slots=True, eq=False)
class LoraModule:
    """What a file says of one module.

    Attributes:
        algorithm: Which formula; None for tensors that no formula is known for.
        tensors: By kohya's and LyCORIS' names, such as ``lora_down.weight``.
        scale: What the change is multiplied with beside the prompt's multiplier.
    """

    algorithm: LoraAlgorithm | None
    tensors: Mapping[str, Tensor]
    scale: float

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of its tensors."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    @property
    def rank(self) -> int | None:
        """Rows of the inner factor; None where the algorithm has no factors."""
        return self.algorithm.rank(self.shapes) if self.algorithm else None

    @property
    def reads_weight(self) -> bool:
        """Whether its change depends on the present weight."""
        decomposes = any(name in self.tensors for name in MAGNITUDES)
        return decomposes or (self.algorithm is not None and self.algorithm.reads_weight)


def weight_delta(module: LoraModule, weight: Tensor, *, ranks: int | None = None) -> Tensor | None:
    """Compute the change of a weight at multiplier 1.

    On the meta device this costs nothing and tells whether a module fits.

    Args:
        module: Its tensors may be anywhere; they are taken to the weight's device.
        weight: The present weight; its numbers count for IA3, GLoRA, OFT, BOFT, and DoRA.
        ranks: Use only that many of the first ranks. Of a LoRA without a middle only, as in WebUI,
            and its scale stays that of the full rank.

    Returns:
        Float32, shaped like ``weight``, or None where only the bias changes.

    Raises:
        ValueError: The tensors make no change of this shape, or of no known kind.
        RuntimeError, IndexError: From torch, where they do not fit each other.
    """
    delta = _unshaped(module, weight, ranks=ranks)
    if delta is None:
        return None
    change = _shaped(delta, weight) * module.scale
    magnitudes = _magnitudes(module.tensors, weight)
    return change if magnitudes is None else _decomposed(change, weight, magnitudes)


def _unshaped(module: LoraModule, weight: Tensor, *, ranks: int | None = None) -> Tensor | None:
    """Compute the change of a weight with its bias but without scale, in the shape that the tensors give it.

    Raises:
        ValueError: The tensors make no known kind of change.
        RuntimeError, IndexError: From torch, where they do not fit each other.
    """
    if module.algorithm is None:
        raise ValueError("its tensors make no known kind of change")
    tensors = {
        name: tensor
        if name in module.algorithm.as_stored
        else tensor.to(weight.device, torch.float32)
        for name, tensor in module.tensors.items()
    }
    delta = module.algorithm.delta(tensors, weight, ranks)
    bias = tensors.get("bias")
    if bias is None or delta is None:
        return delta
    if bias.numel() != delta.numel():
        raise ValueError(f"its bias is {list(bias.shape)}, and the change is {list(delta.shape)}")
    return delta + bias.reshape(delta.shape)


def factors(
    module: LoraModule, weight: Tensor, *, ranks: int | None = None
) -> tuple[Tensor, Tensor] | None:
    """Return two matrices whose product is the change of a weight at multiplier 1.

    Args:
        module: It fits the weight.
        weight: The weight; its numbers play no part.
        ranks: As for :func:`weight_delta`.

    Returns:
        ``up`` ``[out, rank]``, which has the scale, and ``down`` ``[rank, in, ...]``, shaped like the weight
        but for its outputs; both float32 on its device. None where there are none of small rank.
    """
    algorithm = module.algorithm
    if algorithm is None or module.reads_weight or "bias" in module.tensors:
        return None
    tensors = {n: t.to(weight.device, torch.float32) for n, t in module.tensors.items()}
    found = algorithm.factors(tensors, ranks)
    if found is None:
        return None
    up, down = found
    size = weight[0].numel()
    if up.shape[0] != len(weight) or down.numel() != len(down) * size:
        return None
    return up * module.scale, down.reshape(len(down), *weight.shape[1:])


def bias_delta(module: LoraModule, size: int) -> Tensor | None:
    """Return the change of a bias at multiplier 1, ``[size]``; it has no scale. None without one.

    Raises:
        ValueError: It has another size.
    """
    name = "" if module.algorithm is None else module.algorithm.bias
    delta = module.tensors.get(name)
    if delta is None:
        return None
    if delta.numel() != size:
        raise ValueError(f"its {name} is {list(delta.shape)}, and the model's bias is [{size}]")
    return delta.to(torch.float32).flatten()


def fault(module: LoraModule, weight: Tensor) -> str | None:
    """Tell why a module does not fit a weight, in words that follow its name, or None where it fits.

    Args:
        module: No numbers are computed with, but switches are read.
        weight: Of any device; its numbers play no part.
    """
    without_numbers, weight = _without_numbers(module), weight.to("meta")
    try:
        weight_delta(without_numbers, weight)
        bias_delta(without_numbers, len(weight))
    except ValueError as failure:
        return str(failure)
    except (RuntimeError, IndexError):
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in module.shapes.items())
        return f"its tensors fit neither each other nor the weight {list(weight.shape)}: {shapes}"
    return None


def inputs(module: LoraModule, weight: Tensor) -> int | None:
    """Return how many inputs a module's change is for, whether it fits a weight or not; None where its
    tensors do not show it.
    """
    try:
        delta = _unshaped(_without_numbers(module), weight.to("meta"))
    except (ValueError, RuntimeError, IndexError):
        return None
    return None if delta is None or delta.ndim < 2 else delta.shape[1]


def _without_numbers(module: LoraModule) -> LoraModule:
    """Return a module of shapes without numbers, but for switches."""
    tensors = {n: t if t.dtype == torch.bool else t.to("meta") for n, t in module.tensors.items()}
    return LoraModule(module.algorithm, tensors, module.scale)


def _shaped(delta: Tensor, weight: Tensor) -> Tensor:
    """Bring a change to the weight's shape: 1x1 convolutions and linear layers stand for each other."""
    if weight.ndim == 4 and delta.ndim == 4:
        missing = weight.shape[1] - delta.shape[1]
        if missing > 0 and weight.shape[1] == _INPAINTING_CHANNELS:
            # An inpainting model's first layer reads more; those columns stay as they are.
            delta = torch.nn.functional.pad(delta, (0, 0, 0, 0, 0, missing))
    if delta.shape[:1] != weight.shape[:1] or delta.numel() != weight.numel():
        raise ValueError(f"it is {list(delta.shape)}, and the model's is {list(weight.shape)}")
    return delta.reshape(weight.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Magnitudes:
    """The lengths that DoRA gives a weight.

    Attributes:
        lengths: One number for each index of an axis, shaped to multiply the weight.
        axis: That axis: 0 for outputs, 1 for inputs.
    """

    lengths: Tensor
    axis: int


def _magnitudes(tensors: Mapping[str, Tensor], weight: Tensor) -> _Magnitudes | None:
    """Read DoRA's lengths, or None where there are none.

    ``dora_scale`` has one number for each input, ``[1, in, ...]``, or for each output, ``[out, 1, ...]``, as
    newer trainers write it; ``lora_magnitude_vector`` of peft always has the latter.
    """
    name = next((name for name in MAGNITUDES if name in tensors), None)
    if name is None:
        return None
    given = tensors[name]
    if weight.ndim < 2:
        raise ValueError(
            f"its {name} is for matrices, and the model's weight is {list(weight.shape)}"
        )
    out, into = weight.shape[:2]
    of_inputs = name == "dora_scale" and given.shape[:2] in ((1, into), (into,))
    of_outputs = name != "dora_scale" or given.shape[:1] == (out,)
    if given.numel() != (into if of_inputs else out) or not (of_inputs or of_outputs):
        raise ValueError(
            f"its {name} is {list(given.shape)}; it must be one number for each of {into} inputs or of "
            f"{out} outputs"
        )
    axis = 1 if of_inputs else 0
    shape = [1] * weight.ndim
    shape[axis] = weight.shape[axis]
    return _Magnitudes(given.to(weight.device, torch.float32).reshape(shape), axis)


def _decomposed(change: Tensor, weight: Tensor, magnitudes: _Magnitudes) -> Tensor:
    changed = weight + change
    others = [axis for axis in range(weight.ndim) if axis != magnitudes.axis]
    lengths = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
    # What has no length has no direction either, and stays nothing.
    directions = changed / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return directions * magnitudes.lengths - weight
