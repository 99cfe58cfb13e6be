"""Scripts of a request: looked up and checked before anything waits for a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.run import check_tab
from promptengine.scripts.script import Script, ScriptCall
from promptengine.scripts.table import find_script, placed_arguments
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.limits import count_script_images
from promptengine.server.sdapi.requests import GenerationFields

__all__ = ["script_call"]

_SHOWN: Final = 100


def script_call(
    fields: GenerationFields,
    requests: Sequence[GenerationRequest],
    registry: Registry,
    limits: Limits,
) -> ScriptCall | None:
    """Return what script a request asks for, or None.

    Where the script's steps are known beforehand, each is held against the limits; where they are not, the
    device does so as they come.

    Args:
        fields: As sent.
        requests: What they were read as.
        registry: Where the script looks names up.
        limits: What is allowed.

    Raises:
        Refusal: 422, for a script that there is not.
        RequestError: One that is not for such a request, arguments that cannot be used, or too much to make.
    """
    if fields.script_name is None:
        return None
    script = _found(fields.script_name)
    if len(requests) > 1:
        message = f"{script.name} takes one prompt (got a list of {len(requests)})"
        raise RequestError(message, field="prompt")
    (request,) = requests
    check_tab(script, request)
    arguments = placed_arguments(script, fields.script_args)
    if count_script_images(script, request, arguments, registry, limits) == 0:
        raise RequestError(f"{script.name} has nothing to make", field="script_args")
    return ScriptCall(script.name, arguments)


def _found(name: str) -> Script:
    try:
        return find_script(name)
    except RequestError:
        raise HTTPRefusal(f"Script {name[:_SHOWN]!r} not found", status=422) from None
