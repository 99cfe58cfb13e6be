"""The script of a job's form: looked up and checked before anything waits for a device."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.run import check_tab
from promptengine.scripts.script import Script, ScriptCall
from promptengine.scripts.table import find_script, named_arguments
from promptengine.server.config import Limits
from promptengine.server.limits import count_script_images
from promptengine.server.v1.schemas import ScriptForm

__all__ = ["counted_script", "script_from_form"]


def script_from_form(
    form: ScriptForm, request: GenerationRequest, registry: Registry, limits: Limits
) -> ScriptCall:
    """Return the script that a form asks for.

    Raises:
        RequestError: As :func:`counted_script`, or there is nothing to make.
    """
    call, count = counted_script(form, request, registry, limits)
    if count == 0:
        raise RequestError(f"{call.name} has nothing to make", field="script.arguments")
    return call


def counted_script(
    form: ScriptForm, request: GenerationRequest, registry: Registry, limits: Limits
) -> tuple[ScriptCall, int | None]:
    """Return the script that a form asks for, and how many images it makes; None where only a run tells.

    Args:
        form: As sent.
        request: What the script varies.
        registry: Where it looks names up.
        limits: What is allowed.

    Raises:
        RequestError: No such script, one that is not for such a request, arguments that cannot be used, or
            too much to make; it names the argument that is to blame.
    """
    with _named({}):
        script = find_script(form.name)
        check_tab(script, request)
    with _named(_places(script)):
        arguments = named_arguments(script, form.arguments)
        count = count_script_images(script, request, arguments, registry, limits)
    return ScriptCall(script.name, arguments), count


_OF_ALL: Final[Mapping[str, str]] = {
    "script_name": "script.name",
    "script_args": "script.arguments",
    "images of the script": "script",
}
"""What refusals of scripts name, as the form calls it."""


def _places(script: Script) -> dict[str, str]:
    return {one.name: f"script.arguments.{one.name}" for one in script.arguments}


@contextmanager
def _named(places: Mapping[str, str]) -> Generator[None]:
    """Let refusals name the form's fields; what is no argument is a field of the request."""
    try:
        yield
    except RequestError as error:
        error.field = {**_OF_ALL, **places}.get(error.field, error.field)
        raise
