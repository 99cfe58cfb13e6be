"""What ``--from FILE`` takes from the file, and what of it cannot be honored."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from promptengine.cli.field_options import flagged_fields, given_labels
from promptengine.cli.render import show_diagnostics
from promptengine.errors import ImageError
from promptengine.files.hashing import default_cache_file
from promptengine.generation.from_infotext import apply_recipe
from promptengine.images import read_image_info
from promptengine.infotext.read import Infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext
from promptengine.infotext.schedule_types import split_name
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.registry.registry import Kind, Registry
from promptengine.request.fields import ApiField
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.request import GenerationRequest

__all__ = ["read_recipe", "without_given"]

_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkpoint": ("Model", "Model hash"),
    "vae": ("VAE", "VAE hash"),
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
"""Entries that an option stands in for which is no field of a request."""


def read_recipe(
    options: argparse.Namespace, folders: Mapping[Kind, list[Path]]
) -> tuple[argparse.Namespace, GenerationRequest]:
    """Read the file of ``--from`` and print what of it cannot be honored.

    Returns:
        The options, with the file's checkpoint, VAE and, for img2img, treatment of the start image
        where none are given, and the file's request.

    Raises:
        ImageError: The file cannot be read or holds no infotext.
        OSError: There is no such file.
    """
    found = read_image_info(options.origin)
    if found.infotext is None:
        message = f"{found.nothing}, so there is nothing to make again"
        raise ImageError(message, path=found.path)
    registry = Registry.open(folders, cache_file=default_cache_file())
    recipe = recipe_from_infotext(without_given(found.infotext, options), registry)
    registry.digests.save()
    told = {name: value for name, value in _told(recipe).items() if hasattr(options, name)}
    request, left_out = apply_recipe(recipe, starts=hasattr(options, "image"), registry=registry)
    diagnostics = [*found.remarks, *recipe.diagnostics, *left_out]
    if options.checkpoint is None and recipe.checkpoint is None:
        chosen = "" if options.webui is None else "the one of WebUI's settings, or "
        message = f"the checkpoint is not known, so {chosen}the first of the models folder is used"
        diagnostics.append(kinds.UNKNOWN_CHECKPOINT(message, None, "name one with --checkpoint"))
    check_codes(options.ignore, "--ignore")
    show_diagnostics(without_codes(diagnostics, options.ignore), "", to_stderr=True)
    given = {name: value for name, value in vars(options).items() if value is not None}
    return argparse.Namespace(**{**vars(options), **told, **given}), request


def _told(recipe: Recipe) -> dict[str, object]:
    """Return what a recipe says that options of the command line say too, by their names."""
    told: dict[str, object] = {}
    for own, flag in (*flagged_fields(ImageStart), *flagged_fields(Inpainting)):
        api = own.spec.api
        if isinstance(api, ApiField) and api.defaults.keys() & recipe.fields.keys():
            theirs = (recipe.fields.get(name, usual) for name, usual in api.defaults.items())
            told[flag.dest] = api.read(*theirs)
    if recipe.checkpoint is not None:
        told["checkpoint"] = str(recipe.checkpoint.path)
    vae = recipe.options.get("sd_vae") if recipe.vae is None else str(recipe.vae.path)
    return told if vae is None else {**told, "vae": vae}


def without_given(infotext: Infotext, options: argparse.Namespace) -> Infotext:
    """Return an infotext without what the command line says itself, so that nothing is said about it."""
    given = {
        label
        for name, labels in _LABELS.items()
        if getattr(options, name, None) is not None
        for label in labels
    }
    given |= given_labels(options, GenerationRequest, HiresPass, ImageStart)
    entries = {key: value for key, value in infotext.entries.items() if key not in given}
    if getattr(options, "scheduler", None) is not None and "Sampler" in entries:
        entries["Sampler"], _ = split_name(entries["Sampler"])
    prompt = infotext.prompt if options.prompt is None else options.prompt
    return replace(infotext, prompt=prompt, entries=entries)
