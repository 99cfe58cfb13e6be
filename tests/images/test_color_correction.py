"""Colors brought to those of another image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptengine.images.color_correction import (
    lab_from_rgb,
    match_colors,
    match_histogram,
    rgb_from_lab,
)

LEVEL = st.integers(0, 255)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # CIE L*a*b* of the primaries, by the published formulas.
        ((255, 255, 255), (255, 128, 128)),
        ((0, 0, 0), (0, 128, 128)),
        ((255, 0, 0), (136, 208, 195)),
        ((0, 255, 0), (224, 42, 211)),
        ((0, 0, 255), (82, 207, 20)),
    ],
)
def test_known_colors(rgb: tuple[int, ...], lab: tuple[int, ...]) -> None:
    assert lab_from_rgb(np.array([[rgb]], np.uint8)).tolist() == [[list(lab)]]


@given(LEVEL)
def test_grays_come_back(level: int) -> None:
    gray = np.full((1, 1, 3), level, np.uint8)
    lab = lab_from_rgb(gray)
    assert lab[0, 0, 1:].tolist() == [128, 128]
    assert np.abs(rgb_from_lab(lab) - gray).max() <= 1


@given(st.lists(LEVEL, min_size=1, max_size=40))
def test_a_distribution_matches_itself(levels: list[int]) -> None:
    values = np.array(levels)
    assert match_histogram(values, values).tolist() == levels


def test_a_distribution_is_taken_over() -> None:
    values, reference = np.arange(100), np.arange(100) + 50
    assert match_histogram(values, reference).tolist() == reference.tolist()


def test_colors_are_taken_over_and_brightness_is_not() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    red = match_colors(image, Image.new("RGB", (8, 8), (200, 40, 40)))
    assert np.asarray(red)[128, 0, 0] > np.asarray(red)[128, 0, 2]
    bright = np.asarray(red.convert("L"), int) - np.asarray(image.convert("L"), int)
    assert np.abs(bright).max() <= 2
