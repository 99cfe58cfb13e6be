"""An image through a network, tile by tile, joined to the bit as WebUI joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptengine.accel.memory import free_bytes
from promptengine.errors import OutOfMemoryError, RequestError
from promptengine.super_resolution.files import UpscalerNetwork
from promptengine.super_resolution.tile_grid import TileGrid

__all__ = ["OnTile", "Tiling", "enlarge"]

OnTile = Callable[[int, int], None]
"""Called after each tile with the number of those done and of all; what it raises ends the work."""

_MOST_PIXELS: Final = 1 << 28
"""Of an image on its way; 800 MB in 8 bits."""

_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Tiling:
    """How an image is cut up.

    Attributes:
        size: Pixels of a tile's side; 0 leaves the image whole.
        overlap: Pixels that neighbors share.
        blended: Whether overlapping tiles are averaged as numbers, rather than each rounded to 8 bits and
            laid over its neighbors.
    """

    size: int
    overlap: int
    blended: bool = False


@torch.no_grad()
def enlarge(
    network: UpscalerNetwork, image: Image.Image, tiling: Tiling, on_tile: OnTile
) -> Image.Image:
    """Send an image through a network once.

    Args:
        network: Which.
        image: In any mode; transparency is dropped.
        tiling: How it is cut up.
        on_tile: Called after each tile.

    Returns:
        RGB, ``network.scale`` times as large.

    Raises:
        RequestError: The result would be larger than is allowed.
        OutOfMemoryError: The device has no room for a tile.
        NetworkFormatError: What the network makes is no image.
    """
    image = image.convert("RGB")
    _check_size(network, image, tiling)
    if tiling.size == 0:
        made = _to_image(network.run(_to_tensor(image, network)))
        on_tile(1, 1)
        return made
    return (_averaged if tiling.blended else _laid_over)(network, image, tiling, on_tile)


def _check_size(network: UpscalerNetwork, image: Image.Image, tiling: Tiling) -> None:
    width, height = (side * network.scale for side in image.size)
    if width * height > _MOST_PIXELS:
        message = (
            f"{network.path.name} would make {width}x{height} pixels of {image.width}x{image.height}, "
            f"more than {_MOST_PIXELS} in all; start from a smaller image"
        )
        raise RequestError(message, field="upscaler")
    whole = image.width * image.height
    pixels = min(tiling.size**2, whole) if tiling.blended else tiling.size**2
    needed = network.floats * (pixels if tiling.size else whole) * _FLOAT_BYTES
    needed += 2 * 3 * width * height * _FLOAT_BYTES if tiling.blended else 0
    device = next(network.module.parameters()).device
    free = free_bytes(device)
    if free is not None and needed > free:
        option = "SWIN_tile" if tiling.blended else "ESRGAN_tile"
        message = (
            f"not enough memory on {device} for a tile of {network.path.name}: about {needed >> 20} MiB of "
            f"{free >> 20} MiB; set {option} to a smaller number above 0 (got {tiling.size})"
        )
        raise OutOfMemoryError(message)


def _to_tensor(image: Image.Image, network: UpscalerNetwork) -> Tensor:
    """Return an RGB image as the network gets it ``[1, 3, height, width]``: blue first, 0 to 1."""
    pixels = (np.asarray(image)[:, :, ::-1] / 255).astype(np.float32)
    device = next(network.module.parameters()).device
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().to(device)


def _to_image(pixels: Tensor) -> Image.Image:
    levels = (pixels[0].flip(0).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGB")


def _laid_over(
    network: UpscalerNetwork, image: Image.Image, tiling: Tiling, on_tile: OnTile
) -> Image.Image:
    """Tiles of 8 bits, each fading in over its neighbors to the left and above."""
    grid = TileGrid.covering(image.size, (tiling.size, tiling.size), tiling.overlap)

    def tiles() -> Iterator[Image.Image]:
        for done, box in enumerate(grid.boxes(), 1):
            made = _to_image(network.run(_to_tensor(image.crop(box), network)))
            on_tile(done, len(grid))
            yield made

    return grid.scaled(network.scale).join(tiles())


def _averaged(
    network: UpscalerNetwork, image: Image.Image, tiling: Tiling, on_tile: OnTile
) -> Image.Image:
    """Tiles averaged where they overlap, and rounded to 8 bits once at the end."""
    pixels, scale = _to_tensor(image, network), network.scale
    size = min(tiling.size, *image.size)
    columns, rows = (list(_spread(length, size, tiling.overlap)) for length in image.size)
    total, done = len(columns) * len(rows), 0
    made = pixels.new_zeros(1, 3, image.height * scale, image.width * scale)
    for top in rows:
        for left in columns:
            tile = network.run(pixels[:, :, top : top + size, left : left + size])
            made[:, :, _scaled(top, size, scale), _scaled(left, size, scale)] += tile
            done += 1
            on_tile(done, total)
    down, across = (
        _covering(starts, size, length, made)
        for starts, length in ((rows, image.height), (columns, image.width))
    )
    covered = (down[:, None] * across[None]).repeat_interleave(scale, 0)
    return _to_image(made / covered.repeat_interleave(scale, 1))


def _spread(length: int, size: int, overlap: int) -> Iterator[int]:
    """Yield where tiles begin along a side, the last one at its end."""
    yield from range(0, length - size, size - min(overlap, size - 1))
    yield length - size


def _scaled(start: int, size: int, scale: int) -> slice:
    return slice(start * scale, (start + size) * scale)


def _covering(starts: Sequence[int], size: int, length: int, like: Tensor) -> Tensor:
    """Return how many tiles cover each pixel of a side."""
    covered = like.new_zeros(length)
    for start in starts:
        covered[start : start + size] += 1
    return covered
