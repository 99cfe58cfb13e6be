"""What a single-file checkpoint is, read off its weights' names and shapes.

The original (CompVis) layout carries no configuration. Almost all of it can be inferred. What cannot
(attention heads, the noise schedule, the native size) comes, the first that says it, from a ``.yaml``
beside the file, from a folder of configurations, from safetensors metadata, or else is what Stable
Diffusion 1 has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from torch import Tensor

from promptengine.errors import CheckpointError

__all__ = ["METADATA_KEY", "TEXT_PREFIX", "UNET_PREFIX", "VAE_PREFIX", "Layout", "infer_layout"]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."
METADATA_KEY = "promptengine.config"
"""Safetensors metadata: JSON in the form of :class:`Layout`, any part left out."""

Config = Mapping[str, Any]
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Layout:
    """Configurations of a checkpoint's parts, in diffusers' and transformers' words.

    Attributes:
        unet: Of ``UNet2DConditionModel``.
        vae: Of ``AutoencoderKL``.
        text_encoder: Of ``CLIPTextConfig``.
        scheduler: ``beta_start``, ``beta_end``, ``num_train_timesteps``.
    """

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config

    def overridden(self, other: Mapping[str, Config]) -> Layout:
        """Return a copy in which ``other``'s values, part by part, take precedence."""
        return replace(
            self,
            **{
                part: {**getattr(self, part), **other.get(part, {})}
                for part in ("unet", "vae", "text_encoder", "scheduler")
            },
        )


def infer_layout(
    weights: Weights, path: Path, *, metadata: Mapping[str, str], config: Path | None = None
) -> Layout:
    """Work out the configuration of a Stable Diffusion 1 checkpoint.

    Args:
        weights: Names to tensors in the original layout.
        path: The checkpoint; ``stem.yaml`` beside it is read if it is there.
        metadata: The safetensors file's metadata, or empty.
        config: A folder in the form of a diffusers model (``unet/config.json``, …) or None.

    Raises:
        CheckpointError: The weights are no Stable Diffusion 1 model, or a side file is broken.
    """
    try:
        facts = {
            "unet": _unet_facts(weights),
            "vae": _vae_facts(weights),
            "text_encoder": _text_facts(weights),
        }
    except KeyError as missing:
        message = f"not a Stable Diffusion 1 checkpoint: it has no weight {missing}"
        raise CheckpointError(message, path=path) from None
    layout = _stable_diffusion_1(text_width=facts["text_encoder"]["hidden_size"])
    for source in (
        _from_metadata(metadata, path),
        {} if config is None else _from_folder(config),
        _from_yaml(path.with_suffix(".yaml")),
        facts,
    ):
        layout = layout.overridden(source)
    return layout


def _stable_diffusion_1(*, text_width: int) -> Layout:
    """What weights do not show, as Stable Diffusion 1 has it; CLIP's heads are 64 wide."""
    return Layout(
        unet={"attention_head_dim": 8, "sample_size": 64},
        vae={"scaling_factor": 0.18215},
        text_encoder={
            "num_attention_heads": max(text_width // 64, 1),
            "hidden_act": "quick_gelu",
            "projection_dim": text_width,
        },
        scheduler={"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000},
    )


def _count(weights: Weights, pattern: str) -> int:
    """How many consecutive indices from 0 the pattern's ``{}`` takes."""
    index = 0
    while pattern.format(index) in weights:
        index += 1
    return index


def _unet_facts(weights: Weights) -> Config:
    first = weights[UNET_PREFIX + "input_blocks.0.0.weight"]
    widths: list[int] = []
    attended: list[bool] = []
    context, linear, block = 0, False, 1
    while True:
        resnet = weights.get(f"{UNET_PREFIX}input_blocks.{block}.0.out_layers.3.weight")
        if resnet is not None:
            attention = f"{UNET_PREFIX}input_blocks.{block}.1."
            keys = weights.get(attention + "transformer_blocks.0.attn2.to_k.weight")
            widths.append(len(resnet))
            attended.append(keys is not None)
            if keys is not None:
                context = keys.shape[1]
                linear = weights[attention + "proj_in.weight"].ndim == 2
        elif f"{UNET_PREFIX}input_blocks.{block}.0.op.weight" not in weights:
            break
        block += 1
    downsamplers = block - 1 - len(widths)
    per_level = len(widths) // (downsamplers + 1)
    levels = attended[::per_level]
    down = ["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in levels]
    up = ["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(levels)]
    return {
        "in_channels": first.shape[1],
        "out_channels": len(weights[UNET_PREFIX + "out.2.weight"]),
        "block_out_channels": widths[::per_level],
        "layers_per_block": per_level,
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": context,
        "use_linear_projection": linear,
    }


def _vae_facts(weights: Weights) -> Config:
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


def _text_facts(weights: Weights) -> Config:
    root = TEXT_PREFIX
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


def _from_yaml(path: Path) -> Mapping[str, Config]:
    """The overrides that an original (CompVis) configuration beside a checkpoint holds."""
    if not path.is_file():
        return {}
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        unet = params["unet_config"]["params"]
        parts: dict[str, dict[str, Any]] = {
            "unet": {"sample_size": params.get("image_size", 64)},
            "vae": {"scaling_factor": params.get("scale_factor", 0.18215)},
            "scheduler": {
                "beta_start": params["linear_start"],
                "beta_end": params["linear_end"],
                "num_train_timesteps": params.get("timesteps", 1000),
            },
        }
        heads, width = unet.get("num_heads", -1), unet.get("num_head_channels", -1)
        if heads > 0:
            parts["unet"]["attention_head_dim"] = heads
        elif width > 0:
            channels = [unet["model_channels"] * factor for factor in unet["channel_mult"]]
            parts["unet"]["attention_head_dim"] = [channel // width for channel in channels]
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        message = f"not a configuration of Stable Diffusion ({error!r}); mend or remove it"
        raise CheckpointError(message, path=path) from None
    return parts


def _from_metadata(metadata: Mapping[str, str], path: Path) -> Mapping[str, Config]:
    try:
        return _parts(json.loads(metadata.get(METADATA_KEY, "{}")))
    except ValueError as error:
        message = f"its metadata entry {METADATA_KEY!r} is not readable: {error}"
        raise CheckpointError(message, path=path) from None


def _from_folder(folder: Path) -> Mapping[str, Config]:
    if not folder.is_dir():
        raise CheckpointError("no such folder of configurations", path=folder)
    parts: dict[str, Config] = {}
    names = {
        "unet": "config.json",
        "vae": "config.json",
        "text_encoder": "config.json",
        "scheduler": "scheduler_config.json",
    }
    for part, name in names.items():
        file = folder / part / name
        try:
            if file.is_file():
                parts |= _parts({part: json.loads(file.read_text(encoding="utf-8"))})
        except (OSError, ValueError) as error:
            raise CheckpointError(f"not readable as JSON: {error}", path=file) from None
    return parts


def _parts(document: object) -> Mapping[str, Config]:
    """Check that a JSON document maps parts to configurations, and drop private keys."""
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    parts: dict[str, Config] = {}
    for part, config in cast("dict[str, object]", document).items():
        if not isinstance(config, dict):
            raise ValueError(f"{part!r} is not a JSON object")
        entries = cast("dict[str, Any]", config).items()
        parts[part] = {key: value for key, value in entries if not key.startswith("_")}
    return parts
