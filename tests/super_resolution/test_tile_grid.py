"""Tiles of any size that cover an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from promptengine.super_resolution.tile_grid import TileGrid


@pytest.mark.parametrize("size", [(100, 70), (64, 48), (65, 49), (200, 48)])
@pytest.mark.parametrize("overlap", [0, 1, 16, 47])
def test_tiles_cover_an_image_and_join_to_it(size: tuple[int, int], overlap: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels)
    grid = TileGrid.covering(size, (64, 48), overlap)
    covered = np.zeros((size[1], size[0]), bool)
    for left, top, right, bottom in grid.boxes():
        assert (right - left, bottom - top) == (64, 48)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        covered[top:bottom, left:right] = True
    assert covered.all()
    joined = grid.join(image.crop(box) for box in grid.boxes())
    assert joined.size == size
    # Equal values laid over one another may come out one lower.
    assert np.abs(np.asarray(joined, int) - pixels).max() <= 1


def test_a_tile_fades_in_over_the_one_before_it() -> None:
    grid = TileGrid.covering((12, 8), (8, 8), 4)
    joined = grid.join([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")])
    row = np.asarray(joined)[0, :, 0].tolist()
    assert row == [0, 0, 0, 0, 0, 63, 127, 191, 255, 255, 255, 255]


def test_a_scaled_grid_has_the_same_tiles() -> None:
    grid = TileGrid.covering((100, 70), (64, 48), 16)
    assert [tuple(2 * edge for edge in box) for box in grid.boxes()] == grid.scaled(2).boxes()
