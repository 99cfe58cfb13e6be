"""A checkpoint's family by the names and shapes of its weights in the original layout.

============  ==========================================================================
family        text encoders
============  ==========================================================================
SD1           ``cond_stage_model.transformer.`` (CLIP, as transformers names it)
SD2           ``cond_stage_model.model.`` (OpenCLIP)
SDXL          ``conditioner.embedders.0.transformer.`` and ``conditioner.embedders.1.model.``
SDXL refiner  ``conditioner.embedders.0.model.``
============  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from promptengine.families.specs import FAMILIES, Family
from promptengine.files.weights import detect_kind
from promptengine.kinds import NETWORK_KINDS, VAE

__all__ = [
    "CLIP_PREFIX",
    "UNET_PREFIX",
    "VAE_PREFIX",
    "Prediction",
    "Shapes",
    "describe_foreign",
    "detect_family",
    "foreign_family",
    "input_channels",
    "packed",
    "stranger",
]

Prediction = Literal["epsilon", "v"]
"""What a UNet's output means: the noise, or the velocity of arXiv:2202.00512."""

Shapes = Mapping[str, Sequence[int]]

UNET_PREFIX: Final = "model.diffusion_model."
VAE_PREFIX: Final = "first_stage_model."
CLIP_PREFIX: Final = FAMILIES["SD1"].encoders[0].prefix
_FIRST_WEIGHT: Final = UNET_PREFIX + "input_blocks.0.0.weight"

_PREFIXES: Final = (UNET_PREFIX, "diffusion_model.", "model.", "net.", "transformer.", "module.")
# Names that tell a model of another family, by what they begin with, wherever it is stored: after
# any of the prefixes above or after none. Where several hold, the first tells most.
_STRANGERS: Final = (
    ("input_blocks.1.0.time_stack.", "Stable Video Diffusion"),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("txt_in.individual_token_refiner.", "HunyuanVideo"),
    ("double_layers.", "AuraFlow"),
    ("joint_transformer_blocks.", "AuraFlow"),
    ("single_transformer_blocks.", "Flux"),
    ("double_blocks.", "Flux"),
    ("clip_txt_mapper.", "Stable Cascade (stage C)"),
    ("clip_mapper.", "Stable Cascade (stage B)"),
    ("effnet_mapper.", "Stable Cascade (stage B)"),
    ("vquantizer.", "Stable Cascade (stage A)"),
    ("mlp_t5.", "HunyuanDiT"),
    ("time_extra_emb.", "HunyuanDiT"),
    ("head.modulation", "Wan"),
    ("condition_embedder.time_proj.", "Wan"),
    ("t_block.1.", "PixArt"),
    ("adaln_single.", "PixArt or LTX"),
    ("txt_norm.", "Qwen-Image"),
    ("noise_refiner.", "Z-Image or Lumina"),
    ("cap_embedder.", "Z-Image or Lumina"),
    ("t5_yproj.", "Mochi"),
    ("encoder_hid_proj.", "Kolors"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("transformer_blocks.", "a diffusion transformer"),
)
# Names that tell it of a file that has a complete UNet and text encoder, too.
_BESIDE: Final = (
    ("cond_stage_model.roberta.", "AltDiffusion"),
    ("embedder.model.", "Stable Diffusion 2 unCLIP"),
    ("depth_model.", "Stable Diffusion 2 with depth"),
    ("low_scale_model.", "the Stable Diffusion upscaler"),
    ("control_model.", "a ControlNet"),
)
_ALONE: Final = (
    ("encoder.block.0.layer.0.SelfAttention.", "a T5 text encoder alone"),
    ("text_model.encoder.layers.", "a CLIP text encoder alone"),
    ("model.layers.0.self_attn.", "a language model alone"),
    ("input_blocks.0.0.", "a UNet alone, without text encoder and VAE"),
)
_MOTION: Final = ".motion_modules."
_KOLORS_TEXT: Final = 5632  # width of what its UNet reads beside the text; SDXL's is 2816
_PACKED: Final = (
    (("scaled_fp8", ".scale_weight", ".weight_scale", ".comfy_quant"), "scaled fp8 or its like"),
    ((".absmax", ".quant_map", ".SCB"), "quantized by bitsandbytes"),
    ((".qweight", ".qzeros"), "quantized to 4 or 8 bits"),
)
_SUPPORTED: Final = "Stable Diffusion 1 and 2, SDXL and its refiner are supported"


def detect_family(shapes: Shapes) -> Family | None:
    """Return the family of a checkpoint, or None where :func:`describe_foreign` has a reason against it.

    Args:
        shapes: Names of weights in the original layout, with their shapes.
    """
    return None if describe_foreign(shapes) else _family(shapes)


def describe_foreign(shapes: Shapes) -> str | None:
    """Tell why weights are no checkpoint that can be opened, naming what was found, or None."""
    reason = stranger(shapes)
    if reason is not None:
        return reason
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


def foreign_family(shapes: Shapes) -> str | None:
    """Return what model of a family that is not supported weights belong to, or None."""
    whole = _FIRST_WEIGHT in shapes and _family(shapes) is not None
    for prefix, family in _BESIDE:
        if _any(shapes, prefix):
            return family
    if not whole and any(_MOTION in name or name.startswith(_MOTION[1:]) for name in shapes):
        return "a motion module (AnimateDiff)"
    # Of a complete model what a stranger's names say counts only within its own UNet.
    inside = (UNET_PREFIX,) if whole else ("", *_PREFIXES)
    for start, family in _STRANGERS:
        if any(
            name.startswith(start, len(p)) for p in inside for name in shapes if name.startswith(p)
        ):
            return family
    added = shapes.get(f"{UNET_PREFIX}label_emb.0.0.weight", ())
    if len(added) == 2 and added[1] == _KOLORS_TEXT:
        return "Kolors"
    for start, what in () if whole else _ALONE:
        if _any(shapes, start):
            return what
    return None


def stranger(shapes: Shapes) -> str | None:
    """Tell why weights are nothing that can be used, by what they are, or None where they are unknown."""
    name = foreign_family(shapes)
    if name is not None:
        return f"it is {name}, which is not supported; {_SUPPORTED}"
    if _any(shapes, "down_blocks.") and _any(shapes, "time_embedding."):
        return "it is a UNet in diffusers' form; open the diffusers folder it belongs to"
    return packed(shapes)


def packed(names: Iterable[str]) -> str | None:
    """Tell why weights cannot be used whose numbers are packed, naming how, or None."""
    for name in names:
        for ends, how in _PACKED:
            if name.endswith(ends):
                return f"its weights are {how} ({name!r}), which is not supported; get an unpacked copy"
    return None


def input_channels(shapes: Shapes) -> int:
    """Return how many channels the UNet reads: 4 latents, and 5 more for inpainting."""
    shape = shapes[_FIRST_WEIGHT]
    return shape[1] if len(shape) == 4 else 0


def _family(names: Iterable[str]) -> Family | None:
    names = list(names)
    for family, spec in FAMILIES.items():
        if all(_any(names, encoder.prefix) for encoder in spec.encoders):
            return family
    return None


def _no_unet(shapes: Shapes) -> str:
    kinds = (*NETWORK_KINDS.values(), VAE)
    titles = {kind.inspected: f"{kind.article} {kind.noun}" for kind in kinds}
    title = (titles | {"optimizer state": "the state of an optimizer"}).get(detect_kind(shapes))
    if title is not None:
        return f"it is {title}, not a checkpoint"
    return f"it holds no UNet in the original layout; {_SUPPORTED}"


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
