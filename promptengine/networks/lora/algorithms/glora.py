"""GLoRA: a change of the weight's own making beside a plain one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from promptengine.networks.lora.algorithms.algorithm import LoraAlgorithm, Shapes, Tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GLORA"]


def _glora(tensors: Tensors, weight: Tensor, _ranks: int | None) -> Tensor:
    a1, a2, b1, b2 = (tensors[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if weight.ndim < 2:
        raise ValueError(
            f"it is for matrices and convolutions, and the weight is {list(weight.shape)}"
        )
    out, into = weight.shape[:2]
    columns = weight[0].numel()
    ends = (a1.shape[1], a2.shape[0], b1.shape[1], b2.shape[0])
    if ends == (into, into, columns, out):
        return _change(weight, (a2, a1), (b2, b1))
    ends = (a2.shape[1], a1.shape[0], b2.shape[1], b1.shape[0])
    if ends == (into, into, columns, out):
        return _change(weight, (a1, a2), (b1, b2)) * (tensors["alpha"].reshape(()) / len(b2))
    shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in sorted(_NAMES))
    raise ValueError(f"its {shapes} fit no weight {list(weight.shape)}")


def _change(
    weight: Tensor, on_weight: tuple[Tensor, Tensor], plain: tuple[Tensor, Tensor]
) -> Tensor:
    """``plain + W @ on_weight``; the latter maps a convolution's inputs place by place."""
    rows = weight.movedim(1, -1)
    changed = (rows @ on_weight[0] @ on_weight[1]).movedim(-1, 1)
    return (plain[0] @ plain[1]).reshape(weight.shape) + changed


def _rank(shapes: Shapes) -> int | None:
    return min(shapes["a1.weight"][:2], default=None)


_NAMES: Final = frozenset({"a1.weight", "a2.weight", "b1.weight", "b2.weight"})

GLORA: Final = LoraAlgorithm(
    name="GLoRA",
    required=(_NAMES | {"alpha"},),
    delta=_glora,
    rank=_rank,
    reads_weight=True,
    scaled=False,
)
"""``b2 @ b1 + (W @ a2) @ a1`` with ``a1`` and ``b1`` ``[rank, in]``, ``a2`` ``[in, rank]``, ``b2`` ``[out, rank]``
and a scale of 1, as WebUI has it (arXiv:2306.07967). LyCORIS 3 and later writes each of these transposed,
``b1 @ b2 + (W @ a1) @ a2``, and means it times ``alpha`` divided by the rank."""
