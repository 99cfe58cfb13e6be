"""Images side by side."""

from __future__ import annotations

import pytest
from PIL import Image

from promptengine.images.image_grid import grid_shape, image_grid


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (6, (3, 2)), (7, (3, 3))],
)
def test_a_grid_is_about_square(count: int, shape: tuple[int, int]) -> None:
    assert grid_shape(count) == shape


def test_smaller_images_lie_in_the_middle_of_their_place() -> None:
    grid = image_grid([Image.new("RGB", (8, 8)), Image.new("RGB", (4, 8), "red")], rows=1)
    assert grid.size == (16, 8)
    assert [grid.getpixel((x, 0)) for x in (7, 9, 10, 14)] == [
        (0, 0, 0),
        (255, 255, 255),
        (255, 0, 0),
        (255, 255, 255),
    ]
