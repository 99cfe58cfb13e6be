"""What a checkpoint is, read off names, shapes and side files: its family, and how it predicts.

Nothing here loads torch or looks at a file's name.
"""

from __future__ import annotations

from promptengine.families.recognise import (
    CLIP_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    Family,
    Prediction,
    Shapes,
    foreign,
    foreign_family,
    input_channels,
    recognise,
    second_encoder_prefix,
    text_prefix,
)
from promptengine.families.sidefiles import (
    METADATA_KEY,
    PARTS,
    Config,
    Parts,
    native_size,
    parts_in_folder,
    stated_parts,
    stated_prediction,
    vae_beside,
)

__all__ = [
    "CLIP_PREFIX",
    "METADATA_KEY",
    "PARTS",
    "UNET_PREFIX",
    "VAE_PREFIX",
    "Config",
    "Family",
    "Parts",
    "Prediction",
    "Shapes",
    "foreign",
    "foreign_family",
    "input_channels",
    "native_size",
    "parts_in_folder",
    "recognise",
    "second_encoder_prefix",
    "stated_parts",
    "stated_prediction",
    "text_prefix",
    "vae_beside",
]
