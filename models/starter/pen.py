"""Drawing shapes in a frame of one's own, lit and styled on their way to the canvas."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from PIL import ImageDraw

from models.starter.palette import RGB, Light, mix

Point = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How a style renders shapes.

    Attributes:
        fill: The colour that stands for the inside of a shape of some colour.
        stroke: The colour that stands for a line of some colour.
        outline: The colour of a shape's outline, or None for shapes without one.
        width: The width of outlines, in pixels of a picture 128 pixels wide.
    """

    fill: Callable[[RGB], RGB]
    stroke: Callable[[RGB], RGB]
    outline: Callable[[RGB], RGB] | None = None
    width: float = 0.0


@dataclass(frozen=True)
class Pen:
    """Draws in a frame: the whole picture, 128 units wide and y down, or an object's own.

    Attributes:
        canvas: What is drawn on.
        look: The style.
        light: The light that falls on everything drawn.
        scale: Canvas pixels per unit of the picture.
        x: The canvas column of the frame's origin.
        y: The canvas row of the frame's origin.
        across: Canvas pixels per unit to the right.
        down: Canvas pixels per unit of y.
        distance: 0 for an object in front, up to 1 for the horizon.
    """

    canvas: ImageDraw.ImageDraw
    look: Look
    light: Light
    scale: float
    x: float = 0.0
    y: float = 0.0
    across: float = 1.0
    down: float = 1.0
    distance: float = 0.0

    @classmethod
    def on(cls, canvas: ImageDraw.ImageDraw, look: Look, light: Light, scale: float) -> "Pen":
        """A pen whose frame is the whole picture."""
        return cls(canvas, look, light, scale, across=scale, down=scale)

    def far(self, distance: float) -> "Pen":
        """This pen for things at a distance."""
        return replace(self, distance=distance)

    def standing(self, x: float, y: float, size: float, *, mirrored: bool = False) -> "Pen":
        """A pen for an object of some size that stands at a point: there y is up, 0 to 1."""
        unit = size * self.scale
        left, top = self._place((x, y))
        return replace(self, x=left, y=top, across=-unit if mirrored else unit, down=-unit)

    def shape(
        self,
        points: Iterable[Point],
        colour: RGB,
        *,
        shining: bool = False,
        bare: bool = False,
    ) -> None:
        """Fill the outline through `points`.

        Args:
            points: The corners.
            colour: The colour in plain daylight.
            shining: Whether the shape needs no light to be seen.
            bare: Whether the shape goes without outline in every style.
        """
        placed = [self._place(point) for point in points]
        seen = colour if shining else self.light.on(colour, self.distance)
        fill = self.look.fill(seen)
        self.canvas.polygon(placed, fill=fill)
        if self.look.outline and not bare:
            width = max(1, round(self.look.width * self.scale * (1 - 0.5 * self.distance)))
            closed = [*placed, placed[0], placed[1]]
            colour = mix(self.look.outline(seen), fill, 0.6 * self.distance)
            self.canvas.line(closed, colour, width, joint="curve")

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, **how: bool) -> None:
        """Fill an upright rectangle."""
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, **how)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: RGB, **how: bool) -> None:
        """Fill an ellipse around a point."""
        self.shape(arc(x, y, rx, ry), colour, **how)

    def disc(self, x: float, y: float, radius: float, colour: RGB, **how: bool) -> None:
        """Fill a circle around a point."""
        self.shape(arc(x, y, radius, radius), colour, **how)

    def line(
        self, points: Sequence[Point], colour: RGB, width: float, *, shining: bool = False
    ) -> None:
        """Draw a line of some width, in pixels of a picture 128 pixels wide."""
        placed = [self._place(point) for point in points]
        seen = colour if shining else self.light.on(colour, self.distance)
        thick = max(1, round(width * self.scale))
        self.canvas.line(placed, self.look.stroke(seen), thick, joint="curve")

    def _place(self, point: Point) -> Point:
        return self.x + point[0] * self.across, self.y + point[1] * self.down


def arc(
    x: float, y: float, rx: float, ry: float, span: tuple[float, float] = (0, 360)
) -> list[Point]:
    """Points of an ellipse around a point, over a span of angles, in degrees."""
    start, end = span
    steps = max(6, round(abs(end - start) / 14))
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def turned(points: Iterable[Point], x: float, y: float, degrees: float) -> list[Point]:
    """Points turned about a point."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos)
        for px, py in points
    ]


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> list[Point]:
    """Points of a rectangle with round corners."""
    corners = ((x1, y1, 0), (x0, y1, 90), (x0, y0, 180), (x1, y0, 270))
    points: list[Point] = []
    for x, y, start in corners:
        cx = x - radius if x == x1 else x + radius
        cy = y - radius if y == y1 else y + radius
        points += arc(cx, cy, radius, radius, (start, start + 90))
    return points
