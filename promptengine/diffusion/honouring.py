"""What of a recipe an engine can act on, as a request; the rest is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from promptengine.diffusion.picture.latents import LATENT_UPSCALERS
from promptengine.diffusion.picture.resize import UPSCALERS
from promptengine.diffusion.preparing import refuse_unhonoured
from promptengine.errors import RequestError
from promptengine.recipe.request import Recipe
from promptengine.request import GenerationRequest, HiresPass, with_settings
from promptengine.syntax import Diagnostic

__all__ = ["START_FIELDS", "honoured"]

START_FIELDS: Final = frozenset(
    {
        "denoising_strength",
        "inpainting_mask_invert",
        "mask_blur",
        "inpainting_fill",
        "inpaint_full_res",
        "inpaint_full_res_padding",
    }
)
"""Fields of WebUI's API that say how a picture to start from is treated."""

_FIELDS: Final[Mapping[str, str]] = {
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
    "seed_resize_from": "seed_resize_from",
}
"""Fields of WebUI's API that a request has too, under a name of its own."""

_HIRES_FIELDS: Final[Mapping[str, str]] = {
    "hr_scale": "scale",
    "hr_resize_x": "resize_x",
    "hr_resize_y": "resize_y",
    "hr_upscaler": "upscaler",
    "hr_second_pass_steps": "steps",
    "hr_sampler_name": "sampler",
    "hr_prompt": "prompt",
    "hr_negative_prompt": "negative_prompt",
    "denoising_strength": "denoising_strength",
}
"""Likewise, of the high-resolution pass."""

_OTHER_UPSCALER: Final = "Lanczos"


def honoured(recipe: Recipe, *, starts: bool = False) -> tuple[GenerationRequest, list[Diagnostic]]:
    """Put a recipe's settings into its request, as far as the engine can act on them.

    Args:
        recipe: As read.
        starts: Whether there will be a picture to start from, so that what an infotext says about
            its treatment is used elsewhere.

    Returns:
        The request, and what of the recipe is left out.
    """
    request, found = recipe.request, list[str]()
    for name, value in recipe.options.items():
        if name == "sd_vae":
            continue
        try:
            changed = with_settings(request, {name: value})
            refuse_unhonoured(changed.options)
            request = changed
        except RequestError as error:
            found.append(f"{name} = {value!r} is left out: {error}")
    fields = recipe.fields
    if fields.get("enable_hr", False) and not starts:
        request, fields, remarks = _with_hires(request, fields)
        found += remarks
    # What treats a start picture is used elsewhere, or left out with it, as the recipe says itself.
    treating = {"enable_hr", *START_FIELDS}
    fields = {name: value for name, value in fields.items() if name not in treating}
    size = fields.pop("seed_resize_from_w", 0), fields.pop("seed_resize_from_h", 0)
    if all(size):
        fields["seed_resize_from"] = size
    for name, value in fields.items():
        try:
            request = replace(request, **{_FIELDS[name]: value})
        except KeyError:
            found.append(f"{name} = {value!r} means nothing here and is left out")
        except RequestError as error:
            found.append(f"{name} = {value!r} is left out: {error}")
    return request, [Diagnostic("warning", message) for message in found]


def _with_hires(
    request: GenerationRequest, fields: Mapping[str, object]
) -> tuple[GenerationRequest, dict[str, object], list[str]]:
    """A request with the second pass of a recipe, the fields that are left, and what to say."""
    own = {_HIRES_FIELDS[name]: value for name, value in fields.items() if name in _HIRES_FIELDS}
    left = {name: value for name, value in fields.items() if name not in _HIRES_FIELDS}
    remarks: list[str] = []
    if (scheduler := left.pop("hr_scheduler", None)) is not None:
        own["sampler"] = f"{own.get('sampler', request.sampler)} {scheduler}"
    upscaler = own.get("upscaler")
    if upscaler is not None and upscaler not in (*LATENT_UPSCALERS, *UPSCALERS):
        remarks.append(f"upscaler {upscaler!r} is not here, so {_OTHER_UPSCALER} is used")
        own["upscaler"] = _OTHER_UPSCALER
    try:
        hires = HiresPass(**cast("dict[str, Any]", own))
    except RequestError as error:
        return request, left, [*remarks, f"the high-resolution pass is left out: {error}"]
    return replace(request, hires=hires), left, remarks
