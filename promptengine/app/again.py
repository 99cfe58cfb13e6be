"""What ``promptengine txt2img --from FILE`` takes from the file, and what of it cannot be honoured."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from promptengine.app.show import show_diagnostics
from promptengine.diffusion.preparing import refuse_unhonoured
from promptengine.digests import default_cache_file
from promptengine.errors import PictureError, RequestError
from promptengine.pictures import read_picture
from promptengine.recipe.request import Recipe, request_from
from promptengine.recipe.text import Infotext
from promptengine.registry import Kind, Registry
from promptengine.request import GenerationRequest, with_settings
from promptengine.syntax import Diagnostic

__all__ = ["honoured", "read_recipe", "without_given"]

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

_FIELDS: Final[Mapping[str, str]] = {
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
}
"""Fields of WebUI's API that a request has too, under a name of its own."""

_VAES: Final = frozenset({"Automatic", "None"})


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
    request, left_out = honoured(recipe)
    diagnostics = [*recipe.diagnostics, *left_out]
    checkpoint = options.checkpoint
    if checkpoint is None and recipe.checkpoint is not None:
        checkpoint = str(recipe.checkpoint.path)
    elif checkpoint is None:
        message = "the checkpoint is not known, so the first of the models folder is used"
        diagnostics.append(Diagnostic("warning", message, None, "name one with --checkpoint"))
    show_diagnostics(diagnostics, "", to_stderr=True)
    return argparse.Namespace(**{**vars(options), "checkpoint": checkpoint}), request


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


def honoured(recipe: Recipe) -> tuple[GenerationRequest, list[Diagnostic]]:
    """Put a recipe's settings into its request, as far as the engine can act on them.

    Returns:
        The request, and what of the recipe is left out.
    """
    request, found = recipe.request, list[str]()
    for name, value in recipe.options.items():
        if name == "sd_vae" and value in _VAES:
            continue
        try:
            changed = with_settings(request, {name: value})
            refuse_unhonoured(changed.options)
            request = changed
        except RequestError as error:
            found.append(f"{name} = {value!r} is left out: {error}")
    for name, value in recipe.fields.items():
        try:
            request = replace(request, **{_FIELDS[name]: value})
        except KeyError:
            found.append(f"{name} = {value!r} is not supported yet and is left out")
        except RequestError as error:
            found.append(f"{name} = {value!r} is left out: {error}")
    if recipe.vae is not None:
        found.append(f"VAE {recipe.vae.name!r} is not used; the checkpoint's own is")
    return request, [Diagnostic("warning", message) for message in found]
