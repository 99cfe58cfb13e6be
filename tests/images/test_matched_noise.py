"""Noise that looks like an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from promptengine.images.matched_noise import fill_with_noise, match_distribution


def half_unknown(side: int = 64) -> Image.Image:
    mask = Image.new("L", (side, side), 255)
    mask.paste(0, (0, 0, side, side // 2))
    return mask


def gradient(side: int = 64) -> Image.Image:
    ramp = np.linspace(40, 200, side).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(ramp, (side, 1))] * 3, -1))


def filled(image: Image.Image, **values: float) -> np.ndarray:
    settings = {"falloff": 1.0, "color_variation": 0.05, **values}
    return np.asarray(fill_with_noise(image, half_unknown(), **settings), int)


def test_known_parts_stay_and_the_rest_gets_their_colors() -> None:
    image = gradient()
    made = filled(image)
    known = np.asarray(image, int)[:32]
    assert np.abs(made[:32] - known).max() <= 1
    for channel in range(3):
        ours, theirs = np.sort(made[32:, :, channel].ravel()), np.sort(known[..., channel].ravel())
        assert np.abs(ours - theirs).max() <= 3


def test_it_is_the_same_every_time() -> None:
    assert (filled(gradient()) == filled(gradient())).all()


def test_a_larger_exponent_makes_coarser_noise() -> None:
    def roughness(exponent: float) -> float:
        return np.abs(np.diff(filled(gradient(), falloff=exponent)[32:, :, 0], axis=0)).mean()

    assert roughness(4) < roughness(1) < roughness(0)


def test_without_variation_a_gray_image_gets_gray_noise() -> None:
    def spread(variation: float) -> float:
        return np.ptp(filled(gradient(), color_variation=variation)[32:], axis=-1).mean()

    assert spread(0) == 0
    assert spread(1) > 5


def test_an_image_without_light_has_noise_without_light() -> None:
    assert not filled(Image.new("RGB", (64, 64))).any()


def test_distributions_are_matched_in_order() -> None:
    values = np.array([0.1, -3.0, 5.0, 0.1])
    matched = match_distribution(values, np.array([10.0, 20.0, 30.0, 40.0]))
    assert matched.tolist() == pytest.approx([30, 10, 40, 30])
