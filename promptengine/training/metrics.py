"""What a run says about itself: the table of losses and its plot."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from promptengine.files.atomic import atomic_write

__all__ = ["LossRow", "append_losses", "cut_losses", "draw_losses", "read_losses"]

LossRow = tuple[int, int, float, float, float]
"""Step, epoch, loss, smoothed loss and learning rate."""

_HEADER: Final = ("step", "epoch", "loss", "smoothed loss", "learning rate")
_PLOT: Final = (960, 540)
_FRAME: Final = (80, 40, 930, 480)
_TICKS: Final = 5
_TEXT: Final = 16
_POINT, _LINE, _INK, _RULE = "#b9cbe4", "#c0392b", "#222222", "#dddddd"


def append_losses(path: Path, rows: Iterable[LossRow]) -> None:
    """Add lines to the table, which begins with a header.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(_HEADER)
        writer.writerows(rows)


def cut_losses(path: Path, step: int) -> None:
    """Take out of a table the lines after a step, and a last one that was cut short.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [row for row in read_losses(path) if row[0] <= step]
    with atomic_write(path) as temporary:
        append_losses(temporary, rows)


def read_losses(path: Path) -> list[LossRow]:
    """Return the lines of a table; none where there is no file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else.
    """
    rows: list[LossRow] = []
    if path.exists():
        # A line without its end was cut short, even where it still reads as numbers.
        text = path.read_text(encoding="utf-8").rpartition("\n")[0]
        for line in list(csv.reader(text.splitlines()))[1:]:
            step, epoch, loss, smoothed, rate = line
            rows.append((int(step), int(epoch), float(loss), float(smoothed), float(rate)))
    return rows


def draw_losses(table: Path, title: str) -> Image.Image:
    """Draw a table of losses: each step a point, the smoothed loss a line."""
    rows = read_losses(table)
    image = Image.new("RGB", _PLOT, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_TEXT)
    left, top, right, bottom = _FRAME
    last = max((row[0] for row in rows), default=1)
    # A few points above would press all others flat; they are drawn at the upper edge.
    high = max((row[3] for row in rows), default=1.0) * 2 or 1.0

    def place(step: float, loss: float) -> tuple[float, float]:
        across, up = step / last, min(loss / high, 1.0)
        return left + across * (right - left), bottom - up * (bottom - top)

    for tick in range(_TICKS + 1):
        x, y = place(last * tick / _TICKS, high * tick / _TICKS)
        draw.line((left, y, right, y), fill=_RULE)
        draw.text((left - 8, y), f"{high * tick / _TICKS:.3g}", _INK, font, anchor="rm")
        draw.text((x, bottom + 8), f"{last * tick / _TICKS:.0f}", _INK, font, anchor="mt")
    for step, _, loss, _, _ in rows:
        x, y = place(step, loss)
        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=_POINT)
    draw.line([place(row[0], row[3]) for row in rows], fill=_LINE, width=2)
    draw.text((left, 12), title, _INK, font)
    draw.text((right, 12), "loss (points) and smoothed loss (line)", _LINE, font, anchor="ra")
    draw.text(((left + right) / 2, _PLOT[1] - 10), "step", _INK, font, anchor="ms")
    return image
