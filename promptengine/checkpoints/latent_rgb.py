"""Images of unfinished latents, rough but cheap: a linear map from latents to colors, no VAE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from promptengine.checkpoints.load import Checkpoint
from promptengine.checkpoints.vae_codec import decode_latents
from promptengine.families import Family

__all__ = ["LatentToRGB", "fit_latent_to_rgb", "preview_images"]


@dataclass(frozen=True, slots=True)
class LatentToRGB:
    """What the channels of latents mean, in red, green and blue of -1 to 1.

    Attributes:
        channels: What each adds, ``[channels, 3]``.
        offset: What there is without, ``[3]``.
    """

    channels: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]


_SD: Final = LatentToRGB(
    (
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
    (0.0, 0.0, 0.0),
)
_SDXL: Final = LatentToRGB(
    (
        (0.471, 0.471, 0.471),
        (-0.471, -0.039, 0.078),
        (0.196, 0.118, -0.039),
        (-0.549, -0.392, -0.275),
    ),
    (0.176, 0.098, 0.02),
)
_MAPS: Final[Mapping[Family, LatentToRGB]] = {"SD1": _SD, "SD2": _SD, "SDXL": _SDXL}
"""Fitted by others to the VAEs that nearly all models of a family have."""

_THEIR_WIDTHS: Final = (128, 256, 512, 512)
_SAMPLES, _CELLS = 64, 4


def fit_latent_to_rgb(checkpoint: Checkpoint) -> LatentToRGB:
    """What the latents of a checkpoint mean.

    A VAE that is built otherwise than Stable Diffusion's is asked: it decodes small plain latents, and the
    map is fitted to their colors.
    """
    if tuple(checkpoint.vae.config.block_out_channels) == _THEIR_WIDTHS:  # type: ignore[union-attr]
        return _MAPS[checkpoint.family]
    noise = torch.Generator().manual_seed(0)
    plain = torch.randn(_SAMPLES, checkpoint.latent_channels, generator=noise)
    latents = plain[..., None, None].expand(-1, -1, _CELLS, _CELLS)
    colors = decode_latents(checkpoint, latents).clamp(-1, 1).mean((2, 3)).cpu()
    known = torch.cat([plain, torch.ones(_SAMPLES, 1)], dim=1)
    *channels, offset = torch.linalg.lstsq(known, colors).solution.tolist()
    return LatentToRGB(tuple(map(tuple, channels)), tuple(offset))


def preview_images(latents: Tensor, colors: LatentToRGB) -> list[Image.Image]:
    """Small images of latents, one pixel for each cell.

    Args:
        latents: ``[images, channels, height, width]``, without noise.
        colors: What the channels mean.
    """
    x = latents.detach().to("cpu", torch.float32)
    mixed = torch.einsum("nchw,cr->nhwr", x, torch.tensor(colors.channels))
    pixels = ((mixed + torch.tensor(colors.offset) + 1) * 127.5).nan_to_num(0).clamp(0, 255)
    return [Image.fromarray(one.numpy()) for one in pixels.to(torch.uint8)]
