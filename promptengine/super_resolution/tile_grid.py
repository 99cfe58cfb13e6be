"""Overlapping tiles that cover an image, and how they are joined to the bit as WebUI joins them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image

__all__ = ["TileGrid"]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles of one size that cover an image row by row, each fading in over its neighbors to the left and above.

    As in WebUI an image that is smaller than a tile, but by less than the overlap, fades in from black.

    Attributes:
        size: Width and height of the image in pixels.
        tile: Width and height of a tile.
        overlap: Pixels that neighbors share at least; less than both of a tile's sides.
        columns: Where tiles begin across; before 0 where the image is narrower than a tile.
        rows: Where they begin down, likewise.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    overlap: int
    columns: tuple[int, ...]
    rows: tuple[int, ...]

    @classmethod
    def covering(cls, size: tuple[int, int], tile: tuple[int, int], overlap: int) -> TileGrid:
        """Return as few tiles as cover an image, evenly spread.

        Args:
            size: Width and height of the image in pixels.
            tile: Width and height of a tile.
            overlap: 0 or more, and less than both of a tile's sides.
        """
        columns, rows = (_starts(*sides, overlap) for sides in zip(size, tile, strict=True))
        return cls(size, tile, overlap, columns, rows)

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Return left, top, right and bottom of each tile, row by row; the last two are outside."""
        width, height = self.tile
        return [(x, y, x + width, y + height) for y in self.rows for x in self.columns]

    def scaled(self, factor: int) -> TileGrid:
        """Return the same grid of an image that is larger by a whole factor."""

        def both(pair: tuple[int, int]) -> tuple[int, int]:
            return pair[0] * factor, pair[1] * factor

        columns, rows = (
            tuple(start * factor for start in starts) for starts in (self.columns, self.rows)
        )
        return TileGrid(both(self.size), both(self.tile), self.overlap * factor, columns, rows)

    def join(self, tiles: Iterable[Image.Image]) -> Image.Image:
        """Join tiles to the image.

        Args:
            tiles: RGB, in the order of :meth:`boxes`; each is taken when it is its turn.
        """
        remaining = iter(tiles)
        ramp = (np.arange(self.overlap) * 255 / max(self.overlap, 1)).astype(np.uint8)
        across = _fade(np.repeat(ramp[None], self.tile[1], axis=0))
        down = _fade(np.repeat(ramp[:, None], self.size[0], axis=1))
        whole = Image.new("RGB", self.size)
        for top in self.rows:
            row = Image.new("RGB", (self.size[0], self.tile[1]))
            for left in self.columns:
                _paste(row, next(remaining), (left, 0), across, (self.overlap, 0))
            _paste(whole, row, (0, top), down, (0, self.overlap))
        return whole


def _starts(length: int, side: int, overlap: int) -> tuple[int, ...]:
    count = max(ceil((length - overlap) / (side - overlap)), 1)
    step = (length - side) / (count - 1) if count > 1 else 0
    starts = (int(number * step) for number in range(count))
    return tuple(start if start + side < length else length - side for start in starts)


def _fade(levels: np.ndarray) -> Image.Image | None:
    return Image.fromarray(levels) if levels.size else None


def _paste(
    canvas: Image.Image,
    piece: Image.Image,
    place: tuple[int, int],
    fade: Image.Image | None,
    head: tuple[int, int],
) -> None:
    """Paste a piece, its first columns or rows fading in unless it lies at the very beginning.

    Args:
        canvas: What lies there already.
        piece: A tile on its row, or a row on the image.
        place: Its left and upper edge.
        fade: How opaque it is where it fades in, in mode L; None where it does not.
        head: How many of its columns and rows fade in, of which one is 0.
    """
    if place == (0, 0) or fade is None:
        canvas.paste(piece, place)
        return
    across, down = head
    edge = (0, 0, across or piece.width, down or piece.height)
    canvas.paste(piece.crop(edge), place, mask=fade)
    rest = piece.crop((across, down, piece.width, piece.height))
    canvas.paste(rest, (place[0] + across, place[1] + down))
