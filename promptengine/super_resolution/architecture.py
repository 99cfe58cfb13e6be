"""An architecture of networks that enlarge images, as an object.

The files of such networks hold weights alone. What the network is has to be told from the names and shapes of
its weights; each architecture knows how, in one module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Final

from torch import nn

__all__ = [
    "COLORS",
    "Architecture",
    "NetworkPlan",
    "Shapes",
    "pixel_factor",
    "require_at_most",
    "shape_of",
]

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every weight by its name."""

COLORS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPlan:
    """A network as a file's names and shapes describe it, without its weights.

    Attributes:
        build: Makes the module; called where torch's default device is ``meta``, so that it takes no memory
            and no random numbers. It maps RGB ``[1, 3, height, width]``, float32, 0 to 1, to
            ``[1, 3, scale * height, scale * width]``.
        scale: How many times an image's sides grow.
        names: Each weight's name in the module, and its name in the file.
        floats: About how many numbers are alive at once for each pixel that goes in.
        redrawn: How many of the weights the original code draws from the random numbers in another way than
            torch does, and so beside these.
        multiple: What the sides of an image must be a multiple of, in pixels; others are continued.
        least: How long they must be, likewise.
    """

    build: Callable[[], nn.Module]
    scale: int
    names: Mapping[str, str]
    floats: int
    redrawn: int = 0
    multiple: int = 1
    least: int = 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of network that enlarges images.

    Attributes:
        name: As users know it.
        detect: Whether names and shapes are those of such a network.
        plan: Tells which one. Raises ValueError, saying why, where it is one that cannot be built.
        blended: Whether its overlapping tiles are averaged as numbers, as WebUI does for SwinIR, rather than
            each rounded to 8 bits and laid over its neighbors.
    """

    name: str
    detect: Callable[[Shapes], bool]
    plan: Callable[[Shapes], NetworkPlan]
    blended: bool = False


def shape_of(shapes: Shapes, name: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a weight that must be there.

    Raises:
        ValueError: It is not, or has another number of axes.
    """
    shape = shapes.get(name)
    if shape is None:
        raise ValueError(f"it has no {name!r}")
    if len(shape) != axes or 0 in shape:
        raise ValueError(f"its {name!r} has the shape {list(shape)}")
    return shape


def pixel_factor(channels: int, name: str) -> int:
    """Return into how many pixels a side channels of colors unfold: 3 into 1, 12 into 2, 48 into 4.

    Raises:
        ValueError: They do not come out even; ``name`` is the weight that has them.
    """
    factor = isqrt(channels // COLORS)
    if factor == 0 or factor * factor * COLORS != channels:
        raise ValueError(f"its {name!r} has {channels} channels, which are no RGB pixels")
    return factor


def require_at_most(what: str, found: int, most: int) -> None:
    """Refuse what no network has, and what would take a machine's memory.

    Raises:
        ValueError: There are more.
    """
    if found > most:
        raise ValueError(f"it has {found} {what}; the most that are read are {most}")
