"""Colors of one image brought to those of another: WebUI's color correction of img2img.

Histograms are matched in CIE L*a*b* (white point D65), each channel by itself, and the brightness of the
image is given back afterwards. The 8-bit L*a*b* is OpenCV's: fixed-point numbers, whose rounding decides
which level a color falls on, so that every constant here has a whole number of bits.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["lab_from_rgb", "match_colors", "match_histogram", "rgb_from_lab"]

_Whole = NDArray[np.int64]
_Real = NDArray[np.float64]

_TO_XYZ: Final = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
"""Linear sRGB to CIE XYZ (ITU-R BT.709)."""

_FROM_XYZ: Final = np.array(
    [
        [3.240479, -1.53715, -0.498535],
        [-0.969256, 1.875991, 0.041556],
        [0.055648, -0.204043, 1.057311],
    ]
)
"""The inverse, with as many digits as are in use."""

_WHITE: Final = np.array([0.950456, 1.0, 1.088754])
"""XYZ of D65."""

_MATRIX_BITS: Final = 12
_LIGHT: Final = 255 * 8
"""Of full linear light, on the way to L*a*b*."""

_ROOT_BITS: Final = 15
"""Behind the point of cube roots, on the way to L*a*b*."""

_BASE_BITS: Final = 14
"""Behind the point of everything, on the way back."""

_LINEAR_BITS: Final = 12
"""Of full linear light, on the way back."""

_LUMA: Final = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue are (ITU-R BT.601)."""


def match_colors(image: Image.Image, reference: Image.Image) -> Image.Image:
    """Give an image the colors of another one, and leave it as bright as it is.

    Args:
        image: RGB.
        reference: RGB, in any size.
    """
    own = np.asarray(image.convert("RGB"))
    pairs = zip(
        np.moveaxis(lab_from_rgb(own), -1, 0),
        np.moveaxis(lab_from_rgb(np.asarray(reference.convert("RGB"))), -1, 0),
        strict=True,
    )
    matched = rgb_from_lab(np.stack([match_histogram(*pair) for pair in pairs], -1))
    levels = _with_luma(matched / 255, own / 255 @ _LUMA) * 255
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8), "RGB")


def match_histogram(values: _Whole, reference: _Whole) -> _Whole:
    """Map values so that they are distributed as others are.

    Args:
        values: 0 to 255, in any shape.
        reference: Likewise.

    Returns:
        Shaped like ``values``; between two levels of the reference it is interpolated and cut.
    """
    counts = np.bincount(values.ravel(), minlength=256)
    others = np.bincount(reference.ravel(), minlength=256)
    levels = others.nonzero()[0]
    below = others.cumsum()[levels] / reference.size
    return np.interp(counts.cumsum() / values.size, below, levels).astype(np.int64)[values]


def lab_from_rgb(pixels: NDArray[np.uint8]) -> _Whole:
    """Convert sRGB to L*a*b*.

    Args:
        pixels: ``[height, width, 3]``.

    Returns:
        Shaped alike, 0 to 255: L* times 2.55, a* and b* plus 128.
    """
    matrix = np.rint(_TO_XYZ / _WHITE[:, None] * 2**_MATRIX_BITS).astype(np.int64)
    light, roots = _light_table(), _root_table()
    x, y, z = np.moveaxis(roots[_shifted(light[pixels] @ matrix.T, _MATRIX_BITS)], -1, 0)
    one = 1 << _ROOT_BITS
    # 116 and 16 percent of 255, rounded.
    lightness = 296 * y - (16 * 255 * one + 50) // 100
    channels = [lightness, 500 * (x - y) + 128 * one, 200 * (y - z) + 128 * one]
    return _shifted(np.stack(channels, -1), _ROOT_BITS).clip(0, 255)


