"""What ``--from FILE`` takes from the file, and what of it cannot be honoured."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast, get_args

from promptengine.app.show import show_diagnostics
from promptengine.diffusion.picture.latents import LATENT_UPSCALERS
from promptengine.diffusion.picture.resize import UPSCALERS
from promptengine.diffusion.preparing import refuse_unhonoured
from promptengine.digests import default_cache_file
from promptengine.errors import PictureError, RequestError
from promptengine.pictures import read_picture
from promptengine.recipe.request import Recipe, request_from
from promptengine.recipe.text import Infotext
from promptengine.registry import Kind, Registry
from promptengine.request import GenerationRequest, HiresPass, MaskedContent, with_settings
from promptengine.syntax import Diagnostic

__all__ = ["honoured", "read_recipe", "without_given"]

_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "seed": ("Seed",),
    "steps": ("Steps",),
    "sampler": ("Sampler", "Schedule type"),
    "cfg_scale": ("CFG scale",),
    "clip_skip": ("Clip skip",),
    "checkpoint": ("Model", "Model hash"),
    "vae": ("VAE", "VAE hash"),
    "denoising": ("Denoising strength",),
    "hires_denoising_strength": ("Denoising strength",),
    "hires_scale": ("Hires upscale", "Hires resize"),
    "hires_upscaler": ("Hires upscaler",),
    "hires_steps": ("Hires steps",),
    "hires_sampler": ("Hires sampler", "Hires schedule type"),
    "hires_prompt": ("Hires prompt",),
    "hires_negative_prompt": ("Hires negative prompt",),
    "prompt": (
        "Hypernet",
        "Hypernet hash",
        "Hypernet hashes",
        "Hypernet skipped",
        "Hypernet strength",
        "Lora hashes",
        "TI hashes",
    ),
}
"""Entries that an option of the command line stands in for."""

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

_START_OPTIONS: Final[Mapping[str, str]] = {
    "denoising_strength": "denoising",
    "inpainting_mask_invert": "mask_invert",
    "mask_blur": "mask_blur",
    "inpainting_fill": "mask_content",
    "inpaint_full_res": "only_masked",
    "inpaint_full_res_padding": "mask_padding",
}
"""Likewise, which are options of ``promptengine img2img``."""

_OTHER_UPSCALER: Final = "Lanczos"


def read_recipe(
    options: argparse.Namespace, folders: Path | Mapping[Kind, list[Path]]
) -> tuple[argparse.Namespace, GenerationRequest]:
    """Read the file of ``--from`` and print what of it cannot be honoured.

    Returns:
        The options, with the file's checkpoint, VAE and, for img2img, treatment of the start picture
        where none are given, and the file's request.

    Raises:
        PictureError: The file cannot be read or holds no infotext.
        OSError: There is no such file.
    """
    found = read_picture(options.origin)
    if found.infotext is None:
        raise PictureError("holds no infotext, so there is nothing to make again", path=found.path)
    registry = Registry.open(folders, cache_file=default_cache_file())
    recipe = request_from(without_given(found.infotext, options), registry)
    registry.digests.save()
    told = {name: value for name, value in _told(recipe).items() if hasattr(options, name)}
    request, left_out = honoured(recipe, starts=hasattr(options, "image"))
    diagnostics = [*recipe.diagnostics, *left_out]
    if options.checkpoint is None and recipe.checkpoint is None:
        message = "the checkpoint is not known, so the first of the models folder is used"
        diagnostics.append(Diagnostic("warning", message, None, "name one with --checkpoint"))
    show_diagnostics(diagnostics, "", to_stderr=True)
    given = {name: value for name, value in vars(options).items() if value is not None}
    return argparse.Namespace(**{**vars(options), **told, **given}), request


def _told(recipe: Recipe) -> dict[str, object]:
    """What a recipe says that options of the command line say too, by their names."""
    told = {
        own: recipe.fields[name] for name, own in _START_OPTIONS.items() if name in recipe.fields
    }
    if (content := told.get("mask_content")) is not None:
        told["mask_content"] = get_args(MaskedContent)[cast("int", content)]
    if recipe.checkpoint is not None:
        told["checkpoint"] = str(recipe.checkpoint.path)
    vae = recipe.options.get("sd_vae") if recipe.vae is None else str(recipe.vae.path)
    return told if vae is None else {**told, "vae": vae}


def without_given(infotext: Infotext, options: argparse.Namespace) -> Infotext:
    """An infotext without what the command line says itself, so that nothing is said about it."""
    given = {
        label
        for name, labels in _LABELS.items()
        if getattr(options, name, None) is not None
        for label in labels
    }
    if options.width is not None and options.height is not None:
        given.add("Size")
    return replace(
        infotext,
        prompt=infotext.prompt if options.prompt is None else options.prompt,
        entries={key: value for key, value in infotext.entries.items() if key not in given},
    )


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
    treating = {"enable_hr", *_START_OPTIONS}
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
