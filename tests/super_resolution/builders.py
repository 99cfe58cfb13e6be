"""Small upscalers with random weights, in the layouts of the programs that write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from promptengine.super_resolution.compact import CompactNet
from promptengine.super_resolution.rrdb import RRDBNet
from promptengine.super_resolution.swinir import SwinIR, SwinIRSizes

Layout = Literal["old", "middle", "new"]


def weights_of(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.1
        for name, tensor in module.state_dict().items()
    }


def rrdb(
    *, layout: Layout = "new", doublings: int = 2, unfolded: int = 1, blocks: int = 1
) -> dict[str, Tensor]:
    """ESRGAN's weights by the names that one of its programs gives them."""
    module = RRDBNet(features=4, growth=2, blocks=blocks, doublings=doublings, unfolded=unfolded)
    return {named(name, layout, doublings, blocks): t for name, t in weights_of(module).items()}


def named(name: str, layout: Layout, doublings: int, blocks: int) -> str:
    part, *inner, kind = name.split(".")
    if layout == "new":
        return name
    if part == "body":
        number, dense, conv = inner
        dense = dense.upper()
        if layout == "middle":
            return f"RRDB_trunk.{number}.{dense}.{conv}.{kind}"
        return f"model.1.sub.{number}.{dense}.{conv}.0.{kind}"
    last = 3 * doublings + 4
    if layout == "middle":
        short = {"conv_body": "trunk_conv", "conv_hr": "HRconv"}
        return f"{short.get(part, part.replace('conv_up', 'upconv'))}.{kind}"
    places = {"conv_first": "0", "conv_body": f"1.sub.{blocks}", "conv_hr": f"{last - 2}"}
    places |= {"conv_last": f"{last}", **{f"conv_up{n}": f"{3 * n}" for n in range(1, 5)}}
    return f"model.{places[part]}.{kind}"


def compact(*, scale: int = 4, convolutions: int = 2) -> dict[str, Tensor]:
    return weights_of(CompactNet(features=4, convolutions=convolutions, scale=scale))


def nearest_compact(scale: int = 2) -> dict[str, Tensor]:
    """Weights of a network that only repeats every pixel."""
    return {name: t * 0 for name, t in compact(scale=scale).items()}


def swinir(**changes: Any) -> dict[str, Tensor]:
    usual: dict[str, Any] = {
        "features": 8,
        "hidden": 16,
        "heads": (2, 4),
        "depths": (2, 2),
        "window": 4,
        "qkv_bias": True,
        "patch_norm": True,
        "narrow": False,
        "upsampler": "nearest+conv",
        "late": 6,
        "scale": 4,
    }
    return weights_of(SwinIR(SwinIRSizes(**(usual | changes))))


def write(path: Path, weights: Mapping[str, Tensor], wrapper: str | None = "params_ema") -> Path:
    """Write a file as training programs do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(weights) if wrapper is None else {wrapper: dict(weights)}, path)
    return path
