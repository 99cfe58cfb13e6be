"""Images side by side, labeled."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

__all__ = ["draw_sheet", "stack_sheets"]

_PAPER, _INK = "#ffffff", "#222222"
_LEADING: Final = 1.3
"""Distance of two lines of text, in heights of the letters."""


def draw_sheet(
    rows: Sequence[Sequence[Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str = "",
) -> Image:
    """Put images side by side, columns named above and rows on the left.

    Labels are broken into lines where they are wider than an image. Where all labels of a side are
    empty, no room is left for them.

    Args:
        rows: Images, row by row; every row as long as ``column_labels``. Ones that are smaller than others
            are in the middle of their places.
        row_labels: A text for each row.
        column_labels: A text for each column.
        title: A line above all.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = max(image.width for row in rows for image in row)
    height = max(image.height for row in rows for image in row)
    letters = min(max(width // 10, 14), 40)
    font = ImageFont.load_default(letters)
    gap = max(width // 32, 6)
    line = round(letters * _LEADING)
    beside = [_broken(label, width, font) for label in row_labels]
    above = [_broken(label, width, font) for label in column_labels]
    left = round(max(font.getlength(t) for lines in beside for t in lines))
    left += 3 * gap if left else gap
    top = gap + line * max(len(lines) for lines in above) + (2 * line if title else 0)
    size = (left + len(above) * (width + gap), top + len(rows) * (height + gap))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((left, line), _plain(title), _INK, font, anchor="lm")
    for column, lines in enumerate(above):
        middle = left + column * (width + gap) + width / 2
        for number, text in enumerate(reversed(lines)):
            draw.text((middle, top - gap / 2 - number * line), text, _INK, font, anchor="md")
    for row, (images, lines) in enumerate(zip(rows, beside, strict=True)):
        y = top + row * (height + gap)
        for number, text in enumerate(lines):
            at = y + height / 2 + (number - (len(lines) - 1) / 2) * line
            draw.text((left - gap, at), text, _INK, font, anchor="rm")
        for column, image in enumerate(images):
            x = left + column * (width + gap)
            sheet.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))
    return sheet


def stack_sheets(sheets: Sequence[Image]) -> Image:
    """Put sheets below one another."""
    from PIL import Image

    size = (max(s.width for s in sheets), sum(s.height for s in sheets))
    whole = Image.new("RGB", size, _PAPER)
    y = 0
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return whole


def _plain(text: str) -> str:
    """Return one line that a font can draw."""
    return "".join(c if c.isprintable() else " " for c in text)


def _broken(text: str, width: float, font: FreeTypeFont | ImageFont) -> list[str]:
    """Break a label into at most four lines of about an image's width."""
    letters = max(round(width / font.getlength("n")), 8)
    return wrap(_plain(text), letters, max_lines=4, placeholder="…") or [""]
