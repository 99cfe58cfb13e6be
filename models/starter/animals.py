"""The animals of the world, drawn as the other things are."""

from models.starter.palette import CREAM, RGB, dark, pale
from models.starter.pen import Pen, arc

EYE = (40, 32, 44)
BEAK = (246, 170, 60)


def draw_cat(pen: Pen, colour: RGB) -> None:
    """A sitting cat: pointed ears, whiskers, tail raised beside it."""
    shadow = dark(colour, 0.18)
    pen.line([(0.16, 0.06), (0.34, 0.08), (0.4, 0.24), (0.34, 0.4)], shadow, 2.6)
    pen.shape([*arc(0, 0.3, 0.2, 0.3, (0, 180)), (-0.27, 0.0), (0.27, 0.0)], colour)
    pen.shape([(0.1, 0), (0.27, 0), (0.2, 0.3), (0.14, 0.4)], shadow)
    for side in (-1, 1):
        pen.shape([(side * 0.27, 0.72), (side * 0.25, 1.0), (side * 0.05, 0.86)], colour)
        pen.shape([(side * 0.22, 0.78), (side * 0.22, 0.92), (side * 0.12, 0.84)], shadow)
    pen.oval(0, 0.68, 0.29, 0.23, colour)
    pen.oval(0, 0.24, 0.1, 0.17, pale(colour, 0.5))
    for side in (-1, 1):
        pen.oval(side * 0.12, 0.7, 0.035, 0.05, EYE)
        pen.line([(side * 0.16, 0.6), (side * 0.36, 0.62)], EYE, 0.5)
    pen.shape([(-0.04, 0.64), (0.04, 0.64), (0, 0.59)], EYE)


def draw_dog(pen: Pen, colour: RGB) -> None:
    """A standing dog seen from the side: long snout, hanging ear, tail up."""
    shadow = dark(colour, 0.22)
    for x in (-0.22, 0.18):
        pen.box(x, 0, x + 0.09, 0.3, shadow)
    pen.line([(-0.36, 0.46), (-0.47, 0.56), (-0.48, 0.7)], colour, 2.4)
    pen.oval(-0.06, 0.4, 0.34, 0.19, colour)
    for x in (-0.34, 0.08):
        pen.box(x, 0, x + 0.1, 0.4, colour)
    pen.shape([(0.06, 0.4), (0.14, 0.72), (0.36, 0.66), (0.26, 0.36)], colour)
    pen.oval(0.25, 0.72, 0.17, 0.15, colour)
    pen.oval(0.4, 0.67, 0.12, 0.085, pale(colour, 0.4))
    pen.disc(0.5, 0.7, 0.04, EYE)
    pen.disc(0.29, 0.77, 0.03, EYE)
    pen.oval(0.13, 0.66, 0.075, 0.16, dark(colour, 0.4))
    pen.line([(0.13, 0.51), (0.26, 0.46)], CREAM, 1.1)


def draw_bird(pen: Pen, colour: RGB) -> None:
    """A flying bird seen from the side, one wing raised."""
    shadow = dark(colour, 0.22)
    pen.shape([(-0.24, 0.38), (-0.56, 0.52), (-0.5, 0.36), (-0.54, 0.24)], shadow)
    pen.shape([(0.12, 0.4), *arc(0.12, 0.62, 0.16, 0.26, (30, 150)), (-0.08, 0.4)], shadow)
    pen.oval(0, 0.34, 0.34, 0.19, colour)
    pen.disc(0.3, 0.46, 0.16, colour)
    pen.shape(arc(-0.02, 0.3, 0.24, 0.12, (180, 360)), pale(colour, 0.55))
    pen.shape(
        [(0.12, 0.36), (0.0, 0.74), (-0.34, 0.98), (-0.3, 0.62), (-0.2, 0.36)], dark(colour, 0.1)
    )
    pen.shape([(0.43, 0.5), (0.58, 0.44), (0.43, 0.4)], BEAK)
    pen.disc(0.34, 0.5, 0.032, EYE)
