"""Pictures by number, drawn once into one file."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.starter.drawing import draw
from models.starter.recipe import Recipe
from models.starter.scenes import TAUGHT_STYLES
from models.starter.world import Scene, sample_scene

__all__ = ["FLAT", "draw_all", "draw_into", "scene_of", "style_of"]

FLAT = "flat"
"""The style that a prompt gets which names none."""

_CHUNK = 500


def scene_of(index: int) -> Scene:
    """The scene of training picture ``index``; combinations held out for evaluation never occur."""
    return sample_scene(random.Random(index), held_out=False)


def style_of(recipe: Recipe, index: int) -> str:
    """The style of training picture ``index``: flat, but for the last ``recipe.styled`` pictures."""
    others = [style for style in TAUGHT_STYLES if style != FLAT]
    past = index - (recipe.pictures - recipe.styled)
    return FLAT if past < 0 else others[past % len(others)]


def draw_all(recipe: Recipe, folder: Path) -> NDArray[np.uint8]:
    """The training pictures ``[pictures, size, size, 3]``, drawn as far as they are not yet."""
    draw_one = partial(_training_picture, recipe)
    return draw_into(folder / "pictures.u8", recipe.pictures, recipe.size, draw_one)


def _training_picture(recipe: Recipe, index: int) -> Image.Image:
    return draw(scene_of(index), seed=index, size=recipe.size, style=style_of(recipe, index))


def draw_into(
    path: Path, count: int, size: int, draw_one: Callable[[int], Image.Image]
) -> NDArray[np.uint8]:
    """Draw what is not drawn yet, on all cores.

    Args:
        path: The file of pixels. Beside it a ``.count`` says how many pictures are complete, so that
            an interrupted run goes on.
        count: How many pictures there shall be.
        size: Width and height of each.
        draw_one: Draws a picture by its number.

    Returns:
        ``[count, size, size, 3]``, mapped from the disk.
    """
    shape = (count, size, size, 3)
    progress = path.with_suffix(".count")
    done = int(progress.read_text()) if progress.is_file() else 0
    mode = "r+" if path.is_file() else "w+"
    pictures = np.memmap(path, dtype=np.uint8, mode=mode, shape=shape)
    with multiprocessing.get_context("fork").Pool() as pool:
        for start in range(done, count, _CHUNK):
            indices = range(start, min(start + _CHUNK, count))
            drawn = pool.map(partial(_pixels, draw_one), indices, chunksize=50)
            pictures[indices.start : indices.stop] = drawn
            pictures.flush()
            progress.write_text(str(indices.stop))
            print(f"drawn {indices.stop} of {count}", flush=True)
    return pictures


def _pixels(draw_one: Callable[[int], Image.Image], index: int) -> NDArray[np.uint8]:
    return np.asarray(draw_one(index))
