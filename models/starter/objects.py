"""The things of the world, each drawn in a frame of its own: 1 high or wide, feet at y = 0."""

from collections.abc import Callable
from dataclasses import dataclass

from models.starter.animals import draw_bird, draw_cat, draw_dog
from models.starter.palette import (
    BARK,
    CREAM,
    GLASS,
    LAMP,
    RGB,
    SLATE,
    SNOW,
    STEEL,
    dark,
    mix,
    pale,
)
from models.starter.pen import Pen, arc, rounded, turned


@dataclass(frozen=True)
class Thing:
    """How to draw a kind of object.

    Attributes:
        draw: Draws it in some colour.
        size: The most pixels one unit of its frame may take in a picture 128 pixels wide.
        width: Its width in units.
    """

    draw: Callable[[Pen, RGB], None]
    size: float
    width: float


def _window(pen: Pen, x0: float, y0: float, x1: float, y1: float) -> None:
    pen.box(x0, y0, x1, y1, LAMP if pen.light.night else GLASS, shining=pen.light.night)


def _house(pen: Pen, colour: RGB) -> None:
    pen.box(0.2, 0.7, 0.32, 0.98, dark(colour, 0.4))
    if pen.light.snowy:
        pen.box(0.18, 0.95, 0.34, 1.01, SNOW)
    else:
        for x, y, radius in ((0.29, 1.06, 0.045), (0.35, 1.15, 0.06)):
            pen.disc(x, y, radius, mix(pen.light.sky[1], CREAM, 0.6), shining=True)
    pen.box(-0.42, 0, 0.42, 0.52, colour)
    pen.box(0.2, 0, 0.42, 0.52, dark(colour, 0.16))
    pen.shape([(-0.52, 0.5), (0.52, 0.5), (0.3, 0.86), (-0.3, 0.86)], SLATE)
    if pen.light.snowy:
        pen.shape([(-0.44, 0.63), (0.44, 0.63), (0.3, 0.88), (-0.3, 0.88)], SNOW)
    pen.box(-0.09, 0, 0.1, 0.31, BARK)
    _window(pen, -0.34, 0.18, -0.17, 0.38)
    _window(pen, 0.18, 0.18, 0.35, 0.38)


def _castle(pen: Pen, colour: RGB) -> None:
    wall = dark(colour, 0.14)
    pen.line([(0, 0.7), (0, 0.98)], BARK, 0.8)
    pen.shape([(0, 0.98), (0.2, 0.91), (0, 0.84)], CREAM)
    pen.box(-0.3, 0, 0.3, 0.62, wall)
    for x in (-0.19, -0.05, 0.09):
        pen.box(x, 0.6, x + 0.1, 0.71, SNOW if pen.light.snowy else wall)
    for x in (-0.36, 0.36):
        pen.box(x - 0.14, 0, x + 0.14, 0.56, colour)
        pen.box(x + 0.05, 0, x + 0.14, 0.56, dark(colour, 0.24))
        pen.shape([(x - 0.2, 0.55), (x, 0.94), (x + 0.2, 0.55)], SLATE)
        if pen.light.snowy:
            pen.shape([(x - 0.12, 0.72), (x, 0.95), (x + 0.12, 0.72)], SNOW)
        _window(pen, x - 0.05, 0.3, x + 0.05, 0.44)
    pen.shape([(-0.12, 0), *arc(0, 0.2, 0.12, 0.14, (180, 0)), (0.12, 0)], BARK)


def _windmill(pen: Pen, colour: RGB) -> None:
    pen.shape([(-0.24, 0), (0.24, 0), (0.14, 0.6), (-0.14, 0.6)], colour)
    pen.shape([(0.08, 0), (0.24, 0), (0.14, 0.6), (0.05, 0.6)], dark(colour, 0.18))
    pen.shape(arc(0, 0.59, 0.17, 0.14, (0, 180)), SNOW if pen.light.snowy else SLATE)
    pen.box(-0.07, 0, 0.07, 0.17, BARK)
    _window(pen, -0.06, 0.28, 0.05, 0.4)
    for degrees in (30, 120, 210, 300):
        blade = [(0.03, 0.6), (0.42, 0.6), (0.42, 0.72), (0.1, 0.72)]
        pen.shape(turned(blade, 0, 0.6, degrees), CREAM)
        pen.line(turned([(0, 0.6), (0.43, 0.6)], 0, 0.6, degrees), BARK, 0.9)
    pen.disc(0, 0.6, 0.045, BARK)


