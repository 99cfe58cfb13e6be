"""Images side by side without labels, as WebUI joins those of a job."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

from PIL import Image

__all__ = ["grid_shape", "image_grid"]


def grid_shape(count: int, rows: int | None = None) -> tuple[int, int]:
    """Return how many columns and rows hold a number of images.

    Args:
        count: 1 or more.
        rows: Wanted; None is as many as make the grid about square.
    """
    rows = min(round(sqrt(count)) if rows is None else rows, count)
    return ceil(count / rows), rows


def image_grid(images: Sequence[Image.Image], rows: int | None = None) -> Image.Image:
    """Join images row by row, each in the middle of its place, on white.

    Args:
        images: At least one.
        rows: See :func:`grid_shape`.
    """
    columns, rows = grid_shape(len(images), rows)
    width, height = max(one.width for one in images), max(one.height for one in images)
    grid = Image.new("RGB", (columns * width, rows * height), "white")
    for number, one in enumerate(images):
        down, across = divmod(number, columns)
        margins = (width - one.width) // 2, (height - one.height) // 2
        grid.paste(one, (across * width + margins[0], down * height + margins[1]))
    return grid
