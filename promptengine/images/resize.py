"""Sizes of images changed as WebUI does, to the last bit."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from promptengine.images.resample import resample
from promptengine.images.upscalers import PixelUpscaler
from promptengine.request.image_start import ResizeMode

__all__ = ["fit_size", "resize_image", "upscale_image"]

_MOST_ROUNDS: Final = 3
"""How often an upscaler is asked to enlarge an image that is still too small."""


def resize_image(
    image: Image.Image,
    width: int,
    height: int,
    mode: ResizeMode = "stretch",
    upscaler: PixelUpscaler | None = None,
) -> Image.Image:
    """Bring an image to a size.

    Args:
        image: RGB, or L for masks.
        width: Wanted, in pixels.
        height: Likewise.
        mode: ``stretch`` ignores the proportions; ``crop`` covers the size and cuts what is over;
            ``pad`` fits into it and continues the edges. ``latent`` leaves the image alone.
        upscaler: What enlarges it, where it is enlarged; None is Pillow's Lanczos.
    """
    if mode == "latent":
        return image
    if mode == "stretch":
        return _scaled(image, width, height, upscaler)
    inner = fit_size(image.size, (width, height), cover=mode == "crop")
    scaled = _scaled(image, *inner, upscaler)
    canvas = Image.new(image.mode, (width, height))
    left, top = width // 2 - inner[0] // 2, height // 2 - inner[1] // 2
    canvas.paste(scaled, (left, top))
    if mode == "pad":
        for edge, place in _edges(scaled, left, top):
            canvas.paste(edge, place)
    return canvas


def fit_size(size: tuple[int, int], target: tuple[int, int], *, cover: bool) -> tuple[int, int]:
    """Return the largest size of the same proportions within a target, or the smallest that covers it.

    One side is the target's; the other one is rounded down.
    """
    (width, height), (wanted, tall) = size, target
    wider = wanted / tall > width / height
    if wider == cover:
        return wanted, max(height * wanted // width, 1)
    return max(width * tall // height, 1), tall


def _scaled(
    image: Image.Image, width: int, height: int, upscaler: PixelUpscaler | None
) -> Image.Image:
    factor = max(width / image.width, height / image.height)
    if upscaler is not None and upscaler.enlarge is not None and image.mode != "L" and factor > 1:
        image = upscale_image(image, factor, upscaler)
        if image.size == (width, height):
            return image
    return resample(image, (width, height), Resampling.LANCZOS)


def upscale_image(image: Image.Image, factor: float, upscaler: PixelUpscaler) -> Image.Image:
    """Enlarge an image by a factor, as nearly as sides that are multiples of 8 allow.

    The upscaler is not asked where the image is large enough, except by a factor of exactly 1.

    Args:
        image: In any mode.
        factor: Above 0.
        upscaler: What enlarges it; where it overshoots, Lanczos reduces the result.
    """
    sides = max(int(image.width * factor), 1), max(int(image.height * factor), 1)
    # An upscaler aims at what latents can express.
    width, height = (max(side // 8 * 8, 8) for side in sides)
    for number in range(_MOST_ROUNDS):
        reached = image.width >= width and image.height >= height
        if upscaler.enlarge is None or (reached and (number > 0 or factor != 1)):
            break
        before = image.size
        image = upscaler.enlarge(image, sides)
        if image.size == before:
            break
    if image.size == (width, height):
        return image
    return resample(image, (width, height), Resampling.LANCZOS)


def _edges(image: Image.Image, left: int, top: int) -> list[tuple[Image.Image, tuple[int, int]]]:
    """Return what stands beside an image that was fitted in: each edge line, continued, and where it goes."""
    pixels = np.asarray(image)
    found: list[tuple[np.ndarray, tuple[int, int]]] = []
    if top > 0:
        found.append((np.repeat(_beyond(pixels[:2]), top, axis=0), (0, 0)))
        below = np.repeat(_beyond(pixels[:-3:-1]), top, axis=0)
        found.append((below, (0, top + image.height)))
    if left > 0:
        sideways = pixels.swapaxes(0, 1)
        before = np.repeat(_beyond(sideways[:2]), left, axis=0).swapaxes(0, 1)
        after = np.repeat(_beyond(sideways[:-3:-1]), left, axis=0).swapaxes(0, 1)
        found += [(before, (0, 0)), (after, (left + image.width, 0))]
    return [(Image.fromarray(np.ascontiguousarray(edge)), place) for edge, place in found]


def _beyond(lines: np.ndarray) -> np.ndarray:
    """Return the line that Pillow's bicubic filter reads off the very edge, ``[1, …]``.

    Args:
        lines: The outermost line and, if there is one, its neighbor.
    """
    edge, neighbor = lines[0].astype(int), lines[-1].astype(int)
    return ((9 * edge - neighbor + 4) // 8).clip(0, 255).astype(np.uint8)[None]
