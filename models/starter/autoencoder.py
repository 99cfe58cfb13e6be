"""The VAE: 128-pixel pictures to 16 x 16 x 4 latents and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from models.starter.loop import Trainer, plain_attention, rate_at, steps_left
from models.starter.recipe import Recipe

__all__ = ["encode_all", "polish_decoder", "train_autoencoder"]

KL_WEIGHT = 1e-5
"""Just enough to keep latents from drifting apart; reconstruction is what matters here."""

SCALE = 0.18215
"""Stable Diffusion 1's latent scale; the finished VAE's latents are brought to ``1 / SCALE``."""

LEFT_NOISE = 0.1
"""The most noise that polishing adds to latents, whose own spread is 1."""


def as_pixels(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """8-bit ``[batch, height, width, 3]`` to -1..1 ``[batch, 3, height, width]``."""
    levels = torch.from_numpy(np.array(pictures)).to(device)
    return levels.permute(0, 3, 1, 2).float() / 127.5 - 1


def train_autoencoder(
    recipe: Recipe, pictures: NDArray[np.uint8], folder: Path, device: torch.device
) -> nn.Module:
    """Train the VAE, or take it from ``folder`` if it is finished.

    The loss is the error of pixels, absolute and squared, and more and more of their differences
    to the right and below. Those keep the edges of flat shapes sharp where squares blur them, but
    from the first step on they would reward a picture without any edge.

    Returns:
        diffusers' ``AutoencoderKL`` in evaluation mode whose latents have a spread of ``1 / SCALE``.
    """
    torch.manual_seed(recipe.seed)
    vae: Any = AutoencoderKL(**recipe.vae_config())
    _initialise(vae)
    trainer = Trainer(vae, folder / "vae.pt", averaging=0.999, device=device)
    for step in steps_left(trainer, recipe.vae_steps):
        rng = np.random.default_rng((recipe.seed, step))
        pixels = as_pixels(
            _batch(recipe, pictures, rng, whole=step > 0.9 * recipe.vae_steps), device
        )
        with plain_attention(), torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            spread = torch.randn(
                posterior.mean.shape, generator=torch.Generator().manual_seed(step)
            )
            decoded = vae.decode(posterior.mean + posterior.std * spread.to(device)).sample.float()
        loss = (
            _error(decoded, pixels, step / recipe.vae_steps)
            + KL_WEIGHT * posterior.kl().float().mean()
        )
        trainer.update(loss, rate_at(step, recipe.vae_steps, recipe.vae_rate))
    vae.load_state_dict(trainer.averaged)
    vae.eval().requires_grad_(False)
    _normalise(vae, as_pixels(pictures[:256], device))
    return vae


def _batch(
    recipe: Recipe, pictures: NDArray[np.uint8], rng: np.random.Generator, *, whole: bool
) -> NDArray[np.uint8]:
    size, crop = recipe.size, recipe.vae_crop
    if whole:
        return pictures[np.sort(rng.integers(len(pictures), size=max(recipe.vae_batch // 2, 1)))]
    rows = rng.integers(len(pictures), size=recipe.vae_batch)
    corners = rng.integers(size - crop + 1, size=(recipe.vae_batch, 2))
    crops = [
        pictures[r, y : y + crop, x : x + crop] for r, (y, x) in zip(rows, corners, strict=True)
    ]
    return np.stack(crops)


def _initialise(vae: nn.Module) -> None:
    """Start with convolutions that keep the signal's spread and residual blocks that add nothing.

    With torch's own start, five times smaller, the colours take thousands of steps to come through.
    """
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
            if name.endswith("conv2"):
                nn.init.normal_(module.weight, std=1e-3)


def _error(decoded: Tensor, pixels: Tensor, sharpness: float) -> Tensor:
    difference = decoded - pixels
    edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
    return difference.abs().mean() + 2 * difference.square().mean() + sharpness * edges


def _normalise(vae: Any, pixels: Tensor) -> None:
    """Scale the latents inside the VAE, so that the usual factor of 0.18215 fits."""
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mode() for part in pixels.split(32)])
        factor = 1 / (SCALE * latents.std())
        channels = len(vae.quant_conv.bias) // 2
        vae.quant_conv.weight[:channels] *= factor
        vae.quant_conv.bias[:channels] *= factor
        # The other half are logarithms of variances.
        vae.quant_conv.bias[channels:] += 2 * factor.log()
        vae.post_quant_conv.weight /= factor


def encode_all(
    recipe: Recipe, vae: Any, pictures: NDArray[np.uint8], folder: Path, device: torch.device
) -> Tensor:
    """Encode every picture, or read what was encoded before.

    Returns:
        ``[pictures, 4, size / 8, size / 8]``, float16, scaled as the UNet has them. The mode of the
        posterior: its spread is far below what the sampler leaves.
    """
    path = folder / "latents.pt"
    if path.is_file():
        return torch.load(path, weights_only=True)
    latents: list[Tensor] = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for start in range(0, recipe.pictures, 64):
            mode = vae.encode(as_pixels(pictures[start : start + 64], device)).latent_dist.mode()
            latents.append((mode.float() * SCALE).half().cpu())
    torch.save(torch.cat(latents), path)
    return torch.cat(latents)


def polish_decoder(
    recipe: Recipe,
    vae: Any,
    latents: Tensor,
    pictures: NDArray[np.uint8],
    folder: Path,
    *,
    device: torch.device,
) -> None:
    """Train the decoder alone, in place, on whole pictures and their finished latents.

    The latents get a little noise, as much as a sampler leaves in them, and edges count in full.

    Args:
        recipe: Sizes and budget.
        vae: The finished VAE; its encoder stays as it is.
        latents: ``[pictures, 4, size / 8, size / 8]``, scaled.
        pictures: ``[pictures, size, size, 3]``.
        folder: Where the state is kept.
        device: Where to train.
    """
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    trainer = Trainer(decoder, folder / "decoder.pt", averaging=0.999, device=device)
    for step in steps_left(trainer, recipe.polish_steps):
        rng = np.random.default_rng((recipe.seed, step, 1))
        rows = np.sort(rng.integers(len(pictures), size=max(recipe.vae_batch // 2, 1)))
        pixels = as_pixels(pictures[rows], device)
        clean = latents[rows].float()
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        given = (clean + noise * float(rng.random() * LEFT_NOISE)) / SCALE
        with plain_attention(), torch.autocast(device.type, torch.bfloat16):
            decoded = vae.decode(given.to(device)).sample.float()
        rate = rate_at(step, recipe.polish_steps, recipe.vae_rate / 2)
        trainer.update(_error(decoded, pixels, 1.0), rate)
    decoder.load_state_dict(trainer.averaged)
    decoder.requires_grad_(False)
