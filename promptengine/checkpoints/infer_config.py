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
    FAMILIES,
    OPEN_CLIP_ACTIVATION,
    PARTS,
    Family,
    ModelConfig,
    PipelineConfigs,
    TextPart,
    describe_foreign,
    detect_family,
    read_structure,
    stated_parts,
)

__all__ = ["InferredConfig", "infer_config"]

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class InferredConfig:
    """Configurations of a checkpoint's parts, in diffusers' and transformers' words.

    Attributes:
        family: Of the model.
        unet: Of ``UNet2DConditionModel``.
        vae: Of ``AutoencoderKL``.
        text_encoder: Of ``CLIPTextConfig``; empty for SDXL's refiner.
        text_encoder_2: Of SDXL's second encoder and its refiner's only one, else empty.
        scheduler: ``beta_start``, ``beta_end``, ``num_train_timesteps`` and, where known,
            ``prediction_type`` and ``rescale_betas_zero_snr``.
        left_aside: Names of weights that no part reads.
    """

    family: Family
    unet: ModelConfig
    vae: ModelConfig
    text_encoder: ModelConfig
    text_encoder_2: ModelConfig
    scheduler: ModelConfig
    left_aside: tuple[str, ...] = ()

    def text_config(self, part: TextPart) -> ModelConfig:
        """Return the configuration of a text encoder, by diffusers' name."""
        return self.text_encoder if part == "text_encoder" else self.text_encoder_2

    def overridden(self, other: PipelineConfigs) -> InferredConfig:
        """Return a copy in which ``other``'s values, part by part, take precedence."""
        return replace(
            self, **{part: {**getattr(self, part), **other.get(part, {})} for part in PARTS}
        )


def infer_config(
    weights: Weights,
    path: Path,
    *,
    metadata: Mapping[str, str],
    config: Path | None = None,
    vae_path: Path | None = None,
) -> InferredConfig:
    """Work out the configuration of a checkpoint.

    Args:
        weights: Names to tensors in the original layout.
        path: The checkpoint; ``stem.yaml`` beside it is read if it is there.
        metadata: The safetensors file's metadata, or empty.
        config: A folder in the form of a diffusers model (``unet/config.json``, …) or None.
        vae_path: Where the VAE among the weights came from, if not from there.

    Raises:
        CheckpointError: The weights are of no supported family or incomplete, or a side file is
            broken.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    family = detect_family(shapes)
    if family is None:
        raise CheckpointError(describe_foreign(shapes) or "of an unknown family", path=path)
    structure = read_structure(shapes, family, path, vae_path=vae_path)
    facts = structure.facts
    stated = stated_parts(weights, path, metadata=metadata, config=config)
    layout = _usual(family, facts).overridden(stated).overridden(facts)
    return replace(layout, left_aside=structure.left_aside)


def _usual(family: Family, facts: PipelineConfigs) -> InferredConfig:
    """Return what weights do not show, as the family has it. SD1 counts heads, the others their width."""
    spec, widths = FAMILIES[family], facts["unet"]["block_out_channels"]
    texts = {
        encoder.part: _usual_text(facts[encoder.part], open_clip=encoder.open_clip)
        for encoder in spec.encoders
    }
    return InferredConfig(
        family=family,
        unet={
            "attention_head_dim": spec.attention_heads or [max(width // 64, 1) for width in widths],
        },
        vae={"scaling_factor": spec.scaling_factor},
        text_encoder=texts.get("text_encoder", {}),
        text_encoder_2=texts.get("text_encoder_2", {}),
        scheduler={"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000},
    )


def _usual_text(facts: ModelConfig, *, open_clip: bool) -> ModelConfig:
    """CLIP's and OpenCLIP's heads are 64 wide; their activations differ."""
    width = facts["hidden_size"]
    return {
        "num_attention_heads": max(width // 64, 1),
        "hidden_act": OPEN_CLIP_ACTIVATION if open_clip else "quick_gelu",
        "projection_dim": width,
    }
