"""Images scaled by Pillow's filters, to the last bit as the Pillow releases do that WebUI runs on."""

from __future__ import annotations

from typing import Final

from PIL import Image
from PIL.Image import Resampling

__all__ = ["fit_image", "resample"]

_PREMULTIPLIED: Final = {"RGBA": "RGBa", "LA": "La"}
"""Modes with opacity, and those in which their colors can be mixed."""


def resample(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Resampling = Resampling.BICUBIC,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Scale an image.

    Pillow filters the rows, rounds to whole levels, and filters the columns. From release 13 on it takes
    the columns first where that is less work, which rounds otherwise: by as much as 6 of 255 levels.
    Asked for one direction after the other, every release rounds alike.

    Args:
        image: In any mode.
        size: Width and height wanted, in pixels.
        resampling: The filter.
        box: What of the image to scale: left, top, right and bottom, in pixels; None is all of it.
    """
    left, top, right, bottom = box = box or (0, 0, *image.size)
    if resampling == Resampling.NEAREST or (image.size == size and box == (0, 0, *size)):
        return image.resize(size, resampling, box)
    mode = _PREMULTIPLIED.get(image.mode)
    if mode is not None:
        return resample(image.convert(mode), size, resampling, box).convert(image.mode)
    width = size[0]
    narrowed = image.resize((width, image.height), resampling, (left, 0, right, image.height))
    return narrowed.resize(size, resampling, (0, top, width, bottom))


def fit_image(
    image: Image.Image, size: tuple[int, int], resampling: Resampling = Resampling.BICUBIC
) -> Image.Image:
    """Scale an image so that it covers a size, proportions kept; what protrudes is cut off, on both sides alike.

    Args:
        image: In any mode.
        size: Width and height wanted, in pixels.
        resampling: The filter.
    """
    proportion = size[0] / size[1]
    width = min(image.width, proportion * image.height)
    height = min(image.height, image.width / proportion)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return resample(image, size, resampling, (left, top, left + width, top + height))
