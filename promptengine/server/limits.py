"""What one request may ask for, checked before any of it is worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from promptengine.errors import RequestError
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.script import Script, ScriptArguments, ScriptContext, ScriptStep
from promptengine.server.config import Limits
from promptengine.server.sdapi.requests import GenerationFields, Image2Image, Text2Image

__all__ = [
    "affordable",
    "check_bounds",
    "check_image_count",
    "check_script_step",
    "check_second_size",
    "check_size",
    "check_texts",
    "count_script_images",
]

_LEAST_SIDE = 8

_USUAL_SIDE = 512
"""Stands for a checkpoint's own size, which only its device knows, where a request leaves its size open."""


def check_bounds(fields: GenerationFields, limits: Limits) -> None:
    """Refuse a request that asks for too much.

    Raises:
        RequestError: It does; names the field and the limit.
    """
    prompts = fields.prompt if isinstance(fields.prompt, list) else [fields.prompt]
    texts = {
        **{f"prompt {number + 1}": text for number, text in enumerate(prompts)},
        "negative_prompt": fields.negative_prompt,
        "hr_prompt": getattr(fields, "hr_prompt", ""),
        "hr_negative_prompt": getattr(fields, "hr_negative_prompt", ""),
    }
    check_texts(texts, limits)
    _check("prompt", len(prompts), 1, limits.batch_images, "prompts")
    check_image_count(fields.steps, fields.batch_size, fields.n_iter, limits)
    if isinstance(fields.prompt, list):
        asked = fields.batch_size * fields.n_iter
        if asked not in (1, len(prompts)):
            message = f"{len(prompts)} prompts make {len(prompts)} images, not {asked}"
            raise RequestError(f"{message}; leave batch_size and n_iter at 1", field="prompt")
    check_size(fields.width, fields.height, limits)
    if isinstance(fields, Text2Image) and fields.enable_hr:
        _check("hr_second_pass_steps", fields.hr_second_pass_steps, 0, limits.steps)
        sides = (fields.hr_resize_x, fields.hr_resize_y)
        check_second_size((fields.width, fields.height), fields.hr_scale, sides, limits)
    if isinstance(fields, Image2Image):
        _check("init_images", len(fields.init_images), 1, limits.images, "images")


def check_texts(texts: Mapping[str, str], limits: Limits) -> None:
    """Refuse prompts that are too long.

    Raises:
        RequestError: One is.
    """
    for name, text in texts.items():
        _check(name, len(text), 0, limits.prompt_characters, "characters")


def affordable(prompt: ScheduledPrompt, limits: Limits) -> ScheduledPrompt:
    """Return a prompt as it is to be planned where it is only looked at: over 1 step where its schedule
    would be too long.

    Which networks there are does not depend on the steps.
    """
    return prompt if prompt.size <= limits.schedule_characters else replace(prompt, steps=1)


def check_image_count(steps: int, at_once: int, batches: int, limits: Limits) -> None:
    """Refuse too many steps or images.

    Raises:
        RequestError: There are.
    """
    _check("steps", steps, 1, limits.steps)
    _check("images at once", at_once, 1, limits.batch_images)
    _check("batches", batches, 1, limits.total_images)
    _check("images in all", at_once * batches, 1, limits.total_images)


def check_script_step(step: ScriptStep, made: int, limits: Limits) -> int:
    """Refuse what a script asks for, where it is too much by itself or with all before.

    Args:
        step: Of the script.
        made: Images of all steps before it.
        limits: What is allowed.

    Returns:
        Images of all steps with this one.

    Raises:
        RequestError: It is; names what and the limit.
    """
    at_once = sum(request.batch_images for request in step.requests)
    for request in step.requests:
        texts = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        hires = request.hires
        if hires is not None:
            texts |= {"hr_prompt": hires.prompt, "hr_negative_prompt": hires.negative_prompt}
        check_texts(texts, limits)
        check_image_count(request.steps, at_once, request.batch_count, limits)
        size = (request.width or _LEAST_SIDE, request.height or _LEAST_SIDE)
        check_size(*size, limits)
        if hires is not None:
            check_second_size(size, hires.scale, (hires.resize_x, hires.resize_y), limits)
    made += sum(request.batch_images * request.batch_count for request in step.requests)
    _check("images of the script", made, 1, limits.total_images, "images in all")
    return made


def count_script_images(
    script: Script,
    request: GenerationRequest,
    arguments: ScriptArguments,
    registry: Registry,
    limits: Limits,
) -> int | None:
    """Return how many images a script will make, each step within the limits; None where only a run tells.

    Raises:
        RequestError: Arguments that cannot be used, or too much to make.
    """
    if script.steps is None:
        return None
    made = 0
    for step in script.steps(request, arguments, ScriptContext(registry, _USUAL_SIDE)):
        made = check_script_step(step, made, limits)
    return made


def check_size(width: float, height: float, limits: Limits) -> None:
    """Refuse an image that is too large or has no size.

    Raises:
        RequestError: It is.
    """
    for name, side in (("width", width), ("height", height)):
        if side < _LEAST_SIDE:
            raise RequestError(f"{name} is {side:g}; it must be {_LEAST_SIDE} or more", field=name)
    if width * height > limits.pixels:
        message = f"{width:g}x{height:g} is more than the {limits.pixels} pixels allowed"
        raise RequestError(f"{message}; ask for a smaller image", field="width")


def check_second_size(
    size: tuple[int, int], scale: float, sides: tuple[int, int], limits: Limits
) -> None:
    """Refuse a second pass that makes too large an image.

    Args:
        size: Of the first pass.
        scale: How much larger.
        sides: Width and height that are asked for instead, or 0; of two one is met and the other cut.
        limits: What is allowed.

    Raises:
        RequestError: It does.
    """
    _check("scale", scale, 0.01, 100)
    ratios = [side / own for side, own in zip(sides, size, strict=True) if side > 0]
    factor = max(ratios, default=scale)
    check_size(max(size[0] * factor, 8), max(size[1] * factor, 8), limits)


def _check(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        what = f"{value:g} {unit}".strip()
        raise RequestError(f"{name} is {what}; {low:g} to {high:g} are allowed here", field=name)
