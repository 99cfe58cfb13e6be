"""Real-ESRGAN's compact networks (SRVGGNetCompact): plain convolutions and one unfolding at the end.

From "Real-ESRGAN" (arXiv 2107.10833) and its small models for videos and anime.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from promptengine.super_resolution.architecture import (
    COLORS,
    Architecture,
    NetworkPlan,
    Shapes,
    pixel_factor,
    require_at_most,
    shape_of,
)

__all__ = ["COMPACT", "CompactNet"]

_MOST_CHANNELS: Final = 1024
_MOST_LAYERS: Final = 512


class CompactNet(nn.Module):
    """Convolutions at the image's own size; what they add to its nearest enlargement is unfolded at the end.

    Args:
        features: Their width.
        convolutions: How many between the first and the last.
        scale: How many times a side grows.
    """

    def __init__(self, *, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for number in range(convolutions + 1):
            seen = features if number else COLORS
            layers += [nn.Conv2d(seen, features, 3, padding=1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, COLORS * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge ``[images, 3, height, width]`` by ``scale``."""
        added = pixel_shuffle(self.body(x), self.scale)
        return added + interpolate(x, scale_factor=self.scale, mode="nearest")


def _detect(shapes: Shapes) -> bool:
    return "body.0.weight" in shapes and all(name.startswith("body.") for name in shapes)


def _plan(shapes: Shapes) -> NetworkPlan:
    features, channels, *_ = shape_of(shapes, "body.0.weight", 4)
    if channels != COLORS:
        raise ValueError(f"its 'body.0.weight' reads {channels} channels; images here have 3")
    places = sorted({int(part) for name in shapes if (part := name.split(".")[1]).isdecimal()})
    last = places[-1]
    require_at_most("layers", last, _MOST_LAYERS)
    if len(places) != last + 1 or last % 2:
        raise ValueError("its layers are not convolutions and PReLUs in turn")
    require_at_most("channels", features, _MOST_CHANNELS)
    scale = pixel_factor(shape_of(shapes, f"body.{last}.weight", 4)[0], f"body.{last}.weight")
    require_at_most("times the size", scale, 16)
    return NetworkPlan(
        build=partial(CompactNet, features=features, convolutions=last // 2 - 1, scale=scale),
        scale=scale,
        names={name: name for name in shapes},
        floats=4 * features + 3 * COLORS * scale**2,
    )


COMPACT: Final = Architecture("Compact", _detect, _plan)
"""Real-ESRGAN's compact networks, such as ``realesr-animevideov3`` and ``realesr-general-x4v3``."""
