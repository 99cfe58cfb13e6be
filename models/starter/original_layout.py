"""Weights of diffusers' and transformers' modules under the names of a single-file checkpoint.

The way back from what diffusers' single-file loader does: names as in CompVis' repository, so that
every program that opens a Stable Diffusion 1 checkpoint opens this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["text_weights", "unet_weights", "vae_weights"]

Weights = dict[str, Tensor]

RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
VAE_ENDS = {
    "mid_block.resnets.0.": "mid.block_1.",
    "mid_block.resnets.1.": "mid.block_2.",
    "mid_block.attentions.0.": "mid.attn_1.",
    "conv_norm_out.": "norm_out.",
    "conv_shortcut.": "nin_shortcut.",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def unet_weights(weights: Mapping[str, Tensor], layers_per_block: int) -> Weights:
    """Rename a ``UNet2DConditionModel``'s weights."""
    attended = {m[1] for name in weights if (m := re.match(r"up_blocks\.(\d+)\.attentions", name))}
    return {
        "model.diffusion_model." + _unet_name(name, layers_per_block, attended): tensor
        for name, tensor in weights.items()
    }


def _unet_name(name: str, layers: int, attended: set[str]) -> str:
    side = re.match(
        r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", name
    )
    if side is None:
        return _inner(_replaced(name, UNET_ENDS))
    way, level, part, index = side[1], int(side[2]), side[3], int(side[4])
    rest = name[side.end() :]
    if part == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        place = 2 if str(level) in attended else 1
        return f"output_blocks.{level * (layers + 1) + layers}.{place}.{rest}"
    block = level * (layers + 1) + index + (way == "down")
    side_name = "input_blocks" if way == "down" else "output_blocks"
    return f"{side_name}.{block}.{int(part == 'attentions')}.{_inner(rest)}"


def _inner(name: str) -> str:
    """A resnet's own parts; those of attention have the same names in both layouts."""
    return _replaced(name, RESNET) if "transformer_blocks" not in name else name


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return name


def vae_weights(weights: Mapping[str, Tensor], levels: int) -> Weights:
    """Rename an ``AutoencoderKL``'s weights; its attention becomes 1 x 1 convolutions."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        new = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{levels - 1 - int(m[1])}.", name)
        new = re.sub(r"down_blocks\.(\d+)\.", r"down.\1.", new)
        new = _replaced(new, VAE_ENDS)
        new = new.replace("resnets.", "block.")
        new = new.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
        linear = "mid.attn_1" in new and tensor.ndim == 2
        if "mid.attn_1" in new:
            new = _replaced(new, VAE_ATTENTION)
        renamed["first_stage_model." + new] = tensor[:, :, None, None] if linear else tensor
    return renamed


def text_weights(weights: Mapping[str, Tensor]) -> Weights:
    """Rename a ``CLIPTextModel``'s weights, of any release of transformers."""
    prefix = "cond_stage_model.transformer.text_model."
    return {prefix + name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
