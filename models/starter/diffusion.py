"""UNet and text model, trained together on the latents of the drawn pictures and their captions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from models.starter.loop import Trainer, plain_attention, rate_at, steps_left
from models.starter.pictures import scene_of, style_of
from models.starter.recipe import Recipe
from models.starter.world import caption, full_caption, in_style
from promptengine.prompt import attention
from promptengine.sampling.sigmas import scaled_linear_alphas
from promptengine.text.chunks import chunk_fragments

__all__ = ["Diffusion", "train_diffusion"]

SIGNAL_CAP = 5.0
"""Steps with less noise than this signal-to-noise ratio count less: Hang et al., arXiv:2303.09556."""


class Diffusion(nn.Module):
    """UNet and text model as one module, so that one optimizer and one average hold both."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        unet: Any = UNet2DConditionModel(**recipe.unet_config())
        # Processors convolve an eighth faster in this layout.
        self.unet: Any = unet.to(memory_format=torch.channels_last)
        self.text: Any = CLIPTextModel(CLIPTextConfig(**recipe.text_config()))

    def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        """Predict the noise in ``x`` ``[batch, 4, height, width]`` for ``tokens`` ``[batch, 77]``."""
        context = self.text(input_ids=tokens).last_hidden_state
        x = x.contiguous(memory_format=torch.channels_last)
        return self.unet(x, timestep, context, return_dict=False)[0]


def train_diffusion(
    recipe: Recipe, latents: Tensor, folder: Path, device: torch.device
) -> Diffusion:
    """Train to predict noise, or go on where ``folder`` says a run stopped.

    Args:
        recipe: Sizes and budget.
        latents: ``[pictures, 4, height, width]``, scaled.
        folder: Where the state is kept.
        device: Where to train; bfloat16 autocast everywhere.

    Returns:
        The averaged weights, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    model = Diffusion(recipe)
    trainer = Trainer(model, folder / "diffusion.pt", averaging=recipe.averaging, device=device)
    alphas = scaled_linear_alphas().float().to(device)
    for step in steps_left(trainer, recipe.unet_steps):
        rows, tokens = _captions(recipe, step)
        generator = torch.Generator().manual_seed(step)
        clean = latents[rows].float().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timestep = torch.randint(len(alphas), (len(rows),), generator=generator).to(device)
        alpha = alphas[timestep][:, None, None, None]
        noised = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with plain_attention(), torch.autocast(device.type, torch.bfloat16):
            predicted = model(noised, timestep, tokens.to(device)).float()
        ratio = (alpha / (1 - alpha)).flatten()
        weight = ratio.clamp(max=SIGNAL_CAP) / ratio
        loss = ((predicted - noise).square().mean(dim=(1, 2, 3)) * weight).mean()
        trainer.update(loss, rate_at(step, recipe.unet_steps, recipe.unet_rate, hold=0.7))
    model.load_state_dict(trainer.averaged)
    return model.eval().requires_grad_(False)


def _captions(recipe: Recipe, step: int) -> tuple[list[int], Tensor]:
    """A batch's pictures, and their captions as tokens ``[batch, 77]``."""
    rng = random.Random(f"{recipe.seed}/{step}")
    rows = [_fuller(recipe, rng) for _ in range(recipe.unet_batch)]
    texts = [
        "" if rng.random() < recipe.unconditional else _caption(recipe, row, rng) for row in rows
    ]
    chunks = [chunk_fragments(attention(text))[0] for text in texts]
    return rows, torch.tensor([chunk.tokens for chunk in chunks])


def _fuller(recipe: Recipe, rng: random.Random) -> int:
    """Of two pictures the one with more kinds of things: lone things are learnt soon enough."""
    pair = [rng.randrange(recipe.pictures) for _ in range(2)]
    return max(pair, key=lambda row: len(scene_of(row).groups))


def _caption(recipe: Recipe, row: int, rng: random.Random) -> str:
    scene = scene_of(row)
    text = full_caption(scene) if rng.random() < recipe.stated else caption(scene, rng)
    return in_style(text, style_of(recipe, row), rng)
