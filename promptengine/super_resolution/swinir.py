"""SwinIR: residual groups of Swin Transformer blocks.

Liang et al., "SwinIR: Image Restoration Using Swin Transformer" (arXiv 2108.10257); the blocks are those of Liu et al.,
"Swin Transformer" (arXiv 2103.14030): attention within windows that are shifted by half in every second block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt, log2
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, leaky_relu

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

__all__ = ["SWINIR", "SwinIR"]

_MEAN: Final = (0.4488, 0.4371, 0.4040)
"""Of each channel over the images that the published networks were trained on."""

_LEVELS_WINDOW: Final = 7
"""The window of the networks against JPEG artifacts, which alone count in levels from 0 to 255."""

_LEAST: Final = 16
_MASKED: Final = -100.0
"""Added to the attention between pixels that a shifted window brings together from opposite edges."""

_SLOPE: Final = 0.2
_MOST_CHANNELS: Final = 1024
_MOST_BLOCKS: Final = 256
_MOST_WINDOW: Final = 64
_RECOMPUTED: Final = (".relative_position_index", ".attn_mask")
"""Tables that files hold beside the weights, and that follow from the sizes."""

_BLOCK: Final = "layers.0.residual_group.blocks.0"

_Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", "none"]


@dataclass(frozen=True, slots=True)
class SwinIRSizes:
    """All that tells one SwinIR from another.

    Attributes:
        features: Width of the transformer.
        hidden: Width inside of its feed-forward layers.
        heads: Of attention, in each group.
        depths: Blocks in each group.
        window: Pixels of a window's side.
        qkv_bias: Whether the projections to queries, keys and values have a bias.
        patch_norm: Whether the first features are normalized.
        narrow: Whether groups end in three convolutions, the middle one narrower, in place of one.
        upsampler: How the result is enlarged.
        late: Width of the layers that enlarge it, where they have one of their own.
        scale: How many times a side grows.
    """

    features: int
    hidden: int
    heads: tuple[int, ...]
    depths: tuple[int, ...]
    window: int
    qkv_bias: bool
    patch_norm: bool
    narrow: bool
    upsampler: _Upsampler
    late: int
    scale: int


class _Attention(nn.Module):
    """Attention of the pixels within each window, with a bias for each distance."""

    def __init__(self, sizes: SwinIRSizes, heads: int) -> None:
        super().__init__()
        window, features = sizes.window, sizes.features
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(features, 3 * features, bias=sizes.qkv_bias)
        self.proj = nn.Linear(features, features)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows ``[windows, pixels, width]``; ``mask`` is ``[windows, pixels, pixels]``."""
        windows, pixels, width = x.shape
        split = self.qkv(x).view(windows, pixels, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
        scores = scores + self._bias(x.device)
        if mask is not None:
            scores = scores + mask[:, None]
        mixed = scores.softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(windows, pixels, width))

    def _bias(self, device: torch.device) -> Tensor:
        """Return what is added for each pair of pixels ``[heads, pixels, pixels]``."""
        side = torch.arange(self.window, device=device)
        rows, columns = (axis.flatten() for axis in torch.meshgrid(side, side, indexing="ij"))
        down = rows[:, None] - rows[None] + self.window - 1
        across = columns[:, None] - columns[None] + self.window - 1
        table = self.relative_position_bias_table[down * (2 * self.window - 1) + across]
        return table.permute(2, 0, 1)


