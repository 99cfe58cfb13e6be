"""Images of unfinished latents, rough but cheap: a linear map from latents to colors, no VAE."""

from __future__ import annotations

from typing import Final

import torch
from PIL import Image
from torch import Tensor

from promptengine.checkpoints.load import Checkpoint
from promptengine.checkpoints.vae_codec import decode_latents
from promptengine.families import FAMILIES, LatentToRGB

__all__ = ["LatentToRGB", "fit_latent_to_rgb", "preview_images"]


_THEIR_WIDTHS: Final = (128, 256, 512, 512)
_SAMPLES, _CELLS = 64, 4


def fit_latent_to_rgb(checkpoint: Checkpoint) -> LatentToRGB:
    """Return what the latents of a checkpoint mean.

    A VAE that is built otherwise than Stable Diffusion's is asked: it decodes small plain latents, and the
    map is fitted to their colors.
    """
    if tuple(checkpoint.vae.config.block_out_channels) == _THEIR_WIDTHS:  # type: ignore[union-attr]
        return FAMILIES[checkpoint.family].latent_to_rgb
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
