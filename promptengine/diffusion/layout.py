"""How the parts of a single-file checkpoint are built, read off its weights' names and shapes.

The original layout carries no configuration. Almost all of it can be inferred. What cannot (heads of
attention, the noise schedule, the native size, what is predicted) comes, the first that says it, from
a ``.yaml`` beside the file, from a folder of configurations, from safetensors metadata, or else is
what the family has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from promptengine.errors import CheckpointError
from promptengine.families import (
    PARTS,
    UNET_PREFIX,
    VAE_PREFIX,
    Config,
    Family,
    Parts,
    foreign,
    recognise,
    second_encoder_prefix,
    stated_parts,
    text_prefix,
)

__all__ = ["Layout", "infer_layout", "vae_facts"]

Weights = Mapping[str, Tensor]

_OPEN_CLIP_H_READ = 23  # layers of SD2's encoder that are read; whole files hold one more


@dataclass(frozen=True, slots=True)
class Layout:
    """Configurations of a checkpoint's parts, in diffusers' and transformers' words.

    Attributes:
        family: Of the model.
        unet: Of ``UNet2DConditionModel``.
        vae: Of ``AutoencoderKL``.
        text_encoder: Of ``CLIPTextConfig``.
        text_encoder_2: Of SDXL's second encoder, else empty.
        scheduler: ``beta_start``, ``beta_end``, ``num_train_timesteps`` and, where known,
            ``prediction_type`` and ``rescale_betas_zero_snr``.
    """

    family: Family
    unet: Config
    vae: Config
    text_encoder: Config
    text_encoder_2: Config
    scheduler: Config

    def overridden(self, other: Parts) -> Layout:
        """Return a copy in which ``other``'s values, part by part, take precedence."""
        return replace(
            self, **{part: {**getattr(self, part), **other.get(part, {})} for part in PARTS}
        )


def infer_layout(
    weights: Weights, path: Path, *, metadata: Mapping[str, str], config: Path | None = None
) -> Layout:
    """Work out the configuration of a checkpoint.

    Args:
        weights: Names to tensors in the original layout.
        path: The checkpoint; ``stem.yaml`` beside it is read if it is there.
        metadata: The safetensors file's metadata, or empty.
        config: A folder in the form of a diffusers model (``unet/config.json``, …) or None.

    Raises:
        CheckpointError: The weights are of no supported family or incomplete, or a side file is
            broken.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    family = recognise(shapes)
    if family is None:
        raise CheckpointError(foreign(shapes) or "of an unknown family", path=path)
    try:
        facts = _facts(weights, family)
    except KeyError as missing:
        message = f"not a complete checkpoint: it has no weight {missing}"
        raise CheckpointError(message, path=path) from None
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        message = "its weights do not have the shapes of a Stable Diffusion model"
        raise CheckpointError(message, path=path) from None
    stated = stated_parts(weights, path, metadata=metadata, config=config)
    return _usual(family, facts).overridden(stated).overridden(facts)


def _usual(family: Family, facts: Parts) -> Layout:
    """What weights do not show, as the family has it. SD1 counts heads, the others their width."""
    widths = facts["unet"]["block_out_channels"]
    return Layout(
        family=family,
        unet={
            "attention_head_dim": 8
            if family == "SD1"
            else [max(width // 64, 1) for width in widths],
        },
        vae={"scaling_factor": 0.13025 if family == "SDXL" else 0.18215},
        text_encoder=_usual_text(facts["text_encoder"], clip=family != "SD2"),
        text_encoder_2=_usual_text(facts["text_encoder_2"], clip=False) if family == "SDXL" else {},
        scheduler={"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000},
    )


def _usual_text(facts: Config, *, clip: bool) -> Config:
    """CLIP's and OpenCLIP's heads are 64 wide; their activations differ."""
    width = facts["hidden_size"]
    return {
        "num_attention_heads": max(width // 64, 1),
        "hidden_act": "quick_gelu" if clip else "gelu",
        "projection_dim": width,
    }


def _facts(weights: Weights, family: Family) -> dict[str, Config]:
    facts = {"unet": _unet_facts(weights), "vae": vae_facts(weights)}
    if family == "SD2":
        encoder = dict(_open_clip_facts(weights, text_prefix(family)))
        encoder["num_hidden_layers"] = _layers_read(encoder["num_hidden_layers"])
        return {**facts, "text_encoder": encoder}
    facts["text_encoder"] = _clip_facts(weights, text_prefix(family))
    if family == "SD1":
        return facts
    second = _open_clip_facts(weights, second_encoder_prefix())
    added = facts["unet"].get("projection_class_embeddings_input_dim", 0)
    # The rest of the vector are six sizes: original, crop and target, two of each.
    of_sizes = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (added - second["projection_dim"]) // 6,
    }
    return {**facts, "unet": {**facts["unet"], **of_sizes}, "text_encoder_2": second}


def _layers_read(stored: int) -> int:
    """SD2 reads the last layer but one; a file may have dropped the unused last one already."""
    return stored if stored == _OPEN_CLIP_H_READ else stored - 1


def _count(weights: Weights, pattern: str) -> int:
    """How many consecutive indices from 0 the pattern's ``{}`` takes."""
    index = 0
    while pattern.format(index) in weights:
        index += 1
    return index


