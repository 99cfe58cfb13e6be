"""Images on a grid with labels around it, laid out as WebUI lays out its prompt matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from promptengine.errors import RequestError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    _Font = FreeTypeFont | ImageFont

__all__ = ["MOST_PIXELS", "GridLabel", "check_grid_pixels", "draw_labeled_grid"]

MOST_PIXELS: Final = 200_000_000
"""Of all images together; WebUI's limit for a grid."""

_PAPER, _INK, _PALE = "#ffffff", "#000000", "#999999"
_LETTERS: Final = 25
"""Half the sum of an image's sides, in heights of a letter."""


@dataclass(frozen=True, slots=True)
class GridLabel:
    """A line beside a row or above a column.

    Attributes:
        text: What it says; broken where it is too long.
        active: Whether it holds for the row or column; one that does not is struck through.
    """

    text: str
    active: bool = True


def check_grid_pixels(count: int, width: int, height: int) -> None:
    """Refuse a grid that no memory holds, before the first of its images is made.

    Args:
        count: Images on it.
        width: Pixels across of each.
        height: Pixels down of each.

    Raises:
        RequestError: They are more than :data:`MOST_PIXELS` together.
    """
    most = MOST_PIXELS // (width * height)
    if count > most:
        # Of 2^4000 images not even the number can be written.
        told = f"{count}" if count < 10**9 else f"2^{count.bit_length() - 1}"
        raise RequestError(
            f"the grid would have {told} images of {width}x{height}; {most} of that size are the most "
            f"({MOST_PIXELS // 10**6} million pixels)",
            field="prompt",
        )


def draw_labeled_grid(
    images: Sequence[Image],
    column_labels: Sequence[Sequence[GridLabel]],
    row_labels: Sequence[Sequence[GridLabel]],
    margin: int = 0,
) -> Image:
    """Put images on a grid, row by row, with labels above and on the left.

    The layout is WebUI's; its letters are of another font, so that heights differ by a few pixels.

    Args:
        images: As many as columns times rows, or fewer; the last places are then white. Ones that are smaller
            than others are in the middle of their places, on black.
        column_labels: The lines above each column. Where each has one that says nothing, no room is left for
            them.
        row_labels: The lines beside each row. Where none says anything, no room is left for them.
        margin: Pixels between the images.
    """
    from PIL import Image as Images
    from PIL import ImageDraw, ImageFont

    width, height = max(one.width for one in images), max(one.height for one in images)
    letters = max((width + height) // _LETTERS, 1)
    gap = letters // 2
    font = ImageFont.load_default(letters)
    pen = ImageDraw.Draw(Images.new("RGB", (1, 1)))
    left = width * 3 // 4 if any(label.text for row in row_labels for label in row) else 0
    above = [_block(pen, labels, width, font, gap) for labels in column_labels]
    beside = [_block(pen, labels, left, font, gap) for labels in row_labels]
    top = max(block.height for block in above) + 2 * gap if any(b.height for b in above) else 0
    across, down = len(column_labels), len(row_labels)
    size = (
        left + across * width + (across - 1) * margin,
        top + down * height + (down - 1) * margin,
    )
    sheet = Images.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, block in enumerate(above):
        middle = left + column * (width + margin) + width / 2
        block.draw(pen, middle, (top - block.height) / 2, font)
    for row, block in enumerate(beside):
        block.draw(pen, left / 2, top + row * (height + margin) + (height - block.height) / 2, font)
    for number, image in enumerate(images):
        place = (
            left + number % across * (width + margin),
            top + number // across * (height + margin),
        )
        sheet.paste(_centered(image, (width, height)), place)
    return sheet


def _centered(image: Image, size: tuple[int, int]) -> Image:
    """Put an image in the middle of a place, on black."""
    from PIL import Image as Images

    if image.size == size:
        return image
    whole = Images.new("RGB", size)
    whole.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return whole


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of text below each other, with their heights and what is between them."""

    lines: tuple[tuple[GridLabel, int], ...]
    gap: int

    @property
    def height(self) -> int:
        """Pixels down; less than nothing where there is no line, as in WebUI."""
        return sum(high + self.gap for _, high in self.lines) - self.gap

    def draw(self, pen: ImageDraw, middle: float, y: float, font: _Font) -> None:
        """Write the lines around a vertical axis, downwards from a height."""
        for line, high in self.lines:
            center = (middle, y + high / 2)
            pen.text(center, line.text, _INK if line.active else _PALE, font, anchor="mm")
            if not line.active:
                half = font.getlength(line.text) / 2
                ends = (middle - half, center[1], middle + half, center[1])
                pen.line(ends, fill=_PALE, width=max(ceil(high / 10), 1))
            y += high + self.gap


def _block(
    pen: ImageDraw, labels: Sequence[GridLabel], width: int, font: _Font, gap: int
) -> _Block:
    found: list[tuple[GridLabel, int]] = []
    for label in labels:
        for text in _broken(label.text, width, font):
            _, above, _, below = pen.textbbox((0, 0), text, font)
            found.append((GridLabel(text, label.active), round(below - above)))
    return _Block(tuple(found), gap)


def _broken(text: str, width: int, font: _Font) -> list[str]:
    """Break a text between words into lines of a width; a word that is longer has a line of its own."""
    lines: list[str] = []
    for word in "".join(c if c.isprintable() else " " for c in text).split() or [""]:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
