"""The Dynamic Prompts extension's always-on script, as WebUI's API sends its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.dynamic_prompts import DYNAMIC_PROMPTS
from promptengine.scripts.run import check_tab
from promptengine.scripts.script import ScriptArguments, ScriptCall
from promptengine.scripts.table import named_arguments
from promptengine.server.config import Limits
from promptengine.server.limits import count_script_images

__all__ = [
    "DYNAMIC_ARGUMENTS",
    "DYNAMIC_SCRIPT",
    "dynamic_call",
    "is_dynamic_script",
    "with_dynamic",
]

DYNAMIC_SCRIPT: Final = "dynamic prompts"
"""What clients call it, with a version behind it or without."""

_NAME: Final = re.compile(rf"{DYNAMIC_SCRIPT}( v[0-9.]+)?", re.IGNORECASE)

DYNAMIC_ARGUMENTS: Final[Mapping[str, bool | int | float | str]] = {
    "is_enabled": True,
    "is_combinatorial": False,
    "combinatorial_batches": 1,
    "is_magic_prompt": False,
    "is_feeling_lucky": False,
    "is_attention_grabber": False,
    "min_attention": 1.1,
    "max_attention": 1.5,
    "magic_prompt_length": 100,
    "magic_temp_value": 0.7,
    "use_fixed_seed": False,
    "unlink_seed_from_prompt": False,
    "disable_negative_prompt": True,
    "enable_jinja_templates": False,
    "no_image_generation": False,
    "max_generations": 0,
    "magic_model": "",
    "magic_blocklist_regex": "",
}
"""Its arguments in their order, and what they are where they are left out."""

_OFF: Final = (
    *("combinatorial_batches", "is_magic_prompt", "is_feeling_lucky", "is_attention_grabber"),
    *("use_fixed_seed", "unlink_seed_from_prompt", "enable_jinja_templates", "no_image_generation"),
)
"""What there is not here, and must be left as it is; the rest says how these work."""


def is_dynamic_script(name: str) -> bool:
    """Return whether a name is the extension's."""
    return _NAME.fullmatch(name.strip()) is not None


def with_dynamic(
    request: GenerationRequest, scripts: Mapping[str, Any]
) -> tuple[GenerationRequest, int]:
    """Return a request with what the extension's arguments say.

    Args:
        request: As the other fields say it.
        scripts: The always-on scripts, by name.

    Returns:
        The request, and the most images that it makes: 0 for as many as the request asks for, -1 for all
        that there are.

    Raises:
        RequestError: An argument that cannot be used, or asks for what there is not.
    """
    given = _given(scripts)
    if not given.get("is_enabled", False):
        return request, 0
    for name in _OFF:
        usual = DYNAMIC_ARGUMENTS[name]
        if given[name] not in (usual, None):
            message = (
                f"{DYNAMIC_SCRIPT}: {name} is {str(given[name])[:100]}; it must be {usual} here"
            )
            raise RequestError(message, field="alwayson_scripts")
    request = replace(request, dynamic=True)
    if not given["is_combinatorial"]:
        return request, 0
    most = given["max_generations"] or 0
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not 0 <= most <= 1_000_000:
        message = f"{DYNAMIC_SCRIPT}: max_generations is {str(most)[:100]}; it must be 0 to 1000000"
        raise RequestError(message, field="alwayson_scripts")
    return replace(request, dynamic_method="combinatorial"), int(most) or -1


def _given(scripts: Mapping[str, Any]) -> dict[str, object]:
    """Return the arguments by their names; empty where the script is not asked for."""
    found = [content for name, content in scripts.items() if is_dynamic_script(name)]
    if not found or not found[-1]:
        return {}
    script = found[-1]
    arguments = cast("dict[str, object]", script).get("args") if isinstance(script, dict) else None
    values = cast("list[object]", arguments) if isinstance(arguments, list) else []
    if len(values) == 1 and isinstance(values[0], dict):
        named = cast("dict[str, object]", values[0])
        unknown = next((name for name in named if name not in DYNAMIC_ARGUMENTS), None)
        if unknown is not None:
            message = f"{DYNAMIC_SCRIPT}: there is no argument {unknown[:100]!r}"
            raise RequestError(message, field="alwayson_scripts")
        return {**DYNAMIC_ARGUMENTS, **named}
    if not isinstance(arguments, list) or len(values) > len(DYNAMIC_ARGUMENTS):
        message = f"{DYNAMIC_SCRIPT}: args must be a list of up to {len(DYNAMIC_ARGUMENTS)} values"
        raise RequestError(message, field="alwayson_scripts")
    return {**DYNAMIC_ARGUMENTS, **dict(zip(DYNAMIC_ARGUMENTS, values, strict=False))}


def dynamic_call(
    request: GenerationRequest, most: int, registry: Registry, limits: Limits
) -> ScriptCall:
    """Return what makes the images of a request with templates, held against the limits.

    Args:
        request: With ``dynamic``.
        most: As :func:`with_dynamic` returns it.
        registry: Where wildcards are.
        limits: What is allowed.

    Raises:
        RequestError: A template that cannot be used, or asks for too much.
    """
    check_tab(DYNAMIC_PROMPTS, request)
    # One more than is allowed is refused, and not cut short.
    count = limits.total_images + 1 if most < 0 else most
    arguments: ScriptArguments = named_arguments(DYNAMIC_PROMPTS, {"most": count})
    count_script_images(DYNAMIC_PROMPTS, request, arguments, registry, limits)
    return ScriptCall(DYNAMIC_PROMPTS.name, arguments)
