"""Pictures of unfinished latents, rough but cheap: a linear map from latents to colours, no VAE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from promptengine.families import Family

__all__ = ["rough_pictures"]

_Map = tuple[tuple[tuple[float, float, float], ...], tuple[float, float, float]]

_SD: Final[_Map] = (
    (
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
    (0.0, 0.0, 0.0),
)
_SDXL: Final[_Map] = (
    (
        (0.471, 0.471, 0.471),
        (-0.471, -0.039, 0.078),
        (0.196, 0.118, -0.039),
        (-0.549, -0.392, -0.275),
    ),
    (0.176, 0.098, 0.02),
)
_MAPS: Final[Mapping[Family, _Map]] = {"SD1": _SD, "SD2": _SD, "SDXL": _SDXL}
"""Red, green and blue of -1 to 1 for each channel, and for none; fitted by others to these VAEs."""


def rough_pictures(latents: Tensor, family: Family) -> list[Image.Image]:
    """Small pictures of latents, one pixel for each cell.

    Args:
        latents: ``[images, 4, height, width]``, without noise.
        family: Of the model, which decides what the channels mean.
    """
    channels, offset = _MAPS[family]
    x = latents.detach().to("cpu", torch.float32)
    colours = torch.einsum("nchw,cr->nhwr", x, torch.tensor(channels)) + torch.tensor(offset)
    pixels = ((colours + 1) * 127.5).nan_to_num(0).clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(one.numpy()) for one in pixels]
