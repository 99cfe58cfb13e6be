"""Masks of inpainting: what of an image is repainted, 0 (nothing) to 255 (all)."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.images.resample import resample

__all__ = [
    "Box",
    "blur_mask",
    "double_mask",
    "fill_masked",
    "latent_mask",
    "mask_box",
    "overlay",
    "read_mask",
]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; the last two are outside."""

_HALF = 128
_FILL_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Blur radii in pixels, and how often each layer is laid on."""


def read_mask(image: Image.Image, *, hard: bool = True) -> Image.Image:
    """Read a mask off an image: its alpha channel if that says anything, else its brightness.

    Args:
        image: In any mode.
        hard: Whether alpha is decided to 0 or 255.

    Returns:
        In mode L.
    """
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = image.getchannel("A")
        return alpha.point([255 * (level > _HALF) for level in range(256)]) if hard else alpha
    return image.convert("L")


def blur_mask(mask: Image.Image, across: float, down: float) -> Image.Image:
    """Blur a mask along both axes, each with a sigma of its own in pixels; 0 leaves it sharp.

    OpenCV's fixed-point Gaussian, to the last bit.
    """
    pixels = np.asarray(mask).astype(np.int64)
    for axis, sigma in ((1, across), (0, down)):
        if sigma > 0:
            pixels = _blurred_along(pixels, axis, _weights(sigma))
    return Image.fromarray(pixels.astype(np.uint8))


def _weights(sigma: float) -> list[int]:
    """Return the Gaussian from the outside to the center, in 256ths that add up to 256 over both sides."""
    reach = int(2.5 * sigma + 0.5)
    if reach == 0:
        return [256]
    bell = [math.exp(-(x * x) / (2 * sigma * sigma)) for x in range(-reach, 1)]
    whole = 2 * sum(bell[:-1]) + bell[-1]
    weights: list[int] = []
    error = 0.0
    for value in bell[:-1]:
        exact = value / whole * 256 + error
        weights.append(round(exact))
        error = exact - weights[-1]
    return [*weights, 256 - 2 * sum(weights)]


def _blurred_along(pixels: np.ndarray, axis: int, weights: list[int]) -> np.ndarray:
    reach, length = len(weights) - 1, pixels.shape[axis]
    margins = [(reach, reach) if each == axis else (0, 0) for each in range(pixels.ndim)]
    wide = np.pad(pixels, margins, mode="reflect" if length > 1 else "edge")
    total = np.zeros_like(pixels)
    for offset in range(2 * reach + 1):
        weight = weights[min(offset, 2 * reach - offset)]
        if weight:
            total += weight * wide.take(range(offset, offset + length), axis=axis)
    return (total + _HALF) >> 8


def mask_box(mask: Image.Image, padding: int, target: tuple[int, int]) -> Box:
    """Return the part of an image that is worked on where only the masked area is painted.

    Args:
        mask: In mode L.
        padding: Pixels to add around what is marked.
        target: Width and height that the part will be brought to; the box is widened to their
            proportions as far as the image goes.

    Raises:
        RequestError: The mask marks nothing.
    """
    marked = mask.getbbox()
    if marked is None:
        message = "the mask marks nothing, so there is no masked area to paint"
        raise RequestError(f"{message}; mark something, or paint the whole image", field="mask")
    left, top = (max(edge - padding, 0) for edge in marked[:2])
    right = min(marked[2] + padding, mask.width)
    bottom = min(marked[3] + padding, mask.height)
    proportion = target[0] / target[1]
    if (right - left) / (bottom - top) > proportion:
        top, bottom = _widened(top, bottom, (right - left) / proportion, mask.height)
    else:
        left, right = _widened(left, right, (bottom - top) * proportion, mask.width)
    return left, top, right, bottom


def _widened(start: int, end: int, length: float, limit: int) -> tuple[int, int]:
    """Widen a stretch to about ``length``, moved or cut so that it lies within 0 to ``limit``."""
    missing = int(length - (end - start))
    start, end = start - missing // 2, end + missing - missing // 2
    if end > limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, min(end - start, limit)
    return start, end


def double_mask(mask: Image.Image) -> Image.Image:
    """Twice the mask, so that the blend of old and new lies outside of what was marked."""
    return mask.point([min(2 * level, 255) for level in range(256)])


def latent_mask(mask: Image.Image, width: int, height: int, *, hard: bool = True) -> Tensor:
    """Return a mask for latents.

    Args:
        mask: In mode L.
        width: In latent cells.
        height: Likewise.
        hard: Whether each cell is decided to 0 or 1.

    Returns:
        ``[1, height, width]``, float32, 1 where to paint.
    """
    small = torch.from_numpy(np.array(resample(mask, (width, height)), np.float32)) / 255
    return (small.round() if hard else small)[None]


def overlay(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return what of an image stays, as RGBA to lay over a new one."""
    return _kept(image, mask).convert("RGBA")


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fill the masked part of an image with the colors around it, blurred from far to near."""
    kept = _kept(image, mask)
    canvas = Image.new("RGBA", image.size)
    for radius, times in _FILL_BLURS:
        layer = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            canvas.alpha_composite(layer)
    return canvas.convert("RGB")


def _kept(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return what a mask leaves of an image, with premultiplied alpha."""
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    return kept
