"""What WebUI's labels in infotexts are called in its settings and in the requests of its API."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

__all__ = [
    "FIELDS",
    "INIT_IMAGE_FIELDS",
    "OPTIONS",
    "RECORDS",
    "InfotextField",
    "parse_float",
    "parse_int",
]

_WHOLE: Final = re.compile(r"-?[0-9]{1,30}")
_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}
_FILLS: Final = ("fill", "original", "latent noise", "latent nothing")


class InfotextField(NamedTuple):
    """Where a value goes.

    Attributes:
        name: Of the setting or the field of a request.
        read: Makes the value of the text, or raises ValueError or KeyError.
    """

    name: str
    read: Callable[[str], object]


def parse_int(text: str) -> int:
    """Read a whole number; ValueError where it is none."""
    if _WHOLE.fullmatch(text.strip()) is None:
        raise ValueError("no whole number")
    return int(text.strip())


def parse_float(text: str) -> float:
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


OPTIONS: Final[Mapping[str, InfotextField]] = {
    "Beta schedule alpha": InfotextField("beta_dist_alpha", parse_float),
    "Beta schedule beta": InfotextField("beta_dist_beta", parse_float),
    "Beta scheduler alpha": InfotextField("beta_dist_alpha", parse_float),
    "Beta scheduler beta": InfotextField("beta_dist_beta", parse_float),
    "Cache FP16 weight for LoRA": InfotextField("cache_fp16_weight", _truth),
    "Conditional mask weight": InfotextField("inpainting_mask_weight", parse_float),
    "Discard penultimate sigma": InfotextField("always_discard_next_to_last_sigma", _truth),
    "Downcast alphas_cumprod": InfotextField("use_downcasted_alpha_bar", _truth),
    "ENSD": InfotextField("eta_noise_seed_delta", parse_int),
    "Emphasis": InfotextField("emphasis", str),
    "Eta": InfotextField("eta_ancestral", parse_float),
    "Eta DDIM": InfotextField("eta_ddim", parse_float),
    "Extra noise": InfotextField("img2img_extra_noise", parse_float),
    "FP8 weight": InfotextField("fp8_storage", str),
    "Face restoration": InfotextField("face_restoration_model", str),
    "Hires refiner": InfotextField("hires_fix_refiner_pass", str),
    "NGMS": InfotextField("s_min_uncond", parse_float),
    "NGMS all steps": InfotextField("s_min_uncond_all", _truth),
    "Noise Schedule": InfotextField("sd_noise_schedule", str),
    "Noise multiplier": InfotextField("initial_noise_multiplier", parse_float),
    "Old prompt editing timelines": InfotextField("use_old_scheduling", _truth),
    "Pad conds": InfotextField("pad_cond_uncond", _truth),
    "Pad conds v0": InfotextField("pad_cond_uncond_v0", _truth),
    "Prompt comments": InfotextField("enable_prompt_comments", _truth),
    "RNG": InfotextField("randn_source", _noise_source),
    "Refiner switch by sampling steps": InfotextField("refiner_switch_by_sample_steps", _truth),
    "SGM noise multiplier": InfotextField("sgm_noise_multiplier", _truth),
    "Schedule max sigma": InfotextField("sigma_max", parse_float),
    "Schedule min sigma": InfotextField("sigma_min", parse_float),
    "Schedule rho": InfotextField("rho", parse_float),
    "Sigma churn": InfotextField("s_churn", parse_float),
    "Sigma noise": InfotextField("s_noise", parse_float),
    "Sigma tmax": InfotextField("s_tmax", parse_float),
    "Sigma tmin": InfotextField("s_tmin", parse_float),
    "Skip Early CFG": InfotextField("skip_early_cond", parse_float),
    "Tiling": InfotextField("tiling", _truth),
    "Token merging ratio": InfotextField("token_merging_ratio", parse_float),
    "Token merging ratio hr": InfotextField("token_merging_ratio_hr", parse_float),
    "UniPC lower order final": InfotextField("uni_pc_lower_order_final", _truth),
    "UniPC order": InfotextField("uni_pc_order", parse_int),
    "UniPC skip type": InfotextField("uni_pc_skip_type", str),
    "UniPC variant": InfotextField("uni_pc_variant", str),
    "VAE Decoder": InfotextField("sd_vae_decode_method", str),
    "VAE Encoder": InfotextField("sd_vae_encode_method", str),
}
"""Labels of settings. Of the shape of Beta's schedule WebUI writes the one pair and reads the other."""

FIELDS: Final[Mapping[str, InfotextField]] = {
    "Denoising strength": InfotextField("denoising_strength", parse_float),
    "Hires negative prompt": InfotextField("hr_negative_prompt", str),
    "Hires prompt": InfotextField("hr_prompt", str),
    "Hires sampler": InfotextField("hr_sampler_name", str),
    "Hires schedule type": InfotextField("hr_scheduler", str),
    "Hires steps": InfotextField("hr_second_pass_steps", parse_int),
    "Hires upscale": InfotextField("hr_scale", parse_float),
    "Hires upscaler": InfotextField("hr_upscaler", str),
    "Refiner": InfotextField("refiner_checkpoint", str),
    "Refiner switch at": InfotextField("refiner_switch_at", parse_float),
    "Hires checkpoint": InfotextField("hr_checkpoint_name", str),
    "Variation seed": InfotextField("subseed", parse_int),
    "Variation seed strength": InfotextField("subseed_strength", parse_float),
}
"""Labels of what a request for an image holds."""

INIT_IMAGE_FIELDS: Final[Mapping[str, InfotextField]] = {
    "Image CFG scale": InfotextField("image_cfg_scale", parse_float),
    "Inpaint area": InfotextField(
        "inpaint_full_res", {"Whole picture": False, "Only masked": True}.__getitem__
    ),
    "Mask blur": InfotextField("mask_blur", parse_int),
    "Mask mode": InfotextField(
        "inpainting_mask_invert", {"Inpaint masked": 0, "Inpaint not masked": 1}.__getitem__
    ),
    "Masked area padding": InfotextField("inpaint_full_res_padding", parse_int),
    "Masked content": InfotextField("inpainting_fill", _FILLS.index),
}
"""Labels of what a request for a change of an image holds."""

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
        "Plugins",
        "Prompt syntax",
        "TI hashes",
        "User",
        "Version",
    }
)
"""Labels that say something about an image without asking for anything."""
