"""A checkpoint's family by the names and shapes of its weights in the original layout.

=======  ==========================================================================
family   text encoders
=======  ==========================================================================
SD1      ``cond_stage_model.transformer.`` (CLIP, as transformers names it)
SD2      ``cond_stage_model.model.`` (OpenCLIP)
SDXL     ``conditioner.embedders.0.transformer.`` and ``conditioner.embedders.1.model.``
=======  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from promptengine.tensorfiles import kind_of

__all__ = [
    "CLIP_PREFIX",
    "UNET_PREFIX",
    "VAE_PREFIX",
    "Family",
    "Prediction",
    "Shapes",
    "foreign",
    "foreign_family",
    "input_channels",
    "recognise",
    "second_encoder_prefix",
    "text_prefix",
]

Family = Literal["SD1", "SD2", "SDXL"]
Prediction = Literal["epsilon", "v"]
"""What a UNet's output means: the noise, or the velocity of arXiv:2202.00512."""

Shapes = Mapping[str, Sequence[int]]

UNET_PREFIX: Final = "model.diffusion_model."
VAE_PREFIX: Final = "first_stage_model."
CLIP_PREFIX: Final = "cond_stage_model.transformer."
_FIRST_WEIGHT: Final = UNET_PREFIX + "input_blocks.0.0.weight"

_SECOND: Final = "conditioner.embedders.1.model."
_ENCODERS: Final[Mapping[Family, tuple[str, ...]]] = {
    "SD1": (CLIP_PREFIX,),
    "SD2": ("cond_stage_model.model.",),
    "SDXL": ("conditioner.embedders.0.transformer.", _SECOND),
}
# Where several hold, the first tells most.
_FOREIGN: Final = (
    (f"{UNET_PREFIX}joint_blocks.", "Stable Diffusion 3"),
    (f"{UNET_PREFIX}double_blocks.", "Flux"),
    ("double_blocks.", "Flux"),
    (f"{UNET_PREFIX}double_layers.", "AuraFlow"),
    (f"{UNET_PREFIX}cap_embedder.", "Lumina"),
    (f"{UNET_PREFIX}clip_txt_mapper.", "Stable Cascade"),
    (f"{UNET_PREFIX}transformer_blocks.", "a diffusion transformer"),
    ("transformer_blocks.", "a diffusion transformer"),
    (f"{UNET_PREFIX}input_blocks.1.0.time_stack.", "Stable Video Diffusion"),
    ("cond_stage_model.roberta.", "AltDiffusion"),
    ("embedder.model.", "Stable Diffusion 2 unCLIP"),
    ("depth_model.", "Stable Diffusion 2 with depth"),
    ("low_scale_model.", "the Stable Diffusion upscaler"),
    ("control_model.", "a ControlNet"),
)
_SUPPORTED: Final = "Stable Diffusion 1 and 2 and SDXL are supported"
_KINDS: Final = {
    "hypernetwork": "a hypernetwork",
    "lora": "a LoRA",
    "embedding": "an embedding",
    "vae": "a VAE",
    "optimizer state": "the state of an optimizer",
}


def recognise(shapes: Shapes) -> Family | None:
    """Return the family of a checkpoint, or None where :func:`foreign` has a reason against it.

    Args:
        shapes: Names of weights in the original layout, with their shapes.
    """
    return None if foreign(shapes) else _family(shapes)


def foreign(shapes: Shapes) -> str | None:
    """Tell why weights are no checkpoint that can be opened, naming what was found, or None."""
    name = foreign_family(shapes)
    if name is not None:
        return f"it is {name}, which is not supported; {_SUPPORTED}"
    if not _any(shapes, UNET_PREFIX):
        return _no_unet(shapes)
    if _FIRST_WEIGHT not in shapes:
        return f"it has no weight {_FIRST_WEIGHT!r}; {_SUPPORTED}"
    if input_channels(shapes) not in (4, 9):
        what = " (InstructPix2Pix)" if input_channels(shapes) == 8 else ""
        return (
            f"its UNet reads {input_channels(shapes)} channels{what}, which is not supported; "
            "4 and, for inpainting, 9 are"
        )
    if _family(shapes) is None:
        return "it holds a UNet without its text encoder; a complete checkpoint is needed"
    return None


def foreign_family(names: Iterable[str]) -> str | None:
    """Return what model of a family that is not supported weights belong to, or None."""
    names = list(names)
    for prefix, family in _FOREIGN:
        if _any(names, prefix):
            return family
    refined = _any(names, "conditioner.embedders.0.model.")
    return "the SDXL refiner" if refined and not _any(names, _SECOND) else None


def input_channels(shapes: Shapes) -> int:
    """Return how many channels the UNet reads: 4 latents, and 5 more for inpainting."""
    shape = shapes[_FIRST_WEIGHT]
    return shape[1] if len(shape) == 4 else 0


def text_prefix(family: Family) -> str:
    """Return what the names of the (first) text encoder's weights begin with."""
    return _ENCODERS[family][0]


def second_encoder_prefix() -> str:
    """Return what the names of the weights of SDXL's second text encoder begin with."""
    return _SECOND


def _family(names: Iterable[str]) -> Family | None:
    names = list(names)
    for family, prefixes in _ENCODERS.items():
        if all(_any(names, prefix) for prefix in prefixes):
            return family
    return None


def _no_unet(shapes: Shapes) -> str:
    if _any(shapes, "down_blocks.") and _any(shapes, "time_embedding."):
        return "it is a UNet in diffusers' form; open the diffusers folder it belongs to"
    kind = _KINDS.get(kind_of(shapes))
    if kind is not None:
        return f"it is {kind}, not a checkpoint"
    return f"it holds no UNet in the original layout; {_SUPPORTED}"


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
