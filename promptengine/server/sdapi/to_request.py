"""WebUI's requests as what the engine takes, and what of them cannot be honored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

from promptengine.errors import RequestError
from promptengine.generation.from_infotext import with_known_samplers
from promptengine.generation.named_models import find_models
from promptengine.generation.prepare import batch_settings, check_supported
from promptengine.images.upscalers import (
    is_known_upscaler,
    latent_upscalers,
    pixel_upscalers,
)
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext
from promptengine.kinds import kind_of_word
from promptengine.prompt import Tag, parse
from promptengine.registry.registry import Registry
from promptengine.request.edit import apply_settings
from promptengine.request.fields import fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options
from promptengine.request.ranges import drawn_seed
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import find_sampler
from promptengine.request.schedulers import AUTOMATIC, find_scheduler
from promptengine.request.styles import (
    Style,
    chosen_styles,
    styled_hires_prompts,
    styled_prompts,
)
from promptengine.server.base64_images import open_base64_image, open_base64_images
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Work
from promptengine.server.limits import check_bounds
from promptengine.server.sdapi.dynamic import dynamic_call, is_dynamic_script, with_dynamic
from promptengine.server.sdapi.fields import api_values, read_fields
from promptengine.server.sdapi.options import ServerSettings, known_settings
from promptengine.server.sdapi.requests import GenerationFields, Image2Image, Text2Image
from promptengine.server.sdapi.scripts import script_call

__all__ = [
    "SOFT_FIELDS",
    "SOFT_INPAINTING",
    "ParsedRequest",
    "batch_key",
    "known_upscaler",
    "parse_webui_request",
]

_Fields = TypeVar("_Fields", bound=GenerationFields)

SOFT_INPAINTING: Final = "soft inpainting"
"""The one script that is always on here, of img2img."""

SOFT_FIELDS: Final = tuple(
    own.name for own in fields_of(Inpainting) if own.name.partition("_")[0] == "soft"
)
"""What its arguments say, in their order."""

_SAME_SAMPLER: Final = "use same sampler"
_SAME_SCHEDULER: Final = "use same scheduler"
_SWITCHES: Final = ("enabled", "enable", "is_enabled")
"""What scripts' units call their switch."""

