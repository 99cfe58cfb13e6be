"""Masks: where an image is painted anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptengine import RequestError
from promptengine.images.masks import (
    blur_mask,
    double_mask,
    fill_masked,
    latent_mask,
    mask_box,
    overlay,
    read_mask,
)

WHITE_HALF = Image.new("L", (64, 64))
WHITE_HALF.paste(255, (0, 0, 32, 64))


def test_alpha_counts_where_it_says_anything() -> None:
    image = Image.merge("RGBA", [Image.new("L", (64, 64), 90)] * 3 + [WHITE_HALF])
    assert read_mask(image).tobytes() == WHITE_HALF.tobytes()
    opaque = Image.merge("RGBA", [WHITE_HALF] * 3 + [Image.new("L", (64, 64), 255)])
    assert read_mask(opaque).tobytes() == WHITE_HALF.tobytes()
    half = Image.new("RGBA", (2, 1))
    half.putpixel((0, 0), (0, 0, 0, 100))
    half.putpixel((1, 0), (0, 0, 0, 200))
    assert list(read_mask(half).tobytes()) == [0, 255]
    assert list(read_mask(half, hard=False).tobytes()) == [100, 200]


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_blur_moves_no_light(across: float, down: float) -> None:
    soft = np.asarray(blur_mask(WHITE_HALF, across, down)).astype(int)
    # Weights are whole 256ths, so that a slope has ripples of a few levels.
    assert (np.diff(soft, axis=1) <= 4).all()
    assert (soft == soft[0]).all()
    assert abs(soft.mean() - 127.5) < 4


def test_no_blur_is_none() -> None:
    assert blur_mask(WHITE_HALF, 0, 0).tobytes() == WHITE_HALF.tobytes()


BOXES = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))


@given(BOXES, st.integers(0, 40), st.integers(1, 20), st.integers(1, 20))
def test_the_box_holds_the_mask_and_lies_within_the_image(
    mark: tuple[int, int, int, int], padding: int, columns: int, rows: int
) -> None:
    left, top, width, height = mark
    mask = Image.new("L", (100, 100))
    mask.paste(255, (left, top, min(left + width, 100), min(top + height, 100)))
    box = mask_box(mask, padding, (columns * 8, rows * 8))
    assert 0 <= box[0] <= left and 0 <= box[1] <= top
    assert min(left + width, 100) <= box[2] <= 100
    assert min(top + height, 100) <= box[3] <= 100


def test_a_mask_of_nothing_has_no_box() -> None:
    with pytest.raises(RequestError, match="marks nothing"):
        mask_box(Image.new("L", (8, 8)), 4, (64, 64))


def test_latents_are_painted_or_not() -> None:
    mask = latent_mask(WHITE_HALF, 8, 8)
    assert mask.shape == (1, 8, 8)
    assert mask[..., :4].eq(1).all() and mask[..., 4:].eq(0).all()
    gray = Image.new("L", (64, 64), 100)
    assert latent_mask(gray, 8, 8).eq(0).all()
    assert latent_mask(gray, 8, 8, hard=False).gt(0.3).all()


def test_the_overlay_leaves_a_hole_and_filling_closes_it() -> None:
    image = Image.new("RGB", (64, 64), (200, 40, 10))
    over = np.asarray(overlay(image, WHITE_HALF))
    assert (over[:, :32, 3] == 0).all() and (over[:, 32:, 3] == 255).all()
    closed = np.asarray(fill_masked(image, WHITE_HALF)).astype(int)
    assert abs(closed - [200, 40, 10]).max() <= 8


def test_a_strengthened_mask_reaches_further() -> None:
    soft = blur_mask(WHITE_HALF, 4, 4)
    stronger = np.asarray(double_mask(soft)).astype(int)
    assert (stronger >= np.asarray(soft)).all() and stronger.max() == 255
