"""What a checkpoint is, read off names, shapes and side files: its family, and how it predicts.

Nothing here loads torch or looks at a file's name.
"""

from __future__ import annotations

from promptengine.families.config import (
    METADATA_KEY,
    PARTS,
    ModelConfig,
    PipelineConfigs,
    native_size,
    parts_in_folder,
    stated_parts,
    vae_beside,
)
from promptengine.families.detect import (
    CLIP_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    Prediction,
    Shapes,
    describe_foreign,
    detect_family,
    foreign_family,
    input_channels,
    packed,
    stranger,
)
from promptengine.families.noise_schedule import (
    require_known_latents,
    require_known_schedule,
    stated_prediction,
)
from promptengine.families.specs import (
    FAMILIES,
    OPEN_CLIP_ACTIVATION,
    TEXT_ENCODERS,
    Family,
    FamilySpec,
    LatentToRGB,
    SizeNumber,
    TextEncoderSpec,
    TextPart,
    family_of_encoders,
    family_of_width,
)
from promptengine.families.structure import Structure, grouped, read_structure, read_vae_structure

__all__ = [
    "CLIP_PREFIX",
    "FAMILIES",
    "METADATA_KEY",
    "OPEN_CLIP_ACTIVATION",
    "PARTS",
    "TEXT_ENCODERS",
    "UNET_PREFIX",
    "VAE_PREFIX",
    "Family",
    "FamilySpec",
    "LatentToRGB",
    "ModelConfig",
    "PipelineConfigs",
    "Prediction",
    "Shapes",
    "SizeNumber",
    "Structure",
    "TextEncoderSpec",
    "TextPart",
    "describe_foreign",
    "detect_family",
    "family_of_encoders",
    "family_of_width",
    "foreign_family",
    "grouped",
    "input_channels",
    "native_size",
    "packed",
    "parts_in_folder",
    "read_structure",
    "read_vae_structure",
    "require_known_latents",
    "require_known_schedule",
    "stated_parts",
    "stated_prediction",
    "stranger",
    "vae_beside",
]
