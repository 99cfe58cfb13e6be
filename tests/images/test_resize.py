"""Sizes of images and latents in the passes that start from some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptengine import HiresPass, RequestError
from promptengine.images.latent_upscale import hires_size, upscale_latents
from promptengine.images.resize import fit_size, resize_image
from promptengine.images.upscalers import find_pixel_upscaler, latent_upscalers, pixel_upscalers
from promptengine.request.image_start import ResizeMode

SIDES = st.integers(1, 300)
CELLS = st.integers(8, 100).map(lambda cells: cells * 8)


@given(SIDES, SIDES, SIDES, SIDES)
def test_what_is_fitted_lies_within_and_what_covers_lies_around(
    width: int, height: int, wanted: int, tall: int
) -> None:
    inner = fit_size((width, height), (wanted, tall), cover=False)
    outer = fit_size((width, height), (wanted, tall), cover=True)
    assert 1 <= inner[0] <= wanted and 1 <= inner[1] <= tall
    assert inner[0] == wanted or inner[1] == tall
    assert outer[0] == wanted or outer[1] == tall
    assert outer[0] >= wanted - 1 and outer[1] >= tall - 1


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("upscaler", pixel_upscalers())
def test_every_mode_meets_the_size(mode: ResizeMode, upscaler: str) -> None:
    image = Image.new("RGB", (30, 50), (10, 200, 30))
    for size in ((64, 64), (16, 24), (30, 50), (80, 8)):
        made = resize_image(image, *size, mode, find_pixel_upscaler(upscaler))
        assert made.size == size
        # One color stays one color, the continued edges included.
        assert np.ptp(np.asarray(made).astype(int), axis=(0, 1)).max() <= 1


def test_latents_are_enlarged_later() -> None:
    image = Image.new("RGB", (30, 50))
    assert resize_image(image, 64, 64, "latent") is image


def test_an_unknown_upscaler_is_named() -> None:
    with pytest.raises(RequestError, match=r"unknown upscaler 'ESRGAN'.*Lanczos"):
        find_pixel_upscaler("ESRGAN")


@given(CELLS, CELLS, CELLS, CELLS)
def test_of_two_sides_given_both_are_met_after_cutting(
    width: int, height: int, x: int, y: int
) -> None:
    larger = hires_size(HiresPass(resize_x=x, resize_y=y), width, height)
    latents = torch.zeros(1, 4, *larger.cells)
    rows, columns = larger.trimmed(latents).shape[-2:]
    assert abs(columns - x // 8) <= 1 and abs(rows - y // 8) <= 1


@given(CELLS, CELLS)
def test_one_side_given_keeps_the_proportions(width: int, height: int) -> None:
    assert hires_size(HiresPass(resize_x=2 * width), width, height).height == 2 * height
    assert hires_size(HiresPass(resize_y=2 * height), width, height).width == 2 * width
    scaled = hires_size(HiresPass(scale=1.5), width, height)
    assert (scaled.width, scaled.height, scaled.cut) == (width * 3 // 2, height * 3 // 2, (0, 0))


def test_a_size_out_of_range_is_refused() -> None:
    with pytest.raises(RequestError, match="51200x51200"):
        hires_size(HiresPass(scale=100), 512, 512)


@pytest.mark.parametrize("upscaler", latent_upscalers())
def test_every_latent_upscaler_keeps_what_is_even(upscaler: str) -> None:
    latents = torch.full((2, 4, 8, 8), 0.5)
    torch.testing.assert_close(
        upscale_latents(latents, (12, 20), upscaler), torch.full((2, 4, 12, 20), 0.5)
    )