_ALWAYS_TOLD: Final = (
    *("prompt", "negative_prompt", "seed", "steps", "sampler_name", "scheduler"),
    *("cfg_scale", "width", "height"),
)
"""What an infotext fills even where it says what is usual here, which the API's defaults need not be."""


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request that was understood.

    Attributes:
        work: For the queue.
        settings: WebUI's settings as they hold for it.
        fields: As sent, with what an infotext in it says; styles are not in the prompts yet.
        styles: Those that were found.
        warnings: What is not honored.
    """

    work: Work
    settings: Mapping[str, object]
    fields: GenerationFields
    styles: tuple[str, ...]
    warnings: tuple[str, ...]


def parse_webui_request(
    fields: GenerationFields,
    settings: ServerSettings,
    registry: Registry,
    styles: Sequence[Style],
    limits: Limits,
) -> ParsedRequest:
    """Make of WebUI's request what the engine takes.

    Raises:
        RequestError: A value that cannot be used.
        Refusal: A script, sampler, model or image that there is not.
    """
    idle = _idle_scripts(fields)
    fields, warnings = _with_infotext(fields, registry)
    warnings += idle + _maskless(fields)
    if isinstance(fields, Image2Image) and not fields.init_images:
        raise HTTPRefusal("Init image not found", status=404)
    overrides, unknown = _overrides(fields.override_settings)
    warnings += [f"override_settings: {name!r} is not known and does nothing" for name in unknown]
    values, model = settings.merged(overrides)
    chosen = chosen_styles(styles, fields.styles)
    warnings += _unheeded(fields, {style.name for style in chosen})
    check_bounds(fields, limits)
    most = limits.prompt_characters
    request = _request(fields, values, chosen, most)
    if isinstance(fields, Text2Image) and fields.enable_hr:
        request = replace(request, hires=_hires(fields, registry, chosen, most))
    if isinstance(fields, Image2Image):
        request = replace(request, start=_start(fields, limits))
    find_models(request, registry, model.checkpoint)
    request, images = with_dynamic(request, fields.alwayson_scripts)
    requests = _one_for_each_prompt(request, fields, chosen, most)
    script = script_call(fields, requests, registry, limits)
    if request.dynamic:
        if isinstance(fields.prompt, list):
            message = f"templates take one prompt (got a list of {len(requests)})"
            raise RequestError(message, field="prompt")
        script = dynamic_call(requests[0], images, registry, limits)
    work = Work(requests, model, batch_key(requests) if script is None else None, script)
    return ParsedRequest(
        work=work,
        settings=values,
        fields=fields,
        styles=tuple(style.name for style in chosen),
        warnings=tuple(warnings),
    )


def batch_key(requests: Sequence[GenerationRequest]) -> object:
    """Return what works must agree in to share a batch, or None; LoRAs and their like change the model for all of it."""
    if len({batch_settings(request) for request in requests}) > 1:
        return None
    settings = batch_settings(requests[0])
    prompts = [
        parse(text, comments=r.options.comments, dialect=r.dialect)
        for r in requests
        for text in (r.prompt, r.hires.prompt if r.hires else "")
    ]
    networks = frozenset(tag for p in prompts for tag in map(_of_batch, p.tags) if tag)
    return None if settings is None else (settings, networks)


def _of_batch(tag: Tag) -> tuple[str, ...]:
    """Return what a tag asks for that all images of a batch share; empty for those that each may have."""
    kind = kind_of_word(tag.kind)
    return () if kind is None or kind.per_image else (kind.name, *tag.arguments)


def _idle_scripts(fields: GenerationFields) -> list[str]:
    """Return what to say of scripts beside the request's own that would do nothing, being switched off.

    Raises:
        Refusal: 422, for one that would do something, since there is none here.
    """
    given = {
        name[:100]: content
        for name, content in fields.alwayson_scripts.items()
        if content and not (isinstance(fields, Image2Image) and name.lower() == SOFT_INPAINTING)
        if not is_dynamic_script(name)
    }
    for name, content in given.items():
        if not _is_off(content):
            raise HTTPRefusal(f"always on script {name} not found", status=422)
    return [
        f"always on script {name} not found; it is switched off, so nothing is missing"
        for name in given
    ]


def _maskless(fields: GenerationFields) -> list[str]:
    """Return what to say of soft inpainting without a mask, which does nothing, as in WebUI."""
    if not isinstance(fields, Image2Image) or fields.mask is not None:
        return []
    asked = _soft_inpainting(fields).get("soft", fields.soft_inpainting)
    return [f"{SOFT_INPAINTING} does nothing without a mask"] if asked else []


def _soft_inpainting(fields: GenerationFields) -> dict[str, Any]:
    """Return what the script's arguments say of :class:`Inpainting`'s fields, by our names.

    Raises:
        Refusal: 422, for arguments that are no list, or too many.
    """
    found = [
        script
        for name, script in fields.alwayson_scripts.items()
        if name.lower() == SOFT_INPAINTING
    ]
    if not found or not found[-1]:
        return {}
    script = found[-1]
    arguments = cast("dict[str, object]", script).get("args") if isinstance(script, dict) else None
    if not isinstance(arguments, list) or len(arguments) > len(SOFT_FIELDS):
        message = f"always on script {SOFT_INPAINTING}: args must be a list of up to"
        raise HTTPRefusal(f"{message} {len(SOFT_FIELDS)} values", status=422)
    pairs = zip(SOFT_FIELDS, cast("list[object]", arguments), strict=False)
    return {name: value for name, value in pairs if value is not None}


def _is_off(script: object) -> bool:
    """Return whether a script's arguments say so: those of every unit, or the first of all."""
    arguments = cast("dict[str, object]", script).get("args") if isinstance(script, dict) else None
    units = cast("list[object]", arguments) if isinstance(arguments, list) else [arguments]
    return units[:1] == [False] or (bool(units) and all(map(_is_off_unit, units)))


def _is_off_unit(unit: object) -> bool:
    settings = cast("dict[str, object]", unit) if isinstance(unit, dict) else {}
    return any(settings.get(name) is False for name in _SWITCHES)


def _overrides(given: Mapping[str, Any]) -> tuple[dict[str, object], list[str]]:
    """Return the settings of a request that are known, and the names of the others."""
    known = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(name[:100] for name in known if name not in known_settings())
    return {name: value for name, value in known.items() if name in known_settings()}, unknown