class _FeedForward(nn.Module):
    def __init__(self, sizes: SwinIRSizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.features, sizes.hidden)
        self.fc2 = nn.Linear(sizes.hidden, sizes.features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class _Block(nn.Module):
    """Attention and a feed-forward layer, each with a way around it."""

    def __init__(self, sizes: SwinIRSizes, heads: int, *, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = sizes.window, sizes.window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(sizes.features)
        self.attn = _Attention(sizes, heads)
        self.norm2 = nn.LayerNorm(sizes.features)
        self.mlp = _FeedForward(sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Go through ``[images, height, width, features]``, whose sides are multiples of the window."""
        images, height, width, features = x.shape
        side, shift = self.window, self.shift
        seen = self.norm1(x)
        if shift:
            seen = seen.roll((-shift, -shift), (1, 2))
        tiled = seen.view(images, height // side, side, width // side, side, features)
        windows = tiled.transpose(2, 3).reshape(-1, side * side, features)
        made = self.attn(windows, mask if shift else None)
        tiled = made.view(images, height // side, width // side, side, side, features)
        made = tiled.transpose(2, 3).reshape(images, height, width, features)
        if shift:
            made = made.roll((shift, shift), (1, 2))
        x = x + made
        return x + self.mlp(self.norm2(x))


def _convolution(features: int, *, narrow: bool) -> nn.Module:
    """Return the convolution at the end of a group and of the body."""
    if not narrow:
        return nn.Conv2d(features, features, 3, padding=1)
    inner = features // 4
    return nn.Sequential(
        nn.Conv2d(features, inner, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(inner, inner, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(inner, features, 3, padding=1),
    )


class _Blocks(nn.Module):
    def __init__(self, sizes: SwinIRSizes, heads: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(sizes, heads, shifted=number % 2 == 1) for number in range(depth)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class _Group(nn.Module):
    """Blocks, a convolution, and a way around both."""

    def __init__(self, sizes: SwinIRSizes, heads: int, depth: int) -> None:
        super().__init__()
        self.residual_group = _Blocks(sizes, heads, depth)
        self.conv = _convolution(sizes.features, narrow=sizes.narrow)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        made = self.residual_group(x, mask).permute(0, 3, 1, 2)
        return self.conv(made).permute(0, 2, 3, 1) + x


class _PatchNorm(nn.Module):
    """Holds the norm of the first features under the name that files have for it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class SwinIR(nn.Module):
    """SwinIR's network.

    Args:
        sizes: Which one.
    """

    def __init__(self, sizes: SwinIRSizes) -> None:
        super().__init__()
        self.sizes, features = sizes, sizes.features
        self.conv_first = nn.Conv2d(COLORS, features, 3, padding=1)
        self.patch_embed = _PatchNorm(features) if sizes.patch_norm else nn.Identity()
        self.layers = nn.ModuleList(
            _Group(sizes, heads, depth)
            for heads, depth in zip(sizes.heads, sizes.depths, strict=True)
        )
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = _convolution(features, narrow=sizes.narrow)
        self._add_upsampler(sizes)

    def _add_upsampler(self, sizes: SwinIRSizes) -> None:
        features, late, scale = sizes.features, sizes.late, sizes.scale
        if sizes.upsampler == "none":
            self.conv_last = nn.Conv2d(features, COLORS, 3, padding=1)
            return
        if sizes.upsampler == "pixelshuffledirect":
            wide = nn.Conv2d(features, COLORS * scale**2, 3, padding=1)
            self.upsample = nn.Sequential(wide, nn.PixelShuffle(scale))
            return
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, late, 3, padding=1), nn.LeakyReLU()
        )
        if sizes.upsampler == "pixelshuffle":
            self.upsample = nn.Sequential(*_unfoldings(late, scale))
        else:
            for number in range(1, int(log2(scale)) + 1):
                self.add_module(f"conv_up{number}", nn.Conv2d(late, late, 3, padding=1))
            self.conv_hr = nn.Conv2d(late, late, 3, padding=1)
        self.conv_last = nn.Conv2d(late, COLORS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge ``[images, 3, height, width]`` by ``sizes.scale``."""
        height, width = (side * self.sizes.scale for side in (x.shape[2], x.shape[3]))
        mean = x.new_tensor(_MEAN).view(1, COLORS, 1, 1)
        levels = 255.0 if self.sizes.window == _LEVELS_WINDOW else 1.0
        x = (pad_to_multiple(x, self.sizes.window) - mean) * levels
        first = self.conv_first(x)
        deep = self.conv_after_body(self._body(first)) + first
        x = x + self.conv_last(deep) if self.sizes.upsampler == "none" else self._enlarged(deep)
        return x[:, :, :height, :width] / levels + mean

    def _body(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        mask = _shift_mask(x.shape[1], x.shape[2], self.sizes.window, x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x).permute(0, 3, 1, 2)

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.sizes.upsampler == "pixelshuffledirect":
            return self.upsample(x)
        x = self.conv_before_upsample(x)
        if self.sizes.upsampler == "pixelshuffle":
            return self.conv_last(self.upsample(x))
        for number in range(1, int(log2(self.sizes.scale)) + 1):
            larger = interpolate(x, scale_factor=2, mode="nearest")
            x = leaky_relu(self.get_submodule(f"conv_up{number}")(larger), _SLOPE)
        return self.conv_last(leaky_relu(self.conv_hr(x), _SLOPE))


def _unfoldings(features: int, scale: int) -> list[nn.Module]:
    factors = [3] if scale == 3 else [2] * int(log2(scale))
    return [
        layer
        for factor in factors
        for layer in (
            nn.Conv2d(features, features * factor**2, 3, padding=1),
            nn.PixelShuffle(factor),
        )
    ]


def _shift_mask(height: int, width: int, window: int, like: Tensor) -> Tensor:
    """Return what is added to the attention in shifted windows ``[windows, pixels, pixels]``."""
    shift = window // 2

    def bands(side: int) -> Tensor:
        place = torch.arange(side, device=like.device)
        return (place >= side - window).int() + (place >= side - shift).int()

    areas = bands(height)[:, None] * 3 + bands(width)[None]
    tiled = areas.view(height // window, window, width // window, window)
    windows = tiled.transpose(1, 2).reshape(-1, window * window)
    apart = windows[:, :, None] != windows[:, None]
    return apart.to(like.dtype) * _MASKED


def _detect(shapes: Shapes) -> bool:
    return f"{_BLOCK}.norm1.weight" in shapes and "conv_first.weight" in shapes


def _plan(shapes: Shapes) -> NetworkPlan:
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(_RECOMPUTED)}
    sizes = _sizes(shapes)
    linear = [
        shape[0] * shape[1]
        for name, shape in shapes.items()
        if len(shape) == 2 and name.endswith(".weight")
    ]
    tables = [
        shape[0] * shape[1]
        for name, shape in shapes.items()
        if name.endswith(".relative_position_bias_table")
    ]
    attention = 3 * max(sizes.heads) * sizes.window**2
    late = (sizes.late or COLORS) * sizes.scale**2
    return NetworkPlan(
        build=partial(SwinIR, sizes),
        scale=sizes.scale,
        names={name: name for name in shapes},
        floats=attention + 8 * sizes.features + 2 * sizes.hidden + 4 * late,
        redrawn=sum(linear) + sum(tables),
        least=_LEAST,
    )


def _sizes(shapes: Shapes) -> SwinIRSizes:
    features, channels, *_ = shape_of(shapes, "conv_first.weight", 4)
    if channels != COLORS:
        raise ValueError(f"its 'conv_first.weight' reads {channels} channels; images here have 3")
    if "absolute_pos_embed" in shapes:
        raise ValueError("it adds an embedding to each place, which fits one size of image alone")
    distances = shape_of(shapes, f"{_BLOCK}.attn.relative_position_bias_table", 2)[0]
    window = (isqrt(distances) + 1) // 2
    hidden = shape_of(shapes, f"{_BLOCK}.mlp.fc1.weight", 2)[0]
    depths = _depths(shapes)
    require_at_most("blocks", sum(depths), _MOST_BLOCKS)
    heads = tuple(
        shape_of(
            shapes, f"layers.{n}.residual_group.blocks.0.attn.relative_position_bias_table", 2
        )[1]
        for n in range(len(depths))
    )
    require_at_most("channels", max(features, hidden // 4), _MOST_CHANNELS)
    require_at_most("pixels to a window's side", window, _MOST_WINDOW)
    if any(features % count for count in heads):
        raise ValueError(f"its {features} channels do not divide into {max(heads)} heads")
    upsampler, late, scale = _upsampler(shapes)
    return SwinIRSizes(
        features=features,
        hidden=hidden,
        heads=heads,
        depths=depths,
        window=window,
        qkv_bias=f"{_BLOCK}.attn.qkv.bias" in shapes,
        patch_norm="patch_embed.norm.weight" in shapes,
        narrow="conv_after_body.0.weight" in shapes,
        upsampler=upsampler,
        late=late,
        scale=scale,
    )


def _depths(shapes: Shapes) -> tuple[int, ...]:
    """Blocks in each group."""
    found: dict[int, set[int]] = {}
    for name in shapes:
        match name.split("."):
            case ["layers", group, "residual_group", "blocks", block, *_] if (
                group.isdecimal() and block.isdecimal()
            ):
                found.setdefault(int(group), set()).add(int(block))
            case _:
                pass
    if sorted(found) != list(range(len(found))):
        raise ValueError("its groups are not numbered from 0 on")
    return tuple(len(found[group]) for group in range(len(found)))


def _upsampler(shapes: Shapes) -> tuple[_Upsampler, int, int]:
    """Return how it enlarges, the width of the layers for that, and how many times."""
    if "conv_before_upsample.0.weight" not in shapes:
        if "upsample.0.weight" not in shapes:
            return "none", 0, 1
        wide = shape_of(shapes, "upsample.0.weight", 4)[0]
        scale = pixel_factor(wide, "upsample.0.weight")
        require_at_most("times the size", scale, 16)
        return "pixelshuffledirect", 0, scale
    late = shape_of(shapes, "conv_before_upsample.0.weight", 4)[0]
    require_at_most("channels", late, _MOST_CHANNELS)
    ups = _numbered(shapes, "conv_up{}.weight", 1, 1)
    if ups:
        require_at_most("doublings", len(ups), 4)
        return "nearest+conv", late, 2 ** len(ups)
    unfoldings = _numbered(shapes, "upsample.{}.weight", 0, 2)
    require_at_most("doublings", len(unfoldings), 4)
    factors = [isqrt(shape[0] // late) for shape in unfoldings]
    if factors == [3]:
        return "pixelshuffle", late, 3
    if not factors or set(factors) != {2}:
        raise ValueError("its last layers enlarge in no way that SwinIR does")
    return "pixelshuffle", late, 2 ** len(factors)


def _numbered(shapes: Shapes, form: str, start: int, step: int) -> Sequence[tuple[int, ...]]:
    """Return the shapes of weights whose names count up, until one is missing."""
    found: list[tuple[int, ...]] = []
    while (shape := shapes.get(form.format(start + step * len(found)))) is not None:
        found.append(shape)
    return found


SWINIR: Final = Architecture("SwinIR", _detect, _plan, blended=True)
"""SwinIR for classical, lightweight and real-world super-resolution, and for noise and JPEG artifacts."""