@dataclass(frozen=True, slots=True)
class _Level:
    """One input block of a UNet: its width, and its transformer blocks (0 without attention)."""

    width: int
    depth: int


def _unet_facts(weights: Weights) -> Config:
    blocks: list[_Level] = []
    context, linear, block = 0, False, 1
    while True:
        resnet = weights.get(f"{UNET_PREFIX}input_blocks.{block}.0.out_layers.3.weight")
        if resnet is not None:
            attention = f"{UNET_PREFIX}input_blocks.{block}.1."
            keys = attention + "transformer_blocks.{}.attn2.to_k.weight"
            blocks.append(_Level(len(resnet), _count(weights, keys)))
            if blocks[-1].depth:
                context = weights[keys.format(0)].shape[1]
                linear = weights[attention + "proj_in.weight"].ndim == 2
        elif f"{UNET_PREFIX}input_blocks.{block}.0.op.weight" not in weights:
            break
        block += 1
    downsamplers = block - 1 - len(blocks)
    per_level = len(blocks) // (downsamplers + 1)
    levels = blocks[::per_level]
    attended = [level.depth > 0 for level in levels]
    down = ["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attended]
    up = ["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attended)]
    facts = {
        "in_channels": weights[UNET_PREFIX + "input_blocks.0.0.weight"].shape[1],
        "out_channels": len(weights[UNET_PREFIX + "out.2.weight"]),
        "block_out_channels": [level.width for level in levels],
        "layers_per_block": per_level,
        "transformer_layers_per_block": [max(level.depth, 1) for level in levels],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": context,
        "use_linear_projection": linear,
    }
    added = weights.get(UNET_PREFIX + "label_emb.0.0.weight")
    return (
        facts
        if added is None
        else {**facts, "projection_class_embeddings_input_dim": added.shape[1]}
    )


def vae_facts(weights: Weights) -> Config:
    """Read a VAE's configuration off its weights, named as a checkpoint has them.

    Raises:
        KeyError: A weight is missing.
    """
    encoder = VAE_PREFIX + "encoder."
    levels = _count(weights, encoder + "down.{}.block.0.conv1.weight")
    widths = [len(weights[f"{encoder}down.{i}.block.0.conv2.weight"]) for i in range(levels)]
    return {
        "in_channels": weights[encoder + "conv_in.weight"].shape[1],
        "out_channels": len(weights[VAE_PREFIX + "decoder.conv_out.weight"]),
        "latent_channels": weights[VAE_PREFIX + "post_quant_conv.weight"].shape[1],
        "block_out_channels": widths,
        "layers_per_block": _count(weights, encoder + "down.0.block.{}.conv1.weight"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _clip_facts(weights: Weights, root: str) -> Config:
    if root + "text_model.final_layer_norm.weight" in weights:
        root += "text_model."
    vocabulary, width = weights[root + "embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": len(weights[root + "encoder.layers.0.mlp.fc1.weight"]),
        "num_hidden_layers": _count(weights, root + "encoder.layers.{}.mlp.fc1.weight"),
        "max_position_embeddings": len(weights[root + "embeddings.position_embedding.weight"]),
    }


def _open_clip_facts(weights: Weights, root: str) -> Config:
    vocabulary, width = weights[root + "token_embedding.weight"].shape
    facts = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": len(weights[root + "transformer.resblocks.0.mlp.c_fc.weight"]),
        "num_hidden_layers": _count(weights, root + "transformer.resblocks.{}.mlp.c_fc.weight"),
        "max_position_embeddings": len(weights[root + "positional_embedding"]),
    }
    projection = weights.get(root + "text_projection")
    return facts if projection is None else {**facts, "projection_dim": projection.shape[1]}
