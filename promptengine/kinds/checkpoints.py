"""Checkpoints and VAEs: the model files that are no networks."""

from __future__ import annotations

from typing import Final

from promptengine.kinds.kind import ModelKind

__all__ = ["CHECKPOINT", "VAE"]


def _is_checkpoint(stem: str) -> bool:
    return not stem.lower().endswith(".vae")


CHECKPOINT: Final = ModelKind(
    name="checkpoint",
    noun="checkpoint",
    plural="checkpoints",
    folders=("Stable-diffusion",),
    suffixes=(".ckpt", ".safetensors"),
    accepts=_is_checkpoint,
    index="model_index.json",
    page="checkpoints",
    civitai_types=("Checkpoint",),
    comfyui_folders=("checkpoints", "diffusers"),
)
"""A whole model: a file, or a folder of diffusers."""

VAE: Final = ModelKind(
    name="vae",
    noun="VAE",
    file_kind="vae",
    plural="VAEs",
    civitai_types=("VAE",),
    comfyui_folders=("vae",),
    folders=("VAE",),
    suffixes=(".pt", ".ckpt", ".safetensors"),
)
"""What turns images into latents and back, in a file of its own."""
