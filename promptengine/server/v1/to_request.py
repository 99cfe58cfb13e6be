"""Our own form of a job as what the queue takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from promptengine.errors import (
    PromptEngineError,
    PromptSyntaxError,
    RequestError,
    UnknownNetworkError,
)
from promptengine.generation.named_models import find_models
from promptengine.generation.prepare import check_supported
from promptengine.generation.region_plan import plan_regions
from promptengine.inspection import size_of_checkpoint
from promptengine.prompt import parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.edit import append_default_hypernetwork, apply_settings
from promptengine.request.fields import fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.plan import make_plan
from promptengine.request.ranges import drawn_seed
from promptengine.request.regions import Region
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import find_sampler
from promptengine.request.styles import (
    Style,
    chosen_styles,
    read_styles,
    styled_hires_prompts,
    styled_prompts,
)
from promptengine.server.base64_images import open_base64_image, open_base64_images
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Work
from promptengine.server.jobs.worker import Model
from promptengine.server.limits import (
    affordable,
    check_image_count,
    check_second_size,
    check_size,
    check_texts,
)
from promptengine.server.sdapi.dynamic import dynamic_call
from promptengine.server.sdapi.options import ServerSettings, read_options
from promptengine.server.sdapi.to_request import batch_key, known_upscaler
from promptengine.server.v1.forms import StrictForm
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.script_calls import script_from_form

__all__ = ["named_model", "request_from_form", "work_from_form"]

_Form = TypeVar("_Form", bound=StrictForm)

_PLAIN: Final = {own.name for own in fields_of(GenerationRequest)}
"""What a form says in a request's own words."""


def work_from_form(
    form: JobForm, settings: ServerSettings, registry: Registry, limits: Limits
) -> Work:
    """Make of a form what the queue takes; whatever can be refused without the model is.

    Raises:
        PromptEngineError: A value that cannot be used, or with the policy ``strict`` a network that
            is not here.
        Refusal: 404, for a checkpoint or VAE that is not here.
    """
    request, model = request_from_form(form, settings, registry, limits)
    if form.script is None and request.dynamic:
        return Work((request,), model, None, dynamic_call(request, 0, registry, limits))
    if form.script is None:
        return Work((request,), model, batch_key((request,)))
    script = script_from_form(form.script, request, registry, limits)
    return Work((request,), model, None, script)


def request_from_form(
    form: JobForm, settings: ServerSettings, registry: Registry, limits: Limits
) -> tuple[GenerationRequest, Model]:
    """Make of a form the request and the model it is for, whatever its script does with them.

    Raises:
        PromptEngineError: As :func:`work_from_form`.
    """
    form = _filled(form, settings.form_defaults)
    _check(form, limits)
    chosen = _chosen(form, settings)
    model = named_model(form.checkpoint, form.vae, settings)
    request = _request(form)
    prompts = (request.prompt, request.negative_prompt)
    most = limits.prompt_characters
    request = replace(request, **styled_prompts(*prompts, chosen, most=most))
    request = apply_settings(request, {**settings.usual, **read_options(form.options)})
    check_supported(request.options)
    find_sampler(request.sampler, request.scheduler)
    if form.hires is not None:
        hires = HiresPass(**form.hires.model_dump())
        prompts = (hires.prompt, hires.negative_prompt)
        hires = replace(hires, **styled_hires_prompts(*prompts, chosen, most=most))
        with _about("hires.upscaler"):
            known_upscaler(hires.upscaler, registry)
        request = replace(request, hires=hires)
    if form.start is not None:
        request = replace(request, start=_start(form.start, limits))
    if form.regions:
        request = replace(request, regions=_regions(form.regions, limits))
    find_models(request, registry, model.checkpoint)
    _check_sizes(request, model, limits)
    _plan(request, registry, limits)
    return request, model


def _filled(form: _Form, defaults: Mapping[str, object], above: str = "") -> _Form:
    """Return a form with the server's own defaults in the place of fields that it leaves out.

    Args:
        form: A job's, or one within it.
        defaults: By their paths.
        above: Path of the form, with a dot at its end.
    """
    changes: dict[str, object] = {
        name: defaults[above + name]
        for name in type(form).model_fields
        if above + name in defaults and name not in form.model_fields_set
    }
    for name in form.model_fields_set:
        if isinstance(inner := getattr(form, name), StrictForm):
            changes[name] = _filled(inner, defaults, f"{above}{name}.")
    return form.model_copy(update=changes)


def _chosen(form: JobForm, settings: ServerSettings) -> list[Style]:
    """Return the styles of a form.

    Raises:
        RequestError: One is not there.
    """
    if not form.styles:
        return []
    styles = read_styles(settings.styles_file)
    known = {style.name for style in styles}
    missing = next((name for name in form.styles if name not in known), None)
    if missing is not None:
        message = f"style {missing[:100]!r} is not there; choose one of the list, or save it first"
        raise RequestError(message, field="styles")
    return chosen_styles(styles, form.styles)