def _lighthouse(pen: Pen, colour: RGB) -> None:
    if pen.light.night:
        beam = mix(pen.light.sky[1], LAMP, 0.5)
        pen.shape([(0, 0.83), (0.6, 0.95), (0.6, 0.73)], beam, shining=True)
    pen.shape([(-0.2, 0), (0.2, 0), (0.125, 0.76), (-0.125, 0.76)], colour)
    trim = CREAM if min(colour) < 200 else STEEL
    for low, high in ((0.16, 0.31), (0.47, 0.61)):
        left, right = 0.2 - 0.1 * low, 0.2 - 0.1 * high
        pen.shape([(-left, low), (left, low), (right, high), (-right, high)], trim)
    pen.shape([(0.07, 0), (0.2, 0), (0.125, 0.76), (0.05, 0.76)], dark(colour, 0.2))
    pen.box(-0.18, 0.74, 0.18, 0.79, SLATE)
    pen.box(-0.09, 0.79, 0.09, 0.9, LAMP, shining=True)
    pen.shape([(-0.14, 0.89), (0, 1.02), (0.14, 0.89)], SNOW if pen.light.snowy else SLATE)
    pen.box(-0.06, 0, 0.06, 0.12, BARK)


def _tent(pen: Pen, colour: RGB) -> None:
    pen.shape([(-0.55, 0), (0.0, 0.78), (0.55, 0)], colour)
    pen.shape([(0.0, 0.78), (0.55, 0), (0.27, 0)], dark(colour, 0.2))
    inside = LAMP if pen.light.night else SLATE
    pen.shape([(-0.2, 0), (-0.01, 0.56), (0.16, 0)], inside, shining=pen.light.night)
    pen.line([(0, 0.76), (0, 0.92)], BARK, 0.9)
    pen.shape([(0, 0.92), (0.18, 0.87), (0, 0.81)], CREAM)
    if pen.light.snowy:
        pen.shape([(-0.16, 0.56), (0, 0.8), (0.16, 0.56), (0, 0.63)], SNOW)


def _tree(pen: Pen, colour: RGB) -> None:
    pen.shape([(-0.07, 0), (0.07, 0), (0.05, 0.45), (-0.05, 0.45)], BARK)
    pen.shape([(0, 0.28), (0.15, 0.42), (0.12, 0.46), (0, 0.35)], BARK)
    for x, y, radius in ((0.17, 0.54, 0.21), (-0.18, 0.54, 0.22), (0.0, 0.72, 0.28)):
        pen.disc(x, y, radius, dark(colour, 0.14) if x > 0 else colour)
    pen.disc(-0.02, 0.62, 0.2, colour)
    pen.oval(-0.1, 0.8, 0.1, 0.08, pale(colour, 0.3))
    if pen.light.snowy:
        pen.shape(
            [*arc(0, 0.73, 0.28, 0.28, (20, 160)), (-0.1, 0.78), (0.02, 0.84), (0.14, 0.78)], SNOW
        )


def _pine(pen: Pen, colour: RGB) -> None:
    green = mix(colour, (24, 92, 84), 0.6)
    pen.box(-0.05, 0, 0.05, 0.2, BARK)
    for low, high, half in ((0.14, 0.55, 0.33), (0.38, 0.78, 0.26), (0.62, 1.0, 0.18)):
        pen.shape([(-half, low), (0, high), (half, low)], green)
        pen.shape([(0, high), (half, low), (0.06, low)], dark(green, 0.25))
        if pen.light.snowy:
            middle = (low + high) / 2
            tips = [(-half * 0.5, middle), (0, high), (half * 0.5, middle), (0, middle + 0.06)]
            pen.shape(tips, SNOW)


def _flower(pen: Pen, colour: RGB) -> None:
    leaf = (70, 134, 72)
    pen.line([(0, 0), (0, 0.6)], leaf, 1.7)
    pen.oval(-0.15, 0.2, 0.15, 0.07, leaf)
    pen.oval(0.15, 0.27, 0.15, 0.07, leaf)
    for degrees in range(0, 360, 60):
        ((x, y),) = turned([(0.0, 0.86)], 0, 0.68, degrees)
        pen.disc(x, y, 0.135, colour if degrees % 120 else dark(colour, 0.1))
    pen.disc(0, 0.68, 0.12, (140, 84, 48) if colour[0] > 235 and colour[2] < 90 else (250, 204, 70))


def _mushroom(pen: Pen, colour: RGB) -> None:
    pen.shape([(-0.15, 0), (0.15, 0), (0.11, 0.44), (-0.11, 0.44)], (240, 224, 196))
    pen.shape([(0.04, 0), (0.15, 0), (0.11, 0.44), (0.04, 0.44)], (214, 192, 164))
    pen.shape([*arc(0, 0.4, 0.46, 0.48, (0, 180)), *arc(0, 0.4, 0.46, 0.07, (180, 360))], colour)
    spot = (255, 250, 236) if min(colour) < 200 else (206, 190, 172)
    for x, y, radius in ((-0.2, 0.6, 0.085), (0.08, 0.72, 0.075), (0.25, 0.52, 0.07)):
        pen.disc(x, y, radius, spot)
    if pen.light.snowy:
        pen.shape([*arc(0, 0.4, 0.4, 0.5, (60, 120)), (0, 0.8)], SNOW)


def _wheel(pen: Pen, x: float, radius: float) -> None:
    pen.disc(x, radius, radius, (44, 42, 58))
    pen.disc(x, radius, radius * 0.45, CREAM)


