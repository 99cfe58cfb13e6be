"""Masks of regions at the resolution of each layer of a UNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from promptengine.request.regions import Region, RegionBox

__all__ = ["BoxMasks", "ImageMasks"]

_LARGEST: Final = 2048
"""Pixels of a mask's side; latents have an eighth of as many as an image."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxMasks:
    """The shares of regions that divide an image, a base text before them where there is one.

    Attributes:
        boxes: Where the regions are; together they are the image.
        base: How much of each region follows the base text; None where there is none.
    """

    boxes: tuple[RegionBox, ...]
    base: tuple[float, ...] | None

    def __call__(self, height: int, width: int) -> Tensor:
        """Return the shares ``[regions, height, width]``; a cell that an edge crosses is split by area."""
        masks = torch.stack(
            [
                torch.outer(
                    _covered(box.top, box.bottom, height), _covered(box.left, box.right, width)
                )
                for box in self.boxes
            ]
        )
        if self.base is None:
            return masks
        shares = torch.tensor(self.base)[:, None, None]
        return torch.cat([(masks * shares).sum(dim=0, keepdim=True), masks * (1 - shares)])


def _covered(start: float, end: float, cells: int) -> Tensor:
    """Return how much of each cell lies between two places on a line from 0 to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64).clamp(start * cells, end * cells)
    return edges.diff().float()


class ImageMasks:
    """The shares of regions with masks, and before them of the prompt, which holds for the rest.

    Where masks, each times its region's weight, come to more than 1, they share it in proportion.

    Args:
        regions: Whose masks to use; they are resized to any size, proportions ignored.
    """

    def __init__(self, regions: Sequence[Region]) -> None:
        self._masks = [_read(region.mask) * region.weight for region in regions]

    def __call__(self, height: int, width: int) -> Tensor:
        """Return the shares ``[1 + regions, height, width]``."""
        sizes = [functional.interpolate(one, (height, width), mode="area") for one in self._masks]
        masks = torch.cat(sizes)[:, 0]
        whole = masks.sum(dim=0, keepdim=True)
        return torch.cat([1 - whole.clamp(max=1), masks / whole.clamp(min=1)])


def _read(mask: Image.Image) -> Tensor:
    """Return a mask ``[1, 1, height, width]``, 0 to 1."""
    gray = mask.convert("L")
    if max(gray.size) > _LARGEST:
        gray.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(gray, dtype=np.float32) / 255)[None, None]
