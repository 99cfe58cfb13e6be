"""What of an original comes back over a softly inpainted image: the less changed, the more."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from promptengine.images.masks import Box
from promptengine.images.resize import resize_image
from promptengine.request.image_start import Inpainting

__all__ = ["changed_mask", "percentile_filter", "spread_mask"]

_Array = NDArray[np.floating[Any]]

_REACH: Final = 2
"""Cells around each one that the filters look at."""

_BLUR: Final = 4
"""Of the mask in the image's size, in pixels."""

_LARGEST: Final = (0.9, 1.0)
_MIDDLE: Final = (0.25, 0.75)
"""Shares of a neighborhood's weight, in order of the values."""


def changed_mask(
    latents: Tensor, start: Tensor, mask: Tensor, inpainting: Inpainting
) -> Image.Image:
    """Return where an image changed so far that nothing of its original is to stay.

    Args:
        latents: Finished, ``[channels, height, width]``.
        start: What they were painted from, shaped alike.
        mask: ``[1, height, width]``, 1 where to paint.
        inpainting: Whose influence, threshold and contrast hold.

    Returns:
        In mode L, of the size of the latents: 0 where the original stays.
    """
    # All in float32: what is next to 255 is cut to 254 or not, as it rounds.
    distance = (latents - start).float().norm(dim=0).cpu().numpy()
    distance = percentile_filter(percentile_filter(distance, *_LARGEST), *_MIDDLE)
    allowed = mask[0].float().cpu().numpy() ** (inpainting.soft_strength / 2)
    influence = inpainting.soft_influence
    share = 0.5 * (1 - influence) + influence * (1 - allowed)
    half = inpainting.soft_threshold * share / (1.00001 - share)
    # Without a threshold any change is beyond it; where there is none either, the original stays.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kept = _smooth(1 / (1 + (distance / half) ** inpainting.soft_contrast))
    return Image.fromarray((np.nan_to_num(1 - kept) * 255).astype(np.uint8))


def _smooth(x: _Array) -> _Array:
    """Ease 0 to 1 in and out, the second derivatives too (Perlin's smootherstep)."""
    return x**3 * (x * (x * 6 - 15) + 10)


def percentile_filter(values: _Array, low: float, high: float) -> _Array:
    """Replace each value by the mean of a part of its sorted neighborhood, near ones counting more.

    Args:
        values: ``[height, width]``.
        low: Which share of the neighborhood's weight the part begins at, 0 to 1.
        high: Which it ends at. A part of less weight than one value has at the center is widened to that.

    Returns:
        Shaped like ``values``, float32.
    """
    weights = _kernel()
    windows = _windows(values.astype(np.float64), math.inf).reshape(*values.shape, -1)
    inside = _windows(np.ones(values.shape), 0.0)
    shares = (inside * weights).reshape(windows.shape)
    order = windows.argsort(axis=-1, kind="stable")
    windows = np.take_along_axis(windows, order, -1)
    shares = np.take_along_axis(shares, order, -1)
    ends = shares.cumsum(-1)
    total = ends[..., -1:]
    begin, end = total * low, total * high
    lacking = np.maximum(1 - (end - begin), 0) / 2
    begin, end = begin - lacking, end + lacking
    over = np.maximum(end - total, 0)
    begin, end = begin - over, end - over
    under = np.maximum(-begin, 0)
    begin, end = begin + under, end + under
    taken = (np.minimum(ends, end) - np.maximum(ends - shares, begin)).clip(0)
    # What lies beyond the borders has no weight, and no value to multiply it by.
    mean = (np.where(shares > 0, windows, 0) * taken).sum(-1) / taken.sum(-1)
    return mean.astype(np.float32)


def _kernel() -> NDArray[np.float64]:
    """Return how much neighbors count: a bell of 1 at the center that ends at a distance of 3."""
    along = np.arange(-_REACH, _REACH + 1)
    squares = along[:, None] ** 2 + along[None, :] ** 2
    floor = math.exp(-9 / 1.5**2)
    return ((np.exp(-squares / 1.5**2) - floor) / (1 - floor)).clip(0)


def _windows(values: NDArray[np.float64], beyond: float) -> NDArray[np.float64]:
    """Return the neighborhood of each value, ``[height, width, side, side]``."""
    wide = np.pad(values, _REACH, constant_values=beyond)
    return np.lib.stride_tricks.sliding_window_view(wide, (2 * _REACH + 1, 2 * _REACH + 1))


def spread_mask(
    mask: Image.Image, size: tuple[int, int], *, box: Box | None, whole: tuple[int, int]
) -> Image.Image:
    """Bring a mask from the size of latents to that of the finished image.

    Args:
        mask: In mode L, as :func:`changed_mask` gives it.
        size: Width and height that were painted, in pixels.
        box: The part of the finished image that was painted, where that is not all of it.
        whole: Width and height of the finished image.

    Returns:
        In mode L, its edges blurred.
    """
    mask = resize_image(mask, *size, "pad").filter(ImageFilter.GaussianBlur(_BLUR))
    if box is None:
        return mask
    left, top, right, bottom = box
    canvas = Image.new("L", whole)
    canvas.paste(resize_image(mask, right - left, bottom - top, "crop"), (left, top))
    return canvas
