"""Changes that turn the rows of a weight: OFT and BOFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from promptengine.networks.lora.algorithms.algorithm import LoraAlgorithm, Tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["BOFT", "OFT"]

_TINY: Final = 1e-8


def _oft(tensors: Tensors, weight: Tensor, _ranks: int | None) -> Tensor:
    name = "oft_blocks" if "oft_blocks" in tensors else "oft_diag"
    blocks = tensors[name]
    if blocks.ndim != 3 or blocks.shape[1] != blocks.shape[2]:
        raise ValueError(f"its {name} are {list(blocks.shape)}; they must be square matrices")
    _require_rows(name, blocks, weight)
    turns = blocks if name == "oft_diag" else _rotations(tensors, len(weight), weight.device)
    turned = turns.mT @ weight.reshape(*blocks.shape[:2], -1)
    return _rescaled(tensors, turned.reshape(weight.shape)) - weight


def _boft(tensors: Tensors, weight: Tensor, _ranks: int | None) -> Tensor:
    blocks = tensors["oft_blocks"]
    stages, _, size, width = blocks.shape
    if size != width or size % 2 or not stages:
        raise ValueError(
            f"its oft_blocks are {list(blocks.shape)}; they must be stages of square matrices of even size"
        )
    _require_rows("oft_blocks", blocks[0], weight)
    rows = weight.reshape(len(weight), -1)
    for stage, turns in enumerate(_rotations(tensors, len(weight), weight.device)):
        stride = 2**stage * (size // 2)
        if len(weight) % (2 * stride):
            raise ValueError(
                f"its {stages} stages of oft_blocks are too many for {len(weight)} rows"
            )
        # A block of this stage takes rows that lie a stride apart.
        apart = rows.reshape(-1, 2, stride, rows.shape[1]).transpose(1, 2)
        turned = turns @ apart.reshape(-1, size, rows.shape[1])
        rows = turned.reshape(apart.shape).transpose(1, 2).reshape(rows.shape)
    return _rescaled(tensors, rows.reshape(weight.shape)) - weight


def _require_rows(name: str, blocks: Tensor, weight: Tensor) -> None:
    count, size = blocks.shape[:2]
    if count * size != len(weight):
        raise ValueError(
            f"its {name} turn {count} times {size} rows, and the model's weight has {len(weight)}"
        )


def _rotations(tensors: Tensors, rows: int, device: torch.device) -> Tensor:
    """Make rotations ``[..., n, n]`` of ``oft_blocks`` by Cayley's transform ``(I + Q) (I - Q)^-1``.

    ``alpha``, where it is not 0, bounds the length of all Q together: to itself times the rows.
    """
    import torch

    blocks = tensors["oft_blocks"].to(device)
    # WebUI makes Q in the file's precision where that is half, and all else of it in full precision.
    half = blocks.dtype in (torch.float16, torch.bfloat16)
    precision = blocks.dtype if half else torch.float32
    blocks = blocks.float()
    skew = (blocks - blocks.mT).to(precision).float()
    alpha = tensors.get("alpha")
    if alpha is not None:
        alpha = alpha.reshape(())
        length = torch.linalg.vector_norm(skew)
        bounded = (torch.minimum(length, alpha * rows) + _TINY) / (length + _TINY)
        bounded = torch.where(alpha == 0, torch.ones_like(bounded), bounded)
        skew = (skew * bounded).to(precision).float()
    unit = torch.eye(blocks.shape[-1], device=device)
    return torch.linalg.solve(unit - skew, unit + skew, left=False)


def _rescaled(tensors: Tensors, weight: Tensor) -> Tensor:
    factors = tensors.get("rescale")
    if factors is None:
        return weight
    if factors.numel() != len(weight) or len(factors) != len(weight):
        raise ValueError(
            f"its rescale is {list(factors.shape)}; it must be one number for each of {len(weight)} rows"
        )
    return weight * factors.reshape(-1, *[1] * (weight.ndim - 1))


BOFT: Final = LoraAlgorithm(
    name="BOFT",
    required=(frozenset({"oft_blocks"}),),
    axes={"oft_blocks": 4},
    optional=frozenset({"rescale"}),
    delta=_boft,
    reads_weight=True,
    scaled=False,
    as_stored=frozenset({"oft_blocks"}),
)
"""``R_m ... R_1 W - W``, each R made of rotations of rows that lie ever farther apart, ``oft_blocks``
``[stages, blocks, size, size]``, and the whole times ``rescale`` by row (arXiv:2311.06243)."""

OFT: Final = LoraAlgorithm(
    name="OFT",
    required=(frozenset({"oft_blocks"}), frozenset({"oft_diag"})),
    optional=frozenset({"rescale"}),
    delta=_oft,
    reads_weight=True,
    scaled=False,
    as_stored=frozenset({"oft_blocks"}),
)
"""``R^T W - W`` with R rotations of blocks of rows, ``oft_blocks`` ``[blocks, size, size]``, and the whole times
``rescale`` by row (arXiv:2306.07280). Kohya's scripts and LyCORIS write what Cayley's transform makes rotations
of; old LyCORIS wrote the rotations themselves, ``oft_diag``."""
