"""Latents enlarged, and how large: the arithmetic of the high-resolution pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from promptengine.errors import RequestError
from promptengine.images.upscalers import LatentUpscaler, find_upscaler
from promptengine.request.hires_pass import HiresPass

__all__ = ["HiresSize", "hires_size", "interpolate_latents", "upscale_latents"]

_SMALLEST, _LARGEST = 8, 16384


@dataclass(frozen=True, slots=True)
class HiresSize:
    """What an image is enlarged to, and what is cut off then.

    Attributes:
        width: Pixels before cutting; no multiple of 8 is needed.
        height: Likewise.
        cut: Latent cells to cut off the width and off the height.
    """

    width: int
    height: int
    cut: tuple[int, int] = (0, 0)

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width in latent cells, before cutting."""
        return self.height // 8, self.width // 8

    @property
    def trimmed_cells(self) -> tuple[int, int]:
        """The same after cutting."""
        height, width = self.cells
        across, down = self.cut
        return height - down, width - across

    def trimmed(self, latents: Tensor) -> Tensor:
        """Cut latents ``[…, height, width]`` to size, the larger half off the end."""
        across, down = self.cut
        height, width = latents.shape[-2:]
        rows = slice(down // 2, height - (down + 1) // 2)
        return latents[..., rows, across // 2 : width - (across + 1) // 2]


def hires_size(hires: HiresPass, width: int, height: int) -> HiresSize:
    """Work out the second pass's size from the first one's, in pixels.

    Raises:
        RequestError: It is out of range.
    """
    x, y = hires.resize_x, hires.resize_y
    if x and y:
        # The side that has further to go is met; the other one goes too far and is cut.
        if x * height > y * width:
            tall = x * height // width
            result = HiresSize(x, tall, (0, (tall - y) // 8))
        else:
            wide = y * width // height
            result = HiresSize(wide, y, ((wide - x) // 8, 0))
    elif x:
        result = HiresSize(x, x * height // width)
    elif y:
        result = HiresSize(y * width // height, y)
    else:
        result = HiresSize(int(width * hires.scale), int(height * hires.scale))
    for side in (result.width, result.height):
        if not _SMALLEST <= side <= _LARGEST:
            message = f"the high-resolution pass would be {result.width}x{result.height} pixels"
            raise RequestError(f"{message}; a side is {_SMALLEST} to {_LARGEST}", field="hires")
    return result


def upscale_latents(latents: Tensor, size: tuple[int, int], upscaler: str = "Latent") -> Tensor:
    """Enlarge latents ``[images, channels, height, width]``.

    Args:
        latents: As a sampler left them.
        size: Height and width in cells.
        upscaler: One of :func:`promptengine.images.upscalers.latent_upscalers`.
    """
    found = find_upscaler(upscaler)
    assert isinstance(found, LatentUpscaler), upscaler
    return found.enlarge(latents, size)


def interpolate_latents(
    latents: Tensor, size: tuple[int, int], *, mode: str, antialias: bool
) -> Tensor:
    """Interpolate latents as torch does; see :func:`torch.nn.functional.interpolate`."""
    return interpolate(latents, size=size, mode=mode, antialias=antialias)
