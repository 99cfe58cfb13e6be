"""Tiny models of every family, written as single files in the original layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.starter.original_layout import text_weights, unet_weights, vae_weights

__all__ = ["FAMILIES", "Original", "tiny", "write"]

FAMILIES = ("SD1", "SD2", "SDXL", "SDXL refiner")
TEXT_PREFIXES = {
    "SD1": ("cond_stage_model.transformer.text_model.",),
    "SD2": ("cond_stage_model.model.",),
    "SDXL": ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."),
    "SDXL refiner": ("conditioner.embedders.0.model.",),
}


@dataclass
class Original:
    """The modules a file is made of."""

    family: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoders: tuple[Any, ...]

    def weights(self, *, unused_layer: bool = True) -> dict[str, Tensor]:
        """Everything in the original layout; OpenCLIP with its last layer, which SD2 never reads."""
        unet = dict(self.unet.state_dict())
        added = {name: unet.pop(name) for name in list(unet) if name.startswith("add_embedding.")}
        layers = self.unet.config.layers_per_block
        weights = unet_weights(unet, layers)
        for name, tensor in added.items():
            place = "0.0" if "linear_1" in name else "0.2"
            weights[f"model.diffusion_model.label_emb.{place}.{name.rpartition('.')[2]}"] = tensor
        weights |= vae_weights(self.vae.state_dict(), len(self.vae.config.block_out_channels))
        prefixes = TEXT_PREFIXES[self.family]
        if self.family in ("SD1", "SDXL"):
            old = "cond_stage_model.transformer.text_model."
            named = text_weights(self.encoders[0].state_dict())
            weights |= {prefixes[0] + n.removeprefix(old): t for n, t in named.items()}
        if self.family != "SD1":
            unused = unused_layer and self.family == "SD2"
            named = open_clip(self.encoders[-1], unused_layer=unused)
            weights |= {prefixes[-1] + name: tensor for name, tensor in named.items()}
        return {name: tensor.clone().contiguous() for name, tensor in weights.items()}


def open_clip(encoder: nn.Module, *, unused_layer: bool) -> dict[str, Tensor]:
    """A transformers CLIP under OpenCLIP's names, its three projections fused into one."""
    own = {n.removeprefix("text_model."): t for n, t in encoder.state_dict().items()}
    out = {
        "positional_embedding": own.pop("embeddings.position_embedding.weight"),
        "token_embedding.weight": own.pop("embeddings.token_embedding.weight"),
        "ln_final.weight": own.pop("final_layer_norm.weight"),
        "ln_final.bias": own.pop("final_layer_norm.bias"),
        "logit_scale": torch.tensor(4.6),
    }
    projection = own.pop("text_projection.weight", None)
    out["text_projection"] = torch.eye(len(own["encoder.layers.0.layer_norm1.bias"]))
    if projection is not None:
        out["text_projection"] = projection.T
    layers = 1 + max(int(name.split(".")[2]) for name in own)
    for layer in range(layers):
        root, new = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            fused = [own.pop(f"{root}self_attn.{p}_proj.{kind}") for p in ("q", "k", "v")]
            out[f"{new}attn.in_proj_{kind}"] = torch.cat(fused)
            out[f"{new}attn.out_proj.{kind}"] = own.pop(f"{root}self_attn.out_proj.{kind}")
            for theirs, ours in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2")):
                out[f"{new}{theirs}.{kind}"] = own.pop(f"{root}{ours}.{kind}")
            for theirs, ours in (("c_fc", "fc1"), ("c_proj", "fc2")):
                out[f"{new}mlp.{theirs}.{kind}"] = own.pop(f"{root}mlp.{ours}.{kind}")
    assert not own, sorted(own)
    if unused_layer:
        last = f"transformer.resblocks.{layers - 1}."
        spare = f"transformer.resblocks.{layers}."
        out |= {n.replace(last, spare): t + 1 for n, t in out.items() if n.startswith(last)}
    return out


def tiny(family: str, *, channels: int = 4, seed: int = 0) -> Original:
    """A model of a family with random weights: widths 64 and 128, heads of 64 but in SD1."""
    torch.manual_seed(seed)
    sdxl, linear = family.startswith("SDXL"), family != "SD1"
    text = text_configs(family)
    attended = {"SDXL": (False, True), "SDXL refiner": (False, True, False)}.get(
        family, (True, False)
    )
    widths = (64, 128, 128)[: len(attended)]
    more: dict[str, Any] = {}
    if sdxl:
        numbers, depth = (6, (1, 2)) if family == "SDXL" else (5, 2)
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + numbers * 8,
            "transformer_layers_per_block": depth,
        }
    unet = UNet2DConditionModel(
        in_channels=channels,
        sample_size=8,
        block_out_channels=widths,
        layers_per_block=2,
        down_block_types=tuple("CrossAttn" * level + "DownBlock2D" for level in attended),
        up_block_types=tuple("CrossAttn" * level + "UpBlock2D" for level in reversed(attended)),
        cross_attention_dim=sum(config.hidden_size for config in text),
        attention_head_dim=tuple(width // 64 for width in widths) if linear else 8,
        use_linear_projection=linear,
        **more,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        scaling_factor=0.13025 if sdxl else 0.18215,
    )
    encoders = tuple(
        (CLIPTextModelWithProjection if sdxl and config.hidden_act == "gelu" else CLIPTextModel)(
            config
        )
        for config in text
    )
    for module in (unet, vae, *encoders):
        livelier(module)
    return Original(family, unet, vae, encoders)


def text_configs(family: str) -> list[CLIPTextConfig]:
    if family == "SD2":
        return [text_config(128, clip=False)]
    if family == "SDXL refiner":
        return [text_config(192, clip=False, projection=32)]
    first = [text_config(64, clip=True)]
    return first if family == "SD1" else [*first, text_config(128, clip=False, projection=32)]


def text_config(width: int, *, clip: bool, projection: int | None = None) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        hidden_act="quick_gelu" if clip else "gelu",
        projection_dim=projection or width,
    )


def livelier(module: nn.Module) -> None:
    """Biases and norms are 0 and 1 when new: moved, so that one in the wrong place shows."""
    with torch.no_grad():
        for tensor in module.parameters():
            if tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            elif tensor.shape[0] > 40000 or tensor.shape[0] == 77:
                tensor.normal_(std=0.3)
    module.eval().requires_grad_(False)


def write(
    weights: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a safetensors file."""
    save_file(dict(weights), path, metadata=dict(metadata) if metadata else None)
    return path
