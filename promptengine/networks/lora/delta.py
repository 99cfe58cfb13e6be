"""From a module's tensors to the change of a weight: one formula for each kind.

Everything is computed in float32, whatever the file's dtype. ``W`` is the weight before, ``r`` the rank.

====== ==========================================================================================
kind   change of W, before scale and multiplier
====== ==========================================================================================
LoRA   ``up @ down``; with a middle ``up[i,n] mid[n,m,k,l] down[m,j]``
LoHa   ``(w1_a @ w1_b) * (w2_a @ w2_b)``; with cores each factor is ``t[a,b,k,l] w_b[b,j] w_a[a,i]``
LoKr   ``kron(w1, w2)``, each given whole or as a product
IA3    ``W * weight``, by row or, where ``on_input`` is set, by column
full   ``diff``
norm   ``w_norm``
====== ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from promptengine.networks.lora.types import ModuleKind, module_rank

__all__ = ["LoraModule", "bias_delta", "unshaped_delta", "weight_delta"]

_SWITCH: Final = "on_input"
_MOST_BETWEEN: Final = 1 << 28  # numbers on the way to a product, lest a small file fill memory
_INPAINTING_CHANNELS: Final = 9  # latents, the masked image's latents and the mask


@dataclass(frozen=True, slots=True, eq=False)
class LoraModule:
    """What a file says of one module.

    Attributes:
        kind: Which formula; None for tensors that no formula is known for.
        tensors: By kohya's and LyCORIS' names, such as ``lora_down.weight``.
        scale: What the change is multiplied with beside the prompt's multiplier.
    """

    kind: ModuleKind | None
    tensors: Mapping[str, Tensor]
    scale: float

    @property
    def rank(self) -> int | None:
        """Rows of the inner factor; None where the kind has no factors."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        return module_rank(self.kind, shapes) if self.kind else None


def weight_delta(module: LoraModule, weight: Tensor, *, ranks: int | None = None) -> Tensor | None:
    """Compute the change of a weight at multiplier 1.

    On the meta device this costs nothing and tells whether a module fits.

    Args:
        module: Its tensors may be anywhere; they are taken to the weight's device.
        weight: The present weight; only IA3 reads its numbers.
        ranks: Use only that many of the first ranks. Of a LoRA without a middle only, as in WebUI,
            and its scale stays that of the full rank.

    Returns:
        Float32, shaped like ``weight``, or None where only the bias changes.

    Raises:
        ValueError: The tensors make no change of this shape, or of no known kind.
        RuntimeError, IndexError: From torch, where they do not fit each other.
    """
    delta = unshaped_delta(module, weight, ranks=ranks)
    return None if delta is None else _shaped(delta, weight) * module.scale


def unshaped_delta(
    module: LoraModule, weight: Tensor, *, ranks: int | None = None
) -> Tensor | None:
    """Compute the change of a weight without scale, in the shape that the tensors give it.

    Raises:
        ValueError: The tensors make no known kind of change.
        RuntimeError, IndexError: From torch, where they do not fit each other.
    """
    formula = _FORMULAS.get(module.kind)
    if formula is None:
        raise ValueError("its tensors make no known kind of change")
    tensors = {
        # A switch is read, not computed with.
        name: tensor if name == _SWITCH else tensor.to(weight.device, torch.float32)
        for name, tensor in module.tensors.items()
    }
    return formula(tensors, weight, ranks)


def bias_delta(module: LoraModule, size: int) -> Tensor | None:
    """Return the change of a bias at multiplier 1, ``[size]``; it has no scale. None without one.

    Raises:
        ValueError: It has another size.
    """
    delta = module.tensors.get("b_norm" if module.kind == "norm" else "diff_b")
    if delta is None:
        return None
    if delta.numel() != size:
        raise ValueError(f"its change of the bias has {delta.numel()} numbers, not {size}")
    return delta.to(torch.float32).flatten()


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


Tensors = Mapping[str, Tensor]


def _lora(tensors: Tensors, _weight: Tensor, ranks: int | None) -> Tensor:
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    middle = tensors.get("lora_mid.weight")
    if middle is not None:
        return _rebuilt(middle, up.flatten(1).T, down.flatten(1))
    product = up.flatten(1)[:, :ranks] @ down.flatten(1)[:ranks]
    return product.reshape(len(up), *down.shape[1:])


def _rebuilt(core: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """Put a core ``[a, b, k, l]`` between ``[a, out]`` and ``[b, in]``: ``[out, in, k, l]``."""
    if core.numel() // max(len(core), 1) * outer.shape[1] > _MOST_BETWEEN:
        raise ValueError("its ranks are beyond reason")
    return torch.einsum("abkl,ai,bj->ijkl", core, outer, inner)


def _loha(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    first, second = (
        _rebuilt(tensors[f"hada_t{n}"], tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"])
        if f"hada_t{n}" in tensors
        else tensors[f"hada_w{n}_a"] @ tensors[f"hada_w{n}_b"]
        for n in (1, 2)
    )
    return first * second


def _lokr(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    first, second = _lokr_factor(tensors, 1), _lokr_factor(tensors, 2)
    # torch.kron refuses some strides that a rebuilt factor has.
    a, b = first.shape
    c, d, *kernel = second.shape
    blocks = first[:, None, :, None, None] * second.reshape(1, c, 1, d, -1)
    return blocks.reshape(a * c, b * d, *kernel)


def _lokr_factor(tensors: Tensors, number: int) -> Tensor:
    whole = tensors.get(f"lokr_w{number}")
    if whole is not None:
        return whole
    a, b = tensors[f"lokr_w{number}_a"], tensors[f"lokr_w{number}_b"]
    core = tensors.get(f"lokr_t{number}")
    if core is not None:
        return _rebuilt(core, a, b)
    return (a @ b.flatten(1)).reshape(len(a), *b.shape[1:])


def _ia3(tensors: Tensors, weight: Tensor, _ranks: int | None) -> Tensor:
    factors = tensors["weight"].flatten()
    dimension = 1 if bool(tensors[_SWITCH].item()) else 0
    shape = [1] * weight.ndim
    shape[dimension] = weight.shape[dimension]
    return weight * factors.reshape(shape)


def _full(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor | None:
    return tensors.get("diff")


def _norm(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    return tensors["w_norm"]


_FORMULAS: Final[
    Mapping[ModuleKind | None, Callable[[Tensors, Tensor, int | None], Tensor | None]]
] = {
    "LoRA": _lora,
    "LoHa": _loha,
    "LoKr": _lokr,
    "IA3": _ia3,
    "full": _full,
    "norm": _norm,
}
