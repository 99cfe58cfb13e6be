"""Images continued beyond their edges, for networks that need sides of certain lengths."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

__all__ = ["pad_to_multiple"]


def pad_to_multiple(x: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Continue images at the right and at the bottom until both sides fit.

    Args:
        x: ``[images, channels, height, width]``.
        multiple: What the sides must be a multiple of, in pixels.
        least: How long they must be.

    Returns:
        The images mirrored at their edges, and where that is not far enough the last line repeated.
    """
    for axis in (2, 3):
        there = x.shape[axis]
        missing = -max(there, least) % multiple + max(there, least) - there
        mirrored = min(missing, there - 1)
        for length, mode in ((mirrored, "reflect"), (missing - mirrored, "replicate")):
            if length:
                x = pad(x, (0, length, 0, 0) if axis == 3 else (0, 0, 0, length), mode=mode)
    return x