def _car(pen: Pen, colour: RGB) -> None:
    cabin = [(-0.32, 0.36), (-0.2, 0.62), (0.16, 0.62), (0.32, 0.36)]
    pen.shape(cabin, colour)
    _window_pair(pen)
    pen.shape(rounded(-0.5, 0.1, 0.5, 0.38, 0.09), colour)
    pen.box(-0.49, 0.1, 0.49, 0.17, dark(colour, 0.3))
    pen.disc(0.46, 0.29, 0.045, LAMP, shining=True)
    for x in (-0.28, 0.28):
        _wheel(pen, x, 0.12)
    if pen.light.snowy:
        pen.shape([(-0.21, 0.6), (-0.17, 0.67), (0.13, 0.67), (0.17, 0.6)], SNOW)


def _window_pair(pen: Pen) -> None:
    glass = LAMP if pen.light.night else GLASS
    for pane in (
        [(-0.25, 0.37), (-0.17, 0.57), (-0.04, 0.57), (-0.04, 0.37)],
        [(0.02, 0.37), (0.02, 0.57), (0.13, 0.57), (0.24, 0.37)],
    ):
        pen.shape(pane, glass, shining=pen.light.night)


def _bus(pen: Pen, colour: RGB) -> None:
    pen.shape(rounded(-0.5, 0.08, 0.5, 0.66, 0.07), colour)
    pen.box(-0.5, 0.12, 0.5, 0.19, dark(colour, 0.3))
    for x in (-0.43, -0.2, 0.03):
        _window(pen, x, 0.37, x + 0.17, 0.57)
    _window(pen, 0.28, 0.16, 0.42, 0.57)
    pen.box(-0.5, 0.26, 0.24, 0.3, pale(colour, 0.6))
    for x in (-0.27, 0.16):
        _wheel(pen, x, 0.1)
    if pen.light.snowy:
        pen.shape(rounded(-0.48, 0.62, 0.48, 0.71, 0.04), SNOW)


def _boat(pen: Pen, colour: RGB) -> None:
    for x, y in ((-0.3, -0.05), (0.12, -0.09)):
        pen.line([(x, y), (x + 0.3, y)], (214, 232, 236), 0.9)
    pen.line([(0, 0.2), (0, 0.98)], BARK, 1.2)
    pen.shape([(0.04, 0.3), (0.04, 0.96), (0.42, 0.3)], colour)
    pen.shape([(-0.04, 0.3), (-0.04, 0.86), (-0.34, 0.3)], CREAM)
    pen.shape([(-0.48, 0.24), (0.5, 0.24), (0.34, 0.0), (-0.34, 0.0)], colour)
    pen.shape([(-0.44, 0.14), (0.43, 0.14), (0.34, 0.0), (-0.34, 0.0)], dark(colour, 0.25))
    if pen.light.snowy:
        pen.box(-0.46, 0.22, 0.47, 0.27, SNOW)


def _balloon(pen: Pen, colour: RGB) -> None:
    envelope = [*arc(0, 0.64, 0.36, 0.36, (-28, 208)), (-0.09, 0.22), (0.09, 0.22)]
    pen.shape(envelope, colour)
    pen.shape(
        [*arc(0, 0.64, 0.36, 0.36, (-28, 60)), (0.12, 0.64), (0.05, 0.22), (0.09, 0.22)],
        dark(colour, 0.16),
    )
    stripe = [
        *arc(0, 0.64, 0.12, 0.355, (70, 110)),
        (-0.14, 0.64),
        (-0.04, 0.22),
        (0.04, 0.22),
        (0.14, 0.64),
    ]
    pen.shape(stripe, pale(colour, 0.45))
    for x in (-0.07, 0.07):
        pen.line([(x, 0.22), (x, 0.12)], BARK, 0.6)
    pen.box(-0.1, 0, 0.1, 0.13, BARK)
    pen.box(-0.1, 0.09, 0.1, 0.13, CREAM)


OBJECTS = {
    "house": Thing(_house, 54, 1.06),
    "castle": Thing(_castle, 60, 1.14),
    "windmill": Thing(_windmill, 60, 0.9),
    "lighthouse": Thing(_lighthouse, 64, 0.5),
    "tent": Thing(_tent, 52, 1.12),
    "tree": Thing(_tree, 58, 0.84),
    "pine": Thing(_pine, 60, 0.7),
    "flower": Thing(_flower, 50, 0.66),
    "mushroom": Thing(_mushroom, 48, 0.94),
    "cat": Thing(draw_cat, 50, 0.82),
    "dog": Thing(draw_dog, 50, 1.04),
    "bird": Thing(draw_bird, 40, 1.08),
    "car": Thing(_car, 58, 1.04),
    "bus": Thing(_bus, 60, 1.04),
    "boat": Thing(_boat, 54, 1.02),
    "balloon": Thing(_balloon, 44, 0.76),
}
