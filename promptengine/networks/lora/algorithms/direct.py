"""Changes that a file holds as they are, or as factors of the present weight: IA3, full, and norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from promptengine.networks.lora.algorithms.algorithm import LoraAlgorithm, Tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FULL", "IA3", "NORM"]


def _ia3(tensors: Tensors, weight: Tensor, _ranks: int | None) -> Tensor:
    factors = tensors["weight"].flatten()
    dimension = 1 if bool(tensors["on_input"].item()) else 0
    shape = [1] * weight.ndim
    shape[dimension] = weight.shape[dimension]
    return weight * factors.reshape(shape)


IA3: Final = LoraAlgorithm(
    name="IA3",
    required=(frozenset({"weight", "on_input"}),),
    delta=_ia3,
    reads_weight=True,
    as_stored=frozenset({"on_input"}),
)
"""``W * weight``, by row or, where ``on_input`` is set, by column (arXiv:2205.05638)."""


def _full(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor | None:
    return tensors.get("diff")


FULL: Final = LoraAlgorithm(
    name="full", required=(frozenset({"diff"}), frozenset({"diff_b"})), delta=_full
)
"""``diff``, the whole difference of the weight; also that of the bias alone."""


def _norm(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    return tensors["w_norm"]


NORM: Final = LoraAlgorithm(
    name="norm", required=(frozenset({"w_norm"}),), delta=_norm, bias="b_norm"
)
"""``w_norm``, the whole difference of a norm layer's weight."""
