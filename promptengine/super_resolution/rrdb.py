"""ESRGAN and Real-ESRGAN: residual-in-residual dense blocks.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks" (arXiv 1809.00219), and "Real-ESRGAN"
(arXiv 2107.10833), whose networks for smaller factors begin by unfolding pixels into channels.

Files come in three layouts with other names for the same weights: that of the first ESRGAN files, numbered along one
sequence (``model.1.sub.0.RDB1.conv1.0``), its successor's (``RRDB_trunk.0.RDB1.conv1``, also BSRGAN's), and
Real-ESRGAN's (``body.0.rdb1.conv1``), which is the one used here.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle

from promptengine.super_resolution.architecture import (
    COLORS,
    Architecture,
    NetworkPlan,
    Shapes,
    pixel_factor,
    require_at_most,
    shape_of,
)
from promptengine.super_resolution.padding import pad_to_multiple

__all__ = ["RRDB", "RRDBNet"]

_SLOPE: Final = 0.2
_RESIDUAL: Final = 0.2
_DENSE: Final = 5
"""Convolutions in a dense block."""

_MULTIPLE: Final = 4
"""Of the sides, where pixels are unfolded; WebUI asks for it whether two or four of them are."""

_LEAST: Final = 2
_MOST_CHANNELS: Final = 1024
_MOST_BLOCKS: Final = 256
_MOST_DOUBLINGS: Final = 4

_OLD_DENSE: Final = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(\w+)")
_OLD_TRUNK: Final = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
_OLD_PLAIN: Final = re.compile(r"model\.(\d{1,2})\.(weight|bias)")
_MIDDLE_DENSE: Final = re.compile(r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.(\w+)")
_MIDDLE_NAMES: Final = {"trunk_conv": "conv_body", "HRconv": "conv_hr"}


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it made."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, _DENSE + 1):
            seen = features + (number - 1) * growth
            made = features if number == _DENSE else growth
            self.add_module(f"conv{number}", nn.Conv2d(seen, made, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for number in range(1, _DENSE):
            made = self.get_submodule(f"conv{number}")(torch.cat(seen, 1))
            seen.append(leaky_relu(made, _SLOPE))
        return self.get_submodule(f"conv{_DENSE}")(torch.cat(seen, 1)) * _RESIDUAL + x


class _ResidualBlock(nn.Module):
    """Three dense blocks and a way around them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(features, growth)
        self.rdb2 = _DenseBlock(features, growth)
        self.rdb3 = _DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * _RESIDUAL + x


class RRDBNet(nn.Module):
    """ESRGAN's generator.

    Args:
        features: Width of the trunk.
        growth: Channels that each dense convolution adds.
        blocks: How many residual blocks.
        doublings: How often the result is doubled in size.
        unfolded: How many pixels of a side are unfolded into channels first.
    """

    def __init__(
        self, *, features: int, growth: int, blocks: int, doublings: int, unfolded: int
    ) -> None:
        super().__init__()
        self.doublings, self.unfolded = doublings, unfolded
        self.conv_first = nn.Conv2d(COLORS * unfolded**2, features, 3, padding=1)
        self.body = nn.Sequential(*(_ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for number in range(1, doublings + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, COLORS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge ``[images, 3, height, width]`` by ``2**doublings / unfolded``."""
        height, width = (
            side * 2**self.doublings // self.unfolded for side in (x.shape[2], x.shape[3])
        )
        if self.unfolded > 1:
            x = pixel_unshuffle(pad_to_multiple(x, self.unfolded), self.unfolded)
        first = self.conv_first(x)
        x = first + self.conv_body(self.body(first))
        for number in range(1, self.doublings + 1):
            larger = interpolate(x, scale_factor=2, mode="nearest")
            x = leaky_relu(self.get_submodule(f"conv_up{number}")(larger), _SLOPE)
        x = self.conv_last(leaky_relu(self.conv_hr(x), _SLOPE))
        return x[:, :, :height, :width]


def _detect(shapes: Shapes) -> bool:
    return any(
        name in shapes
        for name in (
            "model.1.sub.0.RDB1.conv1.0.weight",
            "RRDB_trunk.0.RDB1.conv1.weight",
            "body.0.rdb1.conv1.weight",
        )
    )


def _plan(shapes: Shapes) -> NetworkPlan:
    names = _canonical_names(shapes)
    own = {name: shapes[there] for name, there in names.items()}
    features, channels, *_ = shape_of(own, "conv_first.weight", 4)
    growth = shape_of(own, "body.0.rdb1.conv1.weight", 4)[0]
    unfolded = pixel_factor(channels, names["conv_first.weight"])
    doublings = sum(name.startswith("conv_up") and name.endswith(".weight") for name in own)
    blocks = len({name.split(".")[1] for name in own if name.startswith("body.")})
    widest = features + (_DENSE - 1) * growth
    require_at_most("channels", widest, _MOST_CHANNELS)
    require_at_most("blocks", blocks, _MOST_BLOCKS)
    require_at_most("doublings", doublings, _MOST_DOUBLINGS)
    if 2**doublings % unfolded:
        raise ValueError(f"it would make images smaller: {2**doublings}/{unfolded} times")
    scale = 2**doublings // unfolded
    return NetworkPlan(
        build=partial(
            RRDBNet,
            features=features,
            growth=growth,
            blocks=blocks,
            doublings=doublings,
            unfolded=unfolded,
        ),
        scale=scale,
        names=names,
        floats=2 * widest + 4 * features * scale**2,
        multiple=_MULTIPLE if unfolded > 1 else 1,
        least=_LEAST,
    )


def _canonical_names(shapes: Shapes) -> dict[str, str]:
    """Return the file's name of each weight by the name that it has here; one of no layout keeps its own."""
    plain = [int(found[1]) for name in shapes if (found := _OLD_PLAIN.fullmatch(name))]
    last = max(plain, default=0)
    return {_canonical(name, last): name for name in shapes}


def _canonical(name: str, last: int) -> str:
    if found := _OLD_DENSE.fullmatch(name) or _MIDDLE_DENSE.fullmatch(name):
        block, dense, conv, kind = found.groups()
        return f"body.{block}.rdb{dense}.conv{conv}.{kind}"
    if found := _OLD_TRUNK.fullmatch(name):
        return f"conv_body.{found[1]}"
    if found := _OLD_PLAIN.fullmatch(name):
        place = int(found[1])
        # Between the trunk and the last two convolutions, every doubling takes three places.
        special = {0: "conv_first", last - 2: "conv_hr", last: "conv_last"}
        return f"{special.get(place, f'conv_up{place // 3}')}.{found[2]}"
    part, dot, kind = name.partition(".")
    return _MIDDLE_NAMES.get(part, part.replace("upconv", "conv_up")) + dot + kind


RRDB: Final = Architecture("ESRGAN", _detect, _plan)
"""ESRGAN, Real-ESRGAN and what else is built of these blocks, such as BSRGAN."""
