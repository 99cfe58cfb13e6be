"""What both scripts that paint beyond an image's edges have in common."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from PIL import Image, ImageDraw

from promptengine.errors import RequestError
from promptengine.scripts.script import ScriptArgument

__all__ = [
    "DIRECTIONS",
    "DIRECTION_ARGUMENT",
    "Box",
    "Margins",
    "margins_around",
    "mask_around",
    "rounded_up",
]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; as WebUI draws it, the last two are inside."""

DIRECTIONS: Final = ("left", "right", "up", "down")

DIRECTION_ARGUMENT: Final = ScriptArgument(
    "directions",
    "Outpainting direction",
    DIRECTIONS,
    choices=DIRECTIONS,
    help="the edges that the image grows at",
)

_STEP: Final = 64
"""Sides of canvases are multiples of this."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How many pixels are added at each edge; named like :data:`DIRECTIONS`."""

    left: int
    right: int
    up: int
    down: int


def rounded_up(side: int) -> int:
    """Return the least multiple of 64 that is not below a side."""
    return ceil(side / _STEP) * _STEP


def margins_around(size: tuple[int, int], pixels: int, directions: frozenset[str]) -> Margins:
    """Return how far an image grows, so that sides that grow become multiples of 64.

    Args:
        size: Width and height of the image.
        pixels: To be added in each direction at least, 1 or more.
        directions: Some of :data:`DIRECTIONS`.
    """
    before_across, after_across = _margins(size[0], pixels, directions, ("left", "right"))
    before_down, after_down = _margins(size[1], pixels, directions, ("up", "down"))
    return Margins(before_across, after_across, before_down, after_down)


def _margins(
    side: int, pixels: int, directions: frozenset[str], ends: tuple[str, str]
) -> tuple[int, int]:
    before, after = (pixels if end in directions else 0 for end in ends)
    if before + after == 0:
        return 0, 0
    added = rounded_up(side + before + after) - side
    before = before * added // (before + after)
    return before, added - before if after else 0


def mask_around(size: tuple[int, int], kept: Box, field: str) -> Image.Image:
    """Return a mask that leaves a rectangle alone.

    Args:
        size: Width and height.
        kept: The rectangle.
        field: The argument by which it became what it is.

    Returns:
        In mode L, 0 inside of the rectangle and 255 outside.

    Raises:
        RequestError: The rectangle ends before it begins: nothing would be left to go on from.
    """
    left, top, right, bottom = kept
    if right < left or bottom < top:
        message = (
            f"{field} leaves nothing of the image in a tile of {size[0]}x{size[1]} pixels to go on from; "
            "paint less far, blur the mask less, or ask for a larger width and height"
        )
        raise RequestError(message, field=field)
    mask = Image.new("L", size, 255)
    ImageDraw.Draw(mask).rectangle(kept, fill=0)
    return mask
