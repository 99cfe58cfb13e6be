"""Noise that looks like an image: with its spectrum and its colors, to paint on from."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["fill_with_noise", "match_distribution"]

_Real = NDArray[np.floating[Any]]

_CHANNELS: Final = 3


def fill_with_noise(
    image: Image.Image, unknown: Image.Image, *, falloff: float, color_variation: float
) -> Image.Image:
    """Fill the unknown part of an image with noise of the known part's spectrum and colors.

    White noise, the same for every image of a size, is weakened towards high frequencies. Its power spectrum
    is multiplied by a power of the image's amplitudes and takes over the image's phases, so that the image's
    structures go on in it; then each channel is distributed as the known part's is (WebUI's Outpainting mk2,
    after g-diffuser).

    Args:
        image: RGB.
        unknown: In mode L and of the same size: 255 where to fill, 0 where not. Some of it must be 0.
        falloff: Exponent of the image's amplitudes; the larger, the coarser is the noise.
        color_variation: How far the channels differ before their colors are matched: 0 (gray) to 1.
    """
    source = np.asarray(image, np.float64) / 255
    hidden = np.asarray(unknown) > 0
    noise = np.random.default_rng(0).random(source.shape)
    gray = noise.sum(-1) / _CHANNELS
    window = _frequency_window(*hidden.shape)
    seen = source * ~hidden[..., None]
    seen = seen / (seen.max() or 1) + source.mean() * hidden[..., None]
    shaped = np.empty_like(source)
    for channel in range(_CHANNELS):
        plain = color_variation * noise[..., channel] + (1 - color_variation) * gray
        shaped[..., channel] = _shaped(plain, seen[..., channel], window, falloff)
    shaped -= shaped.min()
    shaped /= shaped.max() or 1
    filled = source.copy()
    for channel in range(_CHANNELS):
        known = source[..., channel][~hidden]
        filled[..., channel][hidden] = match_distribution(shaped[..., channel][hidden], known)
    return Image.fromarray((filled * 255).clip(0, 255).astype(np.uint8), "RGB")


def match_distribution(values: _Real, reference: _Real) -> _Real:
    """Map numbers so that they are distributed as others are, interpolated between these.

    Args:
        values: ``[count]``.
        reference: ``[others]``, at least one.

    Returns:
        ``[count]``, in the same order of size.
    """
    _, ranks, counts = np.unique(values, return_inverse=True, return_counts=True)
    levels, others = np.unique(reference, return_counts=True)
    shares, below = counts.cumsum() / values.size, others.cumsum() / reference.size
    return np.interp(shares, below, levels)[ranks]


def _shaped(noise: _Real, seen: _Real, window: _Real, falloff: float) -> _Real:
    """Give noise the phases of what is seen, and more of the frequencies that are strong there."""
    weakened = np.fft.ifft2(np.fft.fft2(noise) * window).real
    spectrum = np.fft.fft2(seen, norm="ortho")
    amplitude = np.abs(spectrum)
    phase = np.divide(spectrum, amplitude, out=np.zeros_like(spectrum), where=amplitude > 0)
    power = np.abs(np.fft.fft2(weakened, norm="ortho")) ** 2
    return np.fft.ifft2(power * amplitude**falloff * phase, norm="ortho").real


def _frequency_window(height: int, width: int) -> _Real:
    """Return how much of each frequency stays, ``[height, width]``, frequency 0 first as the FFT has it.

    It falls along both axes as ``1 / (1 + x**2)``, x being 1 at the shorter side's highest frequency.
    """
    shorter = min(height, width)
    down, across = (2 * side / shorter * np.fft.fftfreq(side) for side in (height, width))
    return 1 / np.multiply.outer(down**2 + 1, across**2 + 1)
