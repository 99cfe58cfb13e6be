"""Rough pictures of latents."""

from __future__ import annotations

import pytest
import torch

from promptengine.diffusion.picture.preview import rough_pictures
from promptengine.families import Family


@pytest.mark.parametrize("family", ["SD1", "SD2", "SDXL"])
def test_a_rough_picture_has_a_pixel_for_each_cell(family: Family) -> None:
    first, second = rough_pictures(torch.zeros(2, 4, 6, 8), family)
    assert first.size == second.size == (8, 6)
    red, green, blue = first.getpixel((0, 0))
    assert all(120 <= value <= 155 for value in (red, green, blue))


def test_values_that_are_no_numbers_do_no_harm() -> None:
    latents = torch.full((1, 4, 2, 2), float("nan"))
    latents[0, :, 0, 0] = 1e30
    assert rough_pictures(latents, "SD1")[0].size == (2, 2)


def test_a_bright_channel_makes_a_bright_picture() -> None:
    bright = torch.zeros(1, 4, 1, 1)
    bright[0, 0] = 3.0
    dark = -bright
    assert rough_pictures(bright, "SD1")[0].getpixel((0, 0)) > (200, 170, 170)
    assert rough_pictures(dark, "SD1")[0].getpixel((0, 0)) < (60, 60, 60)
