"""The training pictures, drawn once into one file."""

from __future__ import annotations

import multiprocessing
import random
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.starter.drawing import draw
from models.starter.recipe import Recipe
from models.starter.scenes import STYLES
from models.starter.world import Scene, sample_scene

__all__ = ["FLAT", "draw_all", "scene_of", "style_of"]

FLAT = "flat"
"""The style that a prompt gets which names none."""

_CHUNK = 500


def scene_of(index: int) -> Scene:
    """The scene of training picture ``index``; combinations held out for evaluation never occur."""
    return sample_scene(random.Random(index), held_out=False)


def style_of(recipe: Recipe, index: int) -> str:
    """The style of training picture ``index``: flat, but for the last ``recipe.styled`` pictures."""
    others = [style for style in STYLES if style != FLAT]
    past = index - (recipe.pictures - recipe.styled)
    return FLAT if past < 0 else others[past % len(others)]


def _draw(recipe: Recipe, index: int) -> NDArray[np.uint8]:
    style = style_of(recipe, index)
    return np.asarray(draw(scene_of(index), seed=index, size=recipe.size, style=style))


def draw_all(recipe: Recipe, folder: Path) -> NDArray[np.uint8]:
    """Draw what is not drawn yet.

    Args:
        recipe: How many pictures, of what size.
        folder: Where ``pictures.u8`` is kept, with ``pictures.count`` beside it that says how many
            are complete, so that an interrupted run goes on.

    Returns:
        ``[pictures, size, size, 3]``, mapped from the disk.
    """
    shape = (recipe.pictures, recipe.size, recipe.size, 3)
    path, count = folder / "pictures.u8", folder / "pictures.count"
    done = int(count.read_text()) if count.is_file() else 0
    mode = "r+" if path.is_file() else "w+"
    pictures = np.memmap(path, dtype=np.uint8, mode=mode, shape=shape)
    with multiprocessing.get_context("fork").Pool() as pool:
        for start in range(done, recipe.pictures, _CHUNK):
            indices = range(start, min(start + _CHUNK, recipe.pictures))
            drawn = pool.map(partial(_draw, recipe), indices, chunksize=50)
            pictures[indices.start : indices.stop] = drawn
            pictures.flush()
            count.write_text(str(indices.stop))
            print(f"drawn {indices.stop} of {recipe.pictures}", flush=True)
    return pictures