def rgb_from_lab(lab: _Whole) -> _Whole:
    """Convert L*a*b* to sRGB: the opposite of :func:`lab_from_rgb`, as far as 8 bits allow."""
    one = 1 << _BASE_BITS
    lightness, a, b = np.moveaxis(lab, -1, 0)
    root, light = _lightness_tables()
    # a / 500 and b / 200 by reciprocals of 28 and 23 bits.
    x = root[lightness] + ((5 * a * 53687 + (1 << 7)) >> 13) - 128 * one // 500
    z = root[lightness] - (((b * 41943 + (1 << 4)) >> 9) - 128 * one // 200 + 1)
    xyz = np.stack([_cubed(x), light[lightness], _cubed(z)], -1)
    matrix = np.rint(_FROM_XYZ * _WHITE * 2**_MATRIX_BITS).astype(np.int64)
    linear = _shifted(xyz @ matrix.T, _MATRIX_BITS + _BASE_BITS - _LINEAR_BITS)
    return _level_table()[linear.clip(0, (1 << _LINEAR_BITS) - 1)]


def _shifted(values: _Whole, bits: int) -> _Whole:
    """Divide by a power of 2, rounded."""
    return (values + (1 << (bits - 1))) >> bits


@cache
def _light_table() -> _Whole:
    """Return the linear light of each level of sRGB."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return np.rint(light * _LIGHT).astype(np.int64)


@cache
def _root_table() -> _Whole:
    """Return CIE's f(t), a cube root that is linear near 0, of each amount of light up to 1.5."""
    light = (np.arange(_LIGHT * 3 // 2) * np.float32(1 / _LIGHT)).astype(float)
    root = np.where(light < 216 / 24389, light * 841 / 108 + 16 / 116, np.cbrt(light))
    # Cut to the 24 bits of a float32, which decides about roots halfway between two numbers.
    unit = 2.0 ** (np.frexp(root)[1] - 24)
    return np.rint(np.floor(root / unit) * unit * (1 << _ROOT_BITS)).astype(np.int64)


@cache
def _lightness_tables() -> tuple[_Whole, _Whole]:
    """Return f(Y) and Y of each level of L*."""
    lightness = np.arange(256) * 100 / 255
    root = (lightness + 16) / 116
    dark = lightness <= 8
    light = np.where(dark, lightness * 27 / 24389, root**3)
    root = np.where(dark, lightness * 27 / 24389 * 841 / 108 + 16 / 116, root)
    one = 1 << _BASE_BITS
    return np.rint(root * one).astype(np.int64), np.rint(light * one).astype(np.int64)


def _cubed(root: _Whole) -> _Whole:
    """Return the light of which something is CIE's f(t)."""
    one = 1 << _BASE_BITS
    # 6 / 29, where the cube begins. Quotients are cut towards 0.
    linear = (np.sign(root) * (abs(root) * 108 // 841)) - one * 16 // 116 * 108 // 841
    return np.where(root <= 3390, linear, root * root // one * root // one)


@cache
def _level_table() -> _Whole:
    """Return the level of sRGB of each amount of linear light."""
    light = np.arange(1 << _LINEAR_BITS) / (1 << _LINEAR_BITS)
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(level * 255).astype(np.int64)


def _with_luma(colors: _Real, luma: _Real) -> _Real:
    """Give colors a brightness and keep their hue: the layer mode "luminosity" (W3C compositing, section 9.3).

    Args:
        colors: ``[height, width, 3]``, 0 to 1.
        luma: ``[height, width]``, likewise.
    """
    colors = colors + (luma - colors @ _LUMA)[..., None]
    center = (colors @ _LUMA)[..., None]
    low, high = colors.min(-1, keepdims=True), colors.max(-1, keepdims=True)
    # Out of range, a color is drawn towards the gray of its brightness.
    below = np.divide(center, center - low, out=np.ones_like(low), where=low < 0)
    colors = center + (colors - center) * below
    above = np.divide(1 - center, high - center, out=np.ones_like(high), where=high > 1)
    return center + (colors - center) * above