def _with_infotext(fields: _Fields, registry: Registry) -> tuple[_Fields, list[str]]:
    """Fill from an infotext every field that is not given."""
    # An empty one is none, as to WebUI.
    if not fields.infotext:
        return fields, []
    recipe, said = with_known_samplers(
        recipe_from_infotext(read_infotext(fields.infotext), registry)
    )
    told = {
        name: value for name, value in _told(recipe).items() if name in type(fields).model_fields
    }
    told = {name: value for name, value in told.items() if name not in fields.model_fields_set}
    overrides = {**_told_settings(recipe), **fields.override_settings}
    filled = type(fields).model_validate(
        {**fields.model_dump(exclude_unset=True), **told, "override_settings": overrides}
    )
    return filled, [*(diagnostic.message for diagnostic in recipe.diagnostics), *said]


def _told(recipe: Recipe) -> dict[str, object]:
    """Return what a recipe says, by the API's names; what is at its default there is not said."""
    request = recipe.request
    usual = api_values(GenerationRequest(prompt=""))
    said = {name: value for name, value in api_values(request).items() if value != usual[name]}
    always = {name: api_values(request)[name] for name in _ALWAYS_TOLD}
    return {**always, **said, **recipe.fields}


def _told_settings(recipe: Recipe) -> dict[str, object]:
    told = {name: value for name, value in recipe.options.items() if name in known_settings()}
    if recipe.request.clip_skip > 1:
        told["CLIP_stop_at_last_layers"] = recipe.request.clip_skip
    if recipe.checkpoint is not None:
        told["sd_model_checkpoint"] = recipe.checkpoint.name
    if recipe.vae is not None:
        told["sd_vae"] = recipe.vae.name
    return told


def _unheeded(fields: GenerationFields, styles: set[str]) -> list[str]:
    """Return what of a request does nothing here, in words."""
    found = [
        f"style {name[:100]!r} is not known"
        for name in fields.styles
        if name not in ("", "None", *styles)
    ]
    names = ("restore_faces", "firstpass_image", "latent_mask")
    found += [f"{name} is not honored" for name in names if getattr(fields, name, None)]
    if not fields.override_settings_restore_afterwards and fields.override_settings:
        found.append(
            "override_settings hold for this request only; POST options changes them for all"
        )
    if fields.comments:
        found.append("comments are not written into the infotext")
    return found


def _request(
    fields: GenerationFields,
    values: Mapping[str, object],
    styles: Sequence[Style],
    most: int,
) -> GenerationRequest:
    """Return the request, but for what it starts from, its second pass and further prompts."""
    given = read_fields(fields, GenerationRequest)
    sampler = _sampler(given["sampler"])
    first = fields.prompt[0] if isinstance(fields.prompt, list) else fields.prompt
    given |= {
        **styled_prompts(first, fields.negative_prompt, styles, most=most),
        "scheduler": _scheduler(fields.scheduler) or AUTOMATIC,
        "seed": drawn_seed(fields.seed),
        "variation_seed": drawn_seed(fields.subseed),
    }
    request = GenerationRequest(**given)
    # What the request itself says goes before the settings.
    known = {
        name: values[name]
        for name in SETTINGS
        if name in values and REQUEST_SETTINGS.get(name) not in given
    }
    request = apply_settings(request, known)
    if fields.disable_extra_networks:
        request = _without_tags(request)
    own = {**_sampler_settings(fields, sampler), **_merging_settings(fields, values)}
    request = replace(request, options=Options.from_webui(own, request.options))
    check_supported(request.options)
    return request


def _sampler(name: str) -> str:
    """Return the sampler that is asked for.

    Raises:
        Refusal: 404, where there is none of the name.
    """
    _look_up("Sampler", find_sampler, name)
    return name


def _scheduler(name: str | None) -> str | None:
    """Return the schedule type that is asked for, or None.

    Raises:
        Refusal: 404, where there is none of the name; WebUI takes the sampler's own.
    """
    if name is not None:
        _look_up("Scheduler", find_scheduler, name)
    return name


def _look_up(what: str, find: Callable[[str], object], name: str) -> None:
    try:
        find(name)
    except RequestError as error:
        raise HTTPRefusal(f"{what} not found: {error}", status=404) from None


