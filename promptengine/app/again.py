"""What ``promptengine txt2img --from FILE`` takes from the file, and what of it cannot be honoured."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from promptengine.app.show import show_diagnostics
from promptengine.digests import default_cache_file
from promptengine.errors import PictureError
from promptengine.pictures import read_picture
from promptengine.recipe.request import Recipe, request_from
from promptengine.recipe.text import Infotext
from promptengine.registry import Kind, Registry
from promptengine.request import GenerationRequest
from promptengine.syntax import Diagnostic

__all__ = ["not_honoured", "read_recipe", "without_given"]

_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "seed": ("Seed",),
    "steps": ("Steps",),
    "sampler": ("Sampler", "Schedule type"),
    "cfg_scale": ("CFG scale",),
    "clip_skip": ("Clip skip",),
    "checkpoint": ("Model", "Model hash"),
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

_ALREADY_SO: Final[Mapping[str, object]] = {
    "always_discard_next_to_last_sigma": False,
    "emphasis": "Original",
    "eta_ancestral": 1.0,
    "eta_ddim": 0.0,
    "eta_noise_seed_delta": 0,
    "fp8_storage": "Disable",
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "randn_source": "CPU",
    "rho": 0.0,
    "s_min_uncond": 0.0,
    "sd_noise_schedule": "Default",
    "sd_vae": "Automatic",
    "sd_vae_decode_method": "Full",
    "sd_vae_encode_method": "Full",
    "sgm_noise_multiplier": False,
    "sigma_max": 0.0,
    "sigma_min": 0.0,
    "subseed_strength": 0.0,
    "tiling": False,
    "use_downcasted_alpha_bar": False,
    "use_old_scheduling": False,
}
"""Settings of WebUI at the value by which the engine works."""


def read_recipe(
    options: argparse.Namespace, folders: Path | Mapping[Kind, list[Path]]
) -> tuple[argparse.Namespace, GenerationRequest]:
    """Read the file of ``--from`` and print what of it cannot be honoured.

    Returns:
        The options, with the file's checkpoint where none is given, and the file's request.

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
    diagnostics = [*recipe.diagnostics, *not_honoured(recipe)]
    checkpoint = options.checkpoint
    if checkpoint is None and recipe.checkpoint is not None:
        checkpoint = str(recipe.checkpoint.path)
    elif checkpoint is None:
        message = "the checkpoint is not known, so the first of the models folder is used"
        diagnostics.append(Diagnostic("warning", message, None, "name one with --checkpoint"))
    show_diagnostics(diagnostics, "", to_stderr=True)
    return argparse.Namespace(**{**vars(options), "checkpoint": checkpoint}), recipe.request


def without_given(infotext: Infotext, options: argparse.Namespace) -> Infotext:
    """An infotext without what the command line says itself, so that nothing is said about it."""
    given = {
        label
        for name, labels in _LABELS.items()
        if getattr(options, name) is not None
        for label in labels
    }
    if options.width is not None and options.height is not None:
        given.add("Size")
    return replace(
        infotext,
        prompt=infotext.prompt if options.prompt is None else options.prompt,
        entries={key: value for key, value in infotext.entries.items() if key not in given},
    )


def not_honoured(recipe: Recipe) -> list[Diagnostic]:
    """What a recipe asks for and the engine does not do."""
    asked = {**recipe.options, **recipe.fields}
    found = [
        f"{name} = {value!r} is not supported yet and is left out"
        for name, value in asked.items()
        if name not in _ALREADY_SO or _ALREADY_SO[name] != value
    ]
    if recipe.vae is not None:
        found.append(f"VAE {recipe.vae.name!r} is not used; the checkpoint's own is")
    return [Diagnostic("warning", message) for message in found]
