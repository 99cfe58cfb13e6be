"""What of a recipe an engine can act on, as a request; the rest is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from promptengine.errors import RequestError
from promptengine.generation.prepare import check_supported
from promptengine.images.upscalers import is_known_upscaler
from promptengine.infotext.read import Infotext, read_infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext, without
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.open_models import Models, open_models
from promptengine.registry.registry import Registry
from promptengine.request.edit import apply_settings
from promptengine.request.fields import ApiField, Entry, fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import find_sampler
from promptengine.validation import check_type

__all__ = [
    "START_FIELDS",
    "apply_recipe",
    "request_from_infotext",
    "with_known_samplers",
]

START_FIELDS: Final = frozenset(
    name
    for owner in (ImageStart, Inpainting)
    for own in fields_of(owner)
    if isinstance(own.spec.entry, Entry) and isinstance(own.spec.api, ApiField)
    for name in own.spec.api.defaults
)
"""Fields of WebUI's API that say how an image to start from is treated."""

_HIRES_FIELDS: Final[Mapping[str, str]] = {
    name: own.name
    for own in fields_of(HiresPass)
    if isinstance(own.spec.api, ApiField)
    for name in own.spec.api.defaults
}
"""What WebUI's API calls the fields of the second pass."""

_OTHER_UPSCALER: Final = "Lanczos"


def apply_recipe(
    recipe: Recipe, *, starts: bool = False, registry: Registry | None = None
) -> tuple[GenerationRequest, list[Diagnostic]]:
    """Put a recipe's settings into its request, as far as the engine can act on them.

    Args:
        recipe: As read.
        starts: Whether there will be an image to start from, so that what an infotext says about
            its treatment is used elsewhere.
        registry: Where networks that enlarge images are looked up, if any are.

    Returns:
        The request, and what of the recipe is left out.

    Raises:
        RequestError: ``recipe`` is none.
    """
    check_type("recipe", recipe, Recipe, words="a Recipe")
    recipe, found = with_known_samplers(recipe)
    request = recipe.request
    for name, value in recipe.options.items():
        if name == "sd_vae":
            continue
        try:
            changed = apply_settings(request, {name: value})
            check_supported(changed.options)
            request = changed
        except RequestError as error:
            found.append(f"{name} = {value!r} is left out: {error}")
    fields = recipe.fields
    if fields.get("enable_hr", False) and not starts:
        request, fields, remarks = _with_hires(request, fields, registry)
        found += remarks
    # What treats a start image is used elsewhere, or left out with it, as the recipe says itself.
    treating = {"enable_hr", *START_FIELDS}
    fields = {name: value for name, value in fields.items() if name not in treating}
    found += [
        f"{name} = {value!r} means nothing here and is left out" for name, value in fields.items()
    ]
    return request, [kinds.SETTING_LEFT_OUT(message) for message in found]


def request_from_infotext(
    infotext: str | Infotext, models: Models = "models"
) -> tuple[GenerationRequest, tuple[Diagnostic, ...]]:
    """Return the request that makes an infotext's image again, options and second pass included.

    Args:
        infotext: A text as images hold it, or one that was read.
        models: A folder, a mapping of kinds to folders, or a registry: where networks are looked up.

    Returns:
        The request, and what of the infotext is missing from it, the checkpoint's and the VAE's choice
        apart, which are the engine's; :func:`promptengine.recipe_from_infotext` finds their files.

    Raises:
        RequestError: The text is no infotext, or an argument has another type.
    """
    check_type("infotext", infotext, str, Infotext, words="text or an Infotext")
    read = read_infotext(infotext) if isinstance(infotext, str) else infotext
    registry = open_models(models)
    recipe = recipe_from_infotext(read, registry)
    request, left_out = apply_recipe(recipe, registry=registry)
    return request, tuple(dict.fromkeys([*recipe.diagnostics, *left_out]))


def with_known_samplers(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Put defaults in the place of samplers and schedule types that are not here.

    Returns:
        The recipe, and what to say.
    """
    request, fields, said = recipe.request, dict(recipe.fields), list[str]()
    default = GenerationRequest(prompt="")
    for name, arguments in (
        ("sampler", (request.sampler,)),
        ("scheduler", (default.sampler, request.scheduler)),
    ):
        if why := _unknown(*arguments):
            said.append(without(name, getattr(request, name), why))
            request = replace(request, **{name: getattr(default, name)})
    for name, arguments in (
        ("hr_sampler_name", (str(fields.get("hr_sampler_name", default.sampler)),)),
        ("hr_scheduler", (default.sampler, str(fields.get("hr_scheduler", "automatic")))),
    ):
        if why := _unknown(*arguments):
            said.append(f"{name} = {fields.pop(name)!r} is left out: {why}")
    return replace(recipe, request=request, fields=fields), said


def _unknown(sampler: str, scheduler: str = "automatic") -> str:
    """Why a sampler with a schedule type cannot be had, or nothing."""
    try:
        find_sampler(sampler, scheduler)
    except RequestError as error:
        return str(error)
    return ""


def _with_hires(
    request: GenerationRequest, fields: Mapping[str, object], registry: Registry | None
) -> tuple[GenerationRequest, dict[str, object], list[str]]:
    """Return a request with the second pass of a recipe, the fields that are left, and what to say."""
    own = {_HIRES_FIELDS[name]: value for name, value in fields.items() if name in _HIRES_FIELDS}
    left = {name: value for name, value in fields.items() if name not in _HIRES_FIELDS}
    remarks: list[str] = []
    upscaler = own.get("upscaler")
    if upscaler is not None and not is_known_upscaler(str(upscaler), registry):
        remarks.append(f"upscaler {upscaler!r} is not here, so {_OTHER_UPSCALER} is used")
        own["upscaler"] = _OTHER_UPSCALER
    try:
        hires = HiresPass(**cast("dict[str, Any]", own))
    except RequestError as error:
        return request, left, [*remarks, f"the high-resolution pass is left out: {error}"]
    return replace(request, hires=hires), left, remarks
