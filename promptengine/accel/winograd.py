"""Convolutions of 3 x 3 by Winograd's minimal filtering: 16 products in place of 36 for each square of 2 x 2.

The method is F(2 x 2, 3 x 3) of "Fast Algorithms for Convolutional Neural Networks" (Lavin and Gray, arXiv:1509.09308).
Sums and differences of what is read, and of the weights beforehand, take the place of products. All are of two
numbers, or halves, so that in float32 the result is no less exact than that of the plain sum; in shorter types
it would be.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["GROWTH", "Workspace", "convolve", "pays", "suits", "transformed"]

GROWTH: Final = 16 / 9
"""How many times as large transformed weights are."""

_LEAST_CHANNELS: Final = 256
"""Of fewer channels, the sums take longer than the products that they save."""

_LEAST_SQUARES: Final = 32
"""For fewer squares, reading the larger weights takes longer than the products that they save."""

_NUMBERS_AT_ONCE: Final = 1 << 19
"""Of what a transform makes for each of its 16 products: more would leave the cache."""


_WEIGHTS_AT_ONCE: Final = 1 << 18
"""More would leave the cache before they are where they belong."""


def suits(layer: nn.Conv2d) -> bool:
    """Return whether a convolution is of the kind that this computes."""
    return (
        layer.weight.dtype is torch.float32
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.padding == layer.dilation == (1, 1)
        and layer.groups == 1
        and min(layer.weight.shape[:2]) >= _LEAST_CHANNELS
    )


def pays(shape: torch.Size) -> bool:
    """Return whether it is quicker than the plain sum for what a convolution reads.

    Args:
        shape: ``[batch, channels, height, width]``; height and width must be even.
    """
    if len(shape) != 4:
        return False
    batch, _, height, width = shape
    return not (height % 2 or width % 2) and batch * height * width >= 4 * _LEAST_SQUARES


def transformed(weight: Tensor) -> Tensor:
    """Return the weights ``[16, in, out]`` of the products, for those of a convolution ``[out, in, 3, 3]``."""
    after, before = weight.shape[:2]
    line = weight.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    # By column and row, in the order in which what is read is transformed.
    square = torch.kron(line, line).view(4, 4, 9).transpose(0, 1).reshape(16, 9)
    cells = weight.reshape(after, before, 9).permute(1, 2, 0)
    made = weight.new_empty(16, before, after)
    at_once = max(1, _WEIGHTS_AT_ONCE // (16 * after))
    for some, out in zip(cells.split(at_once), made.split(at_once, 1), strict=True):
        out.copy_((square @ some).transpose(0, 1))
    return made


class Workspace(threading.local):
    """Memory for what convolutions compute on the way, kept from one to the next.

    Fresh memory costs a third of a convolution: the system clears it page by page. Each thread has its own.
    """

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Return memory for numbers in float32, which is another's no more; what it holds is anything."""
        size = prod(shape)
        held = self._held.get(name)
        if held is None or len(held) < size:
            # What was made in inference mode could not be overwritten outside of it.
            with torch.inference_mode(mode=False):
                held = self._held[name] = torch.empty(size)
        return held[:size].view(shape)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, workspace: Workspace) -> Tensor:
    """Return what a convolution of 3 x 3 that keeps the size answers.

    Args:
        x: ``[batch, in, height, width]``, of even height and width; quickest with channels last.
        weight: As :func:`transformed` makes it.
        bias: ``[out]``.
        workspace: Overwritten.

    Returns:
        ``[batch, out, height, width]`` in memory with channels last.
    """
    batch, before, height, width = x.shape
    lines, columns, after = height // 2, width // 2, weight.shape[-1]
    cells = x.permute(0, 2, 3, 1)
    answer = x.new_empty(batch, lines, 2, columns, 2, after)
    images, at_once = _portions(batch, lines, columns * max(before, after))
    for some, out in zip(cells.split(images), answer.split(images), strict=True):
        for start in range(0, lines, at_once):
            part = out[:, start : start + at_once]
            padded = workspace.take(
                "padded", len(some), 2 * part.shape[1] + 2, width + 2, before
            ).zero_()
            first = max(0, 2 * start - 1)
            rows = some[:, first : 2 * (start + part.shape[1]) + 1]
            offset = first - (2 * start - 1)
            padded[:, offset : offset + rows.shape[1], 1:-1].copy_(rows)
            _convolve_part(padded, weight, bias, part, workspace)
    return answer.view(batch, height, width, after).permute(0, 3, 1, 2)


def _portions(batch: int, lines: int, numbers: int) -> tuple[int, int]:
    """Return how many images, and lines of squares in each, are computed at once.

    Args:
        batch: Images in all.
        lines: Of squares in each.
        numbers: In a line.
    """
    fitting = max(1, _NUMBERS_AT_ONCE // numbers)
    if fitting < lines:
        # Portions of like size: a small last one would cost a reading of all weights too.
        return 1, -(-lines // -(-lines // fitting))
    return min(batch, fitting // lines), lines


def _convolve_part(
    padded: Tensor, weight: Tensor, bias: Tensor | None, answer: Tensor, workspace: Workspace
) -> None:
    """Convolve some lines of squares.

    Args:
        padded: ``[batch, 2 * lines + 2, 2 * columns + 2, in]``.
        weight: ``[16, in, out]``.
        bias: ``[out]``.
        answer: Where the result goes, ``[batch, lines, 2, columns, 2, out]``.
        workspace: Overwritten.
    """
    batch, lines, _, columns, _, after = answer.shape
    before = padded.shape[-1]
    down = workspace.take("down", 4, batch, lines, 2 * columns + 2, before)
    _spread([padded[:, start : start + 2 * lines - 1 : 2] for start in range(4)], down)
    both = workspace.take("both", 4, 4, batch, lines, columns, before)
    _spread([down[:, :, :, start : start + 2 * columns - 1 : 2] for start in range(4)], both)
    products = workspace.take("products", 16, batch * lines * columns, after)
    _multiply(both.view(16, -1, before), weight, products)
    if bias is not None:
        # The only one that goes into all four cells with the sign that it has.
        products[5].add_(bias)
    by_column = products.view(4, 4, batch, lines, columns, after)
    _gather(by_column.unbind(), by_column[0], by_column[1])
    _gather(by_column[:2].unbind(1), *answer.permute(2, 4, 0, 1, 3, 5))


def _multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write 16 matrix products; all arguments are ``[16, ...]``."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        torch.bmm(x, weight, out=out)
        return
    # Torch gives that to MKL, which uses half of these instructions' width on AMD's processors.
    for one, matrix, place in zip(x, weight, out, strict=True):
        place.copy_(torch.ops.mkldnn._linear_pointwise(one, matrix.mT, None, "none", [], ""))


def _spread(cells: Sequence[Tensor], out: Tensor) -> None:
    """Write the four sums that are multiplied, for four neighboring cells."""
    torch.sub(cells[0], cells[2], out=out[0])
    torch.add(cells[1], cells[2], out=out[1])
    torch.sub(cells[2], cells[1], out=out[2])
    torch.sub(cells[1], cells[3], out=out[3])


def _gather(products: Sequence[Tensor], first: Tensor, second: Tensor) -> None:
    """Write what four products come to for two neighboring cells; the first two products are overwritten."""
    torch.add(products[0], products[1], out=products[0])
    torch.add(products[0], products[2], out=first)
    torch.sub(products[1], products[2], out=products[1])
    torch.sub(products[1], products[3], out=second)
