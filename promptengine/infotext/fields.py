"""What WebUI's labels in infotexts are called in its settings and in the requests of its API."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

__all__ = ["FIELDS", "OPTIONS", "PICTURE_FIELDS", "RECORDS", "Label", "number", "whole"]

_WHOLE: Final = re.compile(r"-?[0-9]{1,30}")
_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}
_FILLS: Final = ("fill", "original", "latent noise", "latent nothing")


class Label(NamedTuple):
    """Where a value goes.

    Attributes:
        name: Of the setting or the field of a request.
        read: Makes the value of the text, or raises ValueError or KeyError.
    """

    name: str
    read: Callable[[str], object]


def whole(text: str) -> int:
    """Read a whole number; ValueError where it is none."""
    if _WHOLE.fullmatch(text.strip()) is None:
        raise ValueError("no whole number")
    return int(text.strip())


def number(text: str) -> float:
    """Read a finite number; ValueError where it is none."""
    value = float(text.strip())
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _truth(text: str) -> bool:
    return _TRUTH[text.lower()]


def _noise_source(text: str) -> str:
    # What NVIDIA's hardware draws can be drawn anywhere.
    return {"GPU": "NV", "NV": "NV", "CPU": "CPU"}[text.upper()]


OPTIONS: Final[Mapping[str, Label]] = {
    "Beta schedule alpha": Label("beta_dist_alpha", number),
    "Beta schedule beta": Label("beta_dist_beta", number),
    "Cache FP16 weight for LoRA": Label("cache_fp16_weight", _truth),
    "Conditional mask weight": Label("inpainting_mask_weight", number),
    "Discard penultimate sigma": Label("always_discard_next_to_last_sigma", _truth),
    "Downcast alphas_cumprod": Label("use_downcasted_alpha_bar", _truth),
    "ENSD": Label("eta_noise_seed_delta", whole),
    "Emphasis": Label("emphasis", str),
    "Eta": Label("eta_ancestral", number),
    "Eta DDIM": Label("eta_ddim", number),
    "Extra noise": Label("img2img_extra_noise", number),
    "FP8 weight": Label("fp8_storage", str),
    "Face restoration": Label("face_restoration_model", str),
    "NGMS": Label("s_min_uncond", number),
    "NGMS all steps": Label("s_min_uncond_all", _truth),
    "Noise Schedule": Label("sd_noise_schedule", str),
    "Noise multiplier": Label("initial_noise_multiplier", number),
    "Old prompt editing timelines": Label("use_old_scheduling", _truth),
    "Pad conds": Label("pad_cond_uncond", _truth),
    "Pad conds v0": Label("pad_cond_uncond_v0", _truth),
    "Prompt comments": Label("enable_prompt_comments", _truth),
    "RNG": Label("randn_source", _noise_source),
    "SGM noise multiplier": Label("sgm_noise_multiplier", _truth),
    "Schedule max sigma": Label("sigma_max", number),
    "Schedule min sigma": Label("sigma_min", number),
    "Schedule rho": Label("rho", number),
    "Sigma churn": Label("s_churn", number),
    "Sigma noise": Label("s_noise", number),
    "Sigma tmax": Label("s_tmax", number),
    "Sigma tmin": Label("s_tmin", number),
    "Skip Early CFG": Label("skip_early_cond", number),
    "Tiling": Label("tiling", _truth),
    "Token merging ratio": Label("token_merging_ratio", number),
    "Token merging ratio hr": Label("token_merging_ratio_hr", number),
    "UniPC lower order final": Label("uni_pc_lower_order_final", _truth),
    "UniPC order": Label("uni_pc_order", whole),
    "UniPC skip type": Label("uni_pc_skip_type", str),
    "UniPC variant": Label("uni_pc_variant", str),
    "VAE Decoder": Label("sd_vae_decode_method", str),
    "VAE Encoder": Label("sd_vae_encode_method", str),
}
"""Labels of settings."""

FIELDS: Final[Mapping[str, Label]] = {
    "Denoising strength": Label("denoising_strength", number),
    "Hires negative prompt": Label("hr_negative_prompt", str),
    "Hires prompt": Label("hr_prompt", str),
    "Hires sampler": Label("hr_sampler_name", str),
    "Hires schedule type": Label("hr_scheduler", str),
    "Hires steps": Label("hr_second_pass_steps", whole),
    "Hires upscale": Label("hr_scale", number),
    "Hires upscaler": Label("hr_upscaler", str),
    "Refiner": Label("refiner_checkpoint", str),
    "Refiner switch at": Label("refiner_switch_at", number),
    "Hires checkpoint": Label("hr_checkpoint_name", str),
    "Variation seed": Label("subseed", whole),
    "Variation seed strength": Label("subseed_strength", number),
}
"""Labels of what a request for a picture holds."""

PICTURE_FIELDS: Final[Mapping[str, Label]] = {
    "Image CFG scale": Label("image_cfg_scale", number),
    "Inpaint area": Label(
        "inpaint_full_res", {"Whole picture": False, "Only masked": True}.__getitem__
    ),
    "Mask blur": Label("mask_blur", whole),
    "Mask mode": Label(
        "inpainting_mask_invert", {"Inpaint masked": 0, "Inpaint not masked": 1}.__getitem__
    ),
    "Masked area padding": Label("inpaint_full_res_padding", whole),
    "Masked content": Label("inpainting_fill", _FILLS.index),
}
"""Labels of what a request for a change of a picture holds."""

RECORDS: Final = frozenset(
    {
        "Batch pos",
        "Batch size",
        "Civitai metadata",
        "Civitai resources",
        "Hashes",
        "Hypernet hashes",
        "Hypernet schedule",
        "Init image hash",
        "Lora hashes",
        "Prompt syntax",
        "TI hashes",
        "User",
        "Version",
    }
)
"""Labels that say something about a picture without asking for anything."""