def named_model(checkpoint: str | None, vae: str | None, settings: ServerSettings) -> Model:
    """Return what is opened: the names that a form gives, and the server's own where it gives none.

    Raises:
        Refusal: 404, for a checkpoint or VAE that is not here.
    """
    chosen: dict[str, object] = {}
    if checkpoint is not None:
        chosen["sd_model_checkpoint"] = checkpoint
    with _about("checkpoint"):
        _, model = settings.merged(chosen)
    if vae is not None:
        with _about("vae"):
            _, model = settings.merged(chosen | {"sd_vae": vae})
    return model


@contextmanager
def _about(field: str) -> Generator[None]:
    """Let a refusal say which field it is about."""
    try:
        yield
    except (HTTPRefusal, RequestError) as refusal:
        refusal.field = field
        raise


def _check(form: JobForm, limits: Limits) -> None:
    hires = form.hires
    texts = {"prompt": form.prompt, "negative_prompt": form.negative_prompt}
    if hires is not None:
        texts |= {"hires.prompt": hires.prompt, "hires.negative_prompt": hires.negative_prompt}
    texts |= {f"regions.{number}.prompt": one.prompt for number, one in enumerate(form.regions)}
    check_texts(texts, limits)
    check_image_count(form.steps, form.batch_size, form.batch_count, limits)
    if hires is not None:
        check_image_count(max(hires.steps, 1), 1, 1, limits)
    if form.start is not None and len(form.start.images) > limits.images:
        message = f"more than the {limits.images} images allowed"
        raise RequestError(message, field="start.images")


def _check_sizes(request: GenerationRequest, model: Model, limits: Limits) -> None:
    """Refuse too large an image, also where the checkpoint or the first image says how large."""
    if request.start is not None:
        width, height = request.start.images[0].size
    elif request.width is None or request.height is None:
        width = height = size_of_checkpoint(model.checkpoint)
    else:
        width = height = 0
    width, height = request.width or width, request.height or height
    check_size(width, height, limits)
    if request.hires is not None:
        sides = (request.hires.resize_x, request.hires.resize_y)
        check_second_size((width, height), request.hires.scale, sides, limits)


def _request(form: JobForm) -> GenerationRequest:
    """Return the request, but for its second pass, what it starts from and its options."""
    given = form.model_dump(include=_PLAIN | {"ignored_diagnostics"})
    for name in ("seed", "variation_seed"):
        given[name] = drawn_seed(given[name])
    return GenerationRequest(**given)


def _start(form: StrictForm, limits: Limits) -> ImageStart:
    given = form.model_dump()
    inpainting = given.pop("inpainting")
    if inpainting is not None:
        with _about("start.inpainting.mask"):
            mask = open_base64_image(inpainting.pop("mask"), limits)
        inpainting = Inpainting(mask=mask, **inpainting)
    with _about("start.images"):
        images = open_base64_images(given.pop("images"), limits)
    return ImageStart(images=images, inpainting=inpainting, **given)


def _regions(forms: Sequence[StrictForm], limits: Limits) -> tuple[Region, ...]:
    given = [form.model_dump() for form in forms]
    with _about("regions.mask"):
        masks = open_base64_images([one.pop("mask") for one in given], limits)
    return tuple(Region(mask=mask, **one) for mask, one in zip(masks, given, strict=True))


def _plan(request: GenerationRequest, registry: Registry, limits: Limits) -> None:
    """Look all networks up, so that a request that cannot be met need not wait to be refused."""
    asked = append_default_hypernetwork(request)
    hires = request.hires.prompt if request.hires else ""
    nothing = parse("", negative=True)
    read = partial(parse, comments=request.options.comments, dialect=request.dialect)
    for field, text in (("prompt", asked.prompt), ("hires.prompt", hires)):
        prompt = read(text)
        planned = affordable(ScheduledPrompt(prompt, request.steps), limits)
        others = (ScheduledPrompt(read(one.prompt), request.steps) for one in request.regions)
        steps = min(one.steps for one in (planned, *(affordable(one, limits) for one in others)))
        try:
            plan = make_plan(planned, nothing, registry, policy=request.policy)
            if field == "prompt" or hires:
                plan_regions(replace(planned, steps=steps), plan, request, registry)
        except (PromptSyntaxError, UnknownNetworkError) as error:
            by_option = asked is not request and _names(error, request)
            error.field = "options" if by_option else field
            raise


def _names(error: PromptEngineError, request: GenerationRequest) -> bool:
    """Return whether an error is about the hypernetwork that the options append to prompts."""
    return isinstance(error, UnknownNetworkError) and error.name == request.options.hypernetwork
