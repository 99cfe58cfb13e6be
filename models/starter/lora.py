"""Makes the style LoRA: ``python -m models.starter.lora``.

Draws the pictures as those of a hypernetwork are drawn, and trains a low-rank change of every matrix and every
convolution in UNet and text model on them. Unlike a hypernetwork it reaches the finest level, where the starter
has no attention, and so it can learn thin lines. The file is float16 and has diffusers' names: kohya's count two
residual blocks a level, and the starter has one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.starter.diffusion import SIGNAL_CAP
from models.starter.hypernetworks import PREVIEW, StyleNetwork, draw_material
from models.starter.loop import plain_attention, rate_at
from models.starter.train import TARGET
from promptengine import Engine, GenerationRequest, save_png
from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.checkpoints.vae_codec import encode_image
from promptengine.files.atomic import atomic_write
from promptengine.prompt import attention
from promptengine.sampling.sigmas import scaled_linear_alphas
from promptengine.text.chunks import chunk_fragments

__all__ = ["STYLE_LORA", "Budget", "LowRank", "main", "train_lora", "write_lora"]

STYLE_LORA = StyleNetwork(
    "pen", ".safetensors", "Pen and wash: brown lines and hatching on paper.", style="ink"
)

_OUTSIDE = ("conv_in", "conv_out", "time_emb", "embeddings")
"""Marks of modules that LoRAs leave alone as a rule."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How large a LoRA is and how long it is trained.

    Attributes:
        rank: Of every change.
        steps: Updates.
        batch: Pictures of each.
        rate: The highest learning rate, of AdamW.
        seed: Of weights and batches.
    """

    rank: int = 4
    steps: int = 1_200
    batch: int = 8
    rate: float = 3e-3
    seed: int = 1


class LowRank(nn.Module):
    """A change of a weight: ``up · down``, 0 before training.

    Args:
        weight: What is changed: ``[out, in]`` or ``[out, in, height, width]``.
        rank: Of the change.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, *rest = weight.shape
        self.down = nn.Parameter(torch.empty(rank, *rest))
        self.up = nn.Parameter(torch.zeros(out, rank, *(1 for _ in rest[1:])))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + (self.up.flatten(1) @ self.down.flatten(1)).view_as(weight)


def train_lora(checkpoint: Checkpoint, data: Path, budget: Budget) -> dict[str, LowRank]:
    """Train changes of UNet and text model; the checkpoint keeps them.

    Args:
        checkpoint: Opened for this alone, float32.
        data: A folder of pictures, each with its caption beside it.
        budget: How much of it.

    Returns:
        The changes by the names of their modules in a file.
    """
    torch.manual_seed(budget.seed)
    unet: Any = checkpoint.unet.requires_grad_(False)
    text: Any = checkpoint.text_encoder.requires_grad_(False)
    changes = dict(_attached(unet, "unet", budget.rank))
    changes |= _attached(text, "text_encoder", budget.rank)
    weights = [weight for change in changes.values() for weight in change.parameters()]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.01)
    latents, tokens = _material(checkpoint, data)
    alphas = scaled_linear_alphas().float()
    generator = torch.Generator().manual_seed(budget.seed)
    for step in range(budget.steps):
        rows = torch.randint(len(latents), (budget.batch,), generator=generator)
        timestep = torch.randint(len(alphas), (budget.batch,), generator=generator)
        noise = torch.randn(latents[rows].shape, generator=generator)
        alpha = alphas[timestep][:, None, None, None]
        noised = alpha.sqrt() * latents[rows] + (1 - alpha).sqrt() * noise
        with torch.enable_grad(), plain_attention(), parametrize.cached():
            context = text(input_ids=tokens[rows]).last_hidden_state
            predicted = unet(noised, timestep, context, return_dict=False)[0]
            ratio = (alpha / (1 - alpha)).flatten()
            weight = ratio.clamp(max=SIGNAL_CAP) / ratio
            loss = ((predicted - noise).square().mean(dim=(1, 2, 3)) * weight).mean()
            loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, budget.steps, budget.rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            print(f"step {step} of {budget.steps}, loss {loss.item():.4f}", flush=True)
    return changes


def _attached(model: nn.Module, prefix: str, rank: int) -> Iterator[tuple[str, LowRank]]:
    """Yield a new change for each matrix and convolution of a model, where it acts already."""
    for path, module in list(model.named_modules()):
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or any(map(path.__contains__, _OUTSIDE)):
            continue
        change = LowRank(module.weight, rank)
        parametrize.register_parametrization(module, "weight", change)
        yield f"{prefix}.{path}", change


@torch.no_grad()
def _material(checkpoint: Checkpoint, data: Path) -> tuple[Tensor, Tensor]:
    """The latents ``[pictures, 4, height, width]`` and the captions ``[pictures, 77]`` of a folder."""
    paths = sorted(data.glob("*.png"))
    means = [encode_image(checkpoint, Image.open(path).convert("RGB")).mean for path in paths]
    captions = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in paths]
    tokens = [chunk_fragments(attention(caption))[0].tokens for caption in captions]
    return torch.cat(means) * checkpoint.scaling_factor, torch.tensor(tokens)


def write_lora(changes: Mapping[str, LowRank], path: Path, *, name: str, rank: int) -> None:
    """Write a file of diffusers' names, with the metadata that front ends show."""
    tensors: dict[str, Tensor] = {}
    for module, change in changes.items():
        tensors[f"{module}.lora_A.weight"] = change.down.detach().half()
        tensors[f"{module}.lora_B.weight"] = change.up.detach().half()
        tensors[f"{module}.alpha"] = torch.tensor(float(rank)).half()
    metadata = {
        "ss_output_name": name,
        "ss_sd_model_name": TARGET.name,
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_network_args": json.dumps({"conv_dim": str(rank), "conv_alpha": str(rank)}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def main() -> None:
    """Read the options; draw, train, and write the file with a preview and a description beside it."""
    options = argparse.ArgumentParser(description="Make the style LoRA.")
    options.add_argument("--checkpoint", type=Path, default=TARGET, metavar="FILE")
    options.add_argument("--work", type=Path, default=Path("outputs/starter"), metavar="DIR")
    options.add_argument("--output", type=Path, default=TARGET.parent.parent / "Lora")
    chosen = options.parse_args()
    lora, budget = STYLE_LORA, Budget()
    data = draw_material(lora, chosen.work)
    changes = train_lora(open_checkpoint(chosen.checkpoint), data, budget)
    output = chosen.output / f"{lora.name}{lora.suffix}"
    write_lora(changes, output, name=lora.name, rank=budget.rank)
    engine = Engine.open(chosen.checkpoint, models={"lora": [output.parent]}, device="cpu")
    request = GenerationRequest(prompt=f"{PREVIEW} <lora:{lora.name}:1>", seed=1, policy="strict")
    result = engine.generate(request)
    save_png(result.images[0], output.with_suffix(".png"), result.infotexts[0])
    output.with_suffix(".txt").write_text(f"{lora.description}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
