"""Rough images of latents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from promptengine import Engine
from promptengine.checkpoints.latent_rgb import LatentToRGB, fit_latent_to_rgb, preview_images
from promptengine.checkpoints.vae_codec import decode_latents

STARTER = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "starter.safetensors"


def known(family: str) -> LatentToRGB:
    vae = SimpleNamespace(config=SimpleNamespace(block_out_channels=(128, 256, 512, 512)))
    checkpoint: Any = SimpleNamespace(vae=vae, family=family)
    return fit_latent_to_rgb(checkpoint)


@pytest.mark.parametrize("family", ["SD1", "SD2", "SDXL"])
def test_a_rough_image_has_a_pixel_for_each_cell(family: str) -> None:
    first, second = preview_images(torch.zeros(2, 4, 6, 8), known(family))
    assert first.size == second.size == (8, 6)
    assert all(120 <= value <= 155 for value in first.getpixel((0, 0)))


def test_values_that_are_no_numbers_do_no_harm() -> None:
    latents = torch.full((1, 4, 2, 2), float("nan"))
    latents[0, :, 0, 0] = 1e30
    assert preview_images(latents, known("SD1"))[0].size == (2, 2)


def test_a_bright_channel_makes_a_bright_image() -> None:
    bright = torch.zeros(1, 4, 1, 1)
    bright[0, 0] = 3.0
    assert preview_images(bright, known("SD1"))[0].getpixel((0, 0)) > (200, 170, 170)
    assert preview_images(-bright, known("SD1"))[0].getpixel((0, 0)) < (60, 60, 60)


def test_a_vae_of_its_own_is_shown_in_its_own_colors() -> None:
    """Plain latents that the map has not seen have about the colors that the VAE decodes them to."""
    checkpoint = Engine.open(STARTER, device="cpu").checkpoint
    plain = torch.randn(24, 4, 1, 1, generator=torch.Generator().manual_seed(1))
    latents = plain.expand(-1, -1, 4, 4)
    true = (decode_latents(checkpoint, latents).clamp(-1, 1).mean((2, 3)) + 1) * 127.5
    own = colors(latents, fit_latent_to_rgb(checkpoint))
    others = colors(latents, known("SD1"))
    error, usual = (np.abs(seen - true.numpy()).mean() for seen in (own, others))
    assert error < 35
    assert error < usual / 2


def colors(latents: torch.Tensor, by: LatentToRGB) -> np.ndarray[Any, Any]:
    """The first pixel of each rough image."""
    return np.array([image.getpixel((0, 0)) for image in preview_images(latents, by)], float)
