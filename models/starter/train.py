"""Makes the starter checkpoint: ``python -m models.starter.train``.

Draws the pictures, trains the VAE, encodes, trains UNet and text model, polishes the VAE's decoder, and
writes one file. Every stage keeps its state in the work folder and goes on from there when the command is
run again. About four hours on two processor cores, or twenty minutes on a GPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.starter.autoencoder import encode_all, polish_decoder, train_autoencoder
from models.starter.diffusion import Diffusion, train_diffusion
from models.starter.original_layout import text_weights, unet_weights, vae_weights
from models.starter.pictures import draw_all
from models.starter.recipe import Recipe
from promptengine.families import METADATA_KEY
from promptengine.files.atomic import atomic_write

__all__ = ["export", "main", "make"]

TARGET = Path("models/Stable-diffusion/starter.safetensors")
"""The checkpoint, from the root of the repository, where these commands are run."""


def make(recipe: Recipe, folder: Path, target: Path, device: torch.device) -> None:
    """Run every stage that is not finished, and write the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw_all(recipe, folder)
    vae = train_autoencoder(recipe, pictures, folder, device)
    latents = encode_all(recipe, vae, pictures, folder, device)
    diffusion = train_diffusion(recipe, latents, folder, device)
    polish_decoder(recipe, vae, latents, pictures, folder, device=device)
    export(recipe, vae, diffusion, target)


def export(recipe: Recipe, vae: nn.Module, diffusion: Diffusion, target: Path) -> None:
    """Write one float16 file in the original layout, with what weights do not show as metadata."""
    weights: dict[str, Tensor] = {
        **unet_weights(diffusion.unet.state_dict(), recipe.unet_config()["layers_per_block"]),
        **vae_weights(vae.state_dict(), len(recipe.vae_widths)),
        **text_weights(diffusion.text.state_dict()),
    }
    halved = {
        name: tensor.half().contiguous().cpu()
        for name, tensor in weights.items()
        if tensor.is_floating_point()
    }
    config: dict[str, Any] = {
        "unet": {"sample_size": recipe.size // 8, "attention_head_dim": recipe.unet_heads},
        "vae": {"norm_num_groups": recipe.vae_groups},
        "text_encoder": {"num_attention_heads": recipe.text_config()["num_attention_heads"]},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        save_file(halved, temporary, metadata={METADATA_KEY: json.dumps(config)})
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")


def main() -> None:
    """Read the options and make the checkpoint."""
    options = argparse.ArgumentParser(description="Make the starter checkpoint.")
    options.add_argument("--work", type=Path, default=Path("outputs/starter"), metavar="DIR")
    options.add_argument("--output", type=Path, default=TARGET, metavar="FILE")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = options.parse_args()
    make(Recipe(), chosen.work, chosen.output, torch.device(chosen.device))


if __name__ == "__main__":
    main()