def _sampler_settings(fields: GenerationFields, sampler: str) -> dict[str, object]:
    """WebUI's settings of samplers that are fields of a request as well."""
    names = ("s_min_uncond", "s_churn", "s_tmax", "s_tmin", "s_noise")
    given = {name: getattr(fields, name) for name in names}
    eta = find_sampler(sampler).settings.get("eta")
    if eta is not None:
        given[Options.webui_name(eta)] = fields.eta
    given["initial_noise_multiplier"] = getattr(fields, "initial_noise_multiplier", None)
    return {name: value for name, value in given.items() if value is not None}


def _merging_settings(fields: GenerationFields, values: Mapping[str, object]) -> dict[str, object]:
    """WebUI's settings of token merging that a request's own fields say.

    In img2img its own setting is only for requests that say nothing, be it by a field or an override.
    """
    whole, img2img, hires = (
        Options.webui_name(own)
        for own in ("token_merging", "token_merging_img2img", "token_merging_hires")
    )
    given: dict[str, object] = {
        whole: fields.token_merging_ratio,
        hires: fields.token_merging_ratio_hr,
    }
    if isinstance(fields, Image2Image):
        told = values[whole] if whole in fields.override_settings else None
        given[img2img] = fields.token_merging_ratio or told
    return {name: value for name, value in given.items() if value}


def _without_tags(request: GenerationRequest) -> GenerationRequest:
    """Return a request whose prompt is free of tags, and that has no networks by settings either."""
    prompt = request.prompt
    for tag in reversed(
        parse(prompt, comments=request.options.comments, dialect=request.dialect).tags
    ):
        prompt = prompt[: tag.span.start] + prompt[tag.span.end :]
    options = replace(request.options, hypernetwork="None", lora="None")
    return replace(request, prompt=prompt, options=options)


def _hires(fields: Text2Image, registry: Registry, styles: Sequence[Style], most: int) -> HiresPass:
    sampler, scheduler = fields.hr_sampler_name, fields.hr_scheduler
    if sampler is not None and sampler.lower() == _SAME_SAMPLER:
        sampler = None
    if sampler is not None:
        _look_up("Sampler", find_sampler, sampler)
    if scheduler is not None and scheduler.lower() == _SAME_SCHEDULER:
        scheduler = None
    known_upscaler(fields.hr_upscaler, registry)
    given = read_fields(fields, HiresPass)
    given |= {"sampler": sampler, "scheduler": _scheduler(scheduler)}
    given |= styled_hires_prompts(given["prompt"], given["negative_prompt"], styles, most=most)
    return HiresPass(**given)


def known_upscaler(name: str | None, registry: Registry) -> None:
    """Refuse the name of an upscaler of the second pass that there is not.

    Raises:
        Refusal: 404.
    """
    if name is not None and not is_known_upscaler(name, registry):
        known = [*latent_upscalers(), *pixel_upscalers(registry)]
        message = f"Upscaler not found: {name[:100]!r}; there are {', '.join(known)}"
        raise HTTPRefusal(message, status=404)


def _start(fields: Image2Image, limits: Limits) -> ImageStart:
    """Return what img2img starts from, decoded."""
    inpainting = None
    if fields.mask is not None:
        # What the script says is written as it was sent: 1 and 1.0 are told apart.
        given = read_fields(fields, Inpainting) | _soft_inpainting(fields)
        given["mask"] = open_base64_image(fields.mask, limits)
        inpainting = Inpainting(**given)
    given = read_fields(fields, ImageStart)
    given["images"] = open_base64_images(fields.init_images, limits)
    return ImageStart(**given, inpainting=inpainting)


def _one_for_each_prompt(
    request: GenerationRequest,
    fields: GenerationFields,
    styles: Sequence[Style],
    most: int,
) -> tuple[GenerationRequest, ...]:
    """Return the request itself, or where it holds a list of prompts one for each, with seeds that follow."""
    if not isinstance(fields.prompt, list):
        return (request,)
    varied = request.variation_strength > 0
    requests = [
        replace(
            request,
            prompt=styled_prompts(prompt, "", styles, most=most)["prompt"],
            batch_size=1,
            batch_count=1,
            seed=request.seed + (0 if varied else number),
            variation_seed=request.variation_seed + (number if varied else 0),
        )
        for number, prompt in enumerate(fields.prompt)
    ]
    return tuple(_without_tags(r) if fields.disable_extra_networks else r for r in requests)
