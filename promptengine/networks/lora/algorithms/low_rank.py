"""Changes as products of small factors: LoRA, LoHa, and LoKr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from promptengine.networks.lora.algorithms.algorithm import LoraAlgorithm, Shapes, Tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOHA", "LOKR", "LORA"]

_MOST_RANKS: Final = 64
"""Above it a product of two products has no advantage over its own matrix."""

_MOST_BETWEEN: Final = (
    1 << 28
)  # numbers on the way to a product, so that no small file fills memory


def _rows(shapes: Shapes, name: str) -> int | None:
    shape = shapes.get(name)
    return shape[0] if shape else None


def _lora(tensors: Tensors, _weight: Tensor, ranks: int | None) -> Tensor:
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    middle = tensors.get("lora_mid.weight")
    if middle is not None:
        return _rebuilt(middle, up.flatten(1).T, down.flatten(1))
    product = up.flatten(1)[:, :ranks] @ down.flatten(1)[:ranks]
    return product.reshape(len(up), *down.shape[1:])


def _lora_factors(tensors: Tensors, ranks: int | None) -> tuple[Tensor, Tensor]:
    import torch

    up, down = tensors["lora_up.weight"].flatten(1), tensors["lora_down.weight"]
    middle = tensors.get("lora_mid.weight")
    if middle is None:
        return up[:, :ranks], down[:ranks]
    return up, torch.einsum("nmkl,mj->njkl", middle, down.flatten(1))


def _rebuilt(core: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """Put a core ``[a, b, k, l]`` between ``[a, out]`` and ``[b, in]``: ``[out, in, k, l]``."""
    import torch

    if core.numel() // max(len(core), 1) * outer.shape[1] > _MOST_BETWEEN:
        raise ValueError("its ranks are beyond reason")
    return torch.einsum("abkl,ai,bj->ijkl", core, outer, inner)


LORA: Final = LoraAlgorithm(
    name="LoRA",
    required=(frozenset({"lora_up.weight", "lora_down.weight"}),),
    optional=frozenset({"lora_mid.weight"}),
    delta=_lora,
    factors=_lora_factors,
    rank=lambda shapes: _rows(shapes, "lora_down.weight"),
)
"""``up @ down``; with a middle ``up[i,n] mid[n,m,k,l] down[m,j]``. LoRA and LoCon (arXiv:2106.09685). A cut of
the ranks holds for it alone, without a middle, and leaves the scale as it is, as in WebUI."""


def _loha(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    first, second = (
        _rebuilt(tensors[f"hada_t{n}"], tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"])
        if f"hada_t{n}" in tensors
        else tensors[f"hada_w{n}_a"] @ tensors[f"hada_w{n}_b"]
        for n in (1, 2)
    )
    return first * second


def _loha_factors(tensors: Tensors, _ranks: int | None) -> tuple[Tensor, Tensor] | None:
    """Return the row-wise products of both factors' columns, and likewise of their rows."""
    parts = [tensors[f"hada_w{n}_{side}"] for side in "ab" for n in (1, 2)]
    ups, downs = parts[:2], parts[2:]
    rank = len(downs[0]) * len(downs[1])
    if rank > _MOST_RANKS or {"hada_t1", "hada_t2"} & set(tensors):
        return None
    up = ups[0][:, :, None] * ups[1][:, None, :]
    down = downs[0][:, None, :] * downs[1][None, :, :]
    return up.flatten(1), down.flatten(0, 1)


LOHA: Final = LoraAlgorithm(
    name="LoHa",
    required=(frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),),
    optional=frozenset({"hada_t1", "hada_t2"}),
    delta=_loha,
    factors=_loha_factors,
    rank=lambda shapes: _rows(shapes, "hada_w1_b"),
)
"""``(w1_a @ w1_b) * (w2_a @ w2_b)``; with cores each factor is ``t[a,b,k,l] w_b[b,j] w_a[a,i]``
(arXiv:2108.06098)."""


def _lokr(tensors: Tensors, _weight: Tensor, _ranks: int | None) -> Tensor:
    first, second = _lokr_factor(tensors, 1), _lokr_factor(tensors, 2)
    if first.ndim != 2 or second.ndim < 2:
        raise ValueError(
            f"its factors are {list(first.shape)} and {list(second.shape)}; they must be a matrix and a "
            "matrix or convolution"
        )
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


def _lokr_rank(shapes: Shapes) -> int | None:
    products = (f"lokr_w{number}" for number in (2, 1) if f"lokr_w{number}" not in shapes)
    ranks = (_rows(shapes, f"{product}_b") for product in products)
    return next((rank for rank in ranks if rank is not None), None)


_LOKR_FORMS: Final = tuple(
    frozenset({*first, *second})
    for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
    for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
)

LOKR: Final = LoraAlgorithm(
    name="LoKr",
    required=_LOKR_FORMS,
    optional=frozenset({"lokr_t2"}),
    delta=_lokr,
    rank=_lokr_rank,
)
"""``kron(w1, w2)``, each given whole or as a product; the second also with a core (arXiv:2212.10650). The rank
is that of the second where it is a product, else of the first; whole factors have none, and scale 1."""
