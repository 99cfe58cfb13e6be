"""Changes of requests and prompts that several front ends make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from promptengine.errors import RequestError
from promptengine.prompt import parse
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options
from promptengine.request.request import GenerationRequest

__all__ = [
    "append_default_hypernetwork",
    "append_hypernetwork",
    "append_tag",
    "apply_settings",
]


def apply_settings(request: GenerationRequest, settings: Mapping[str, object]) -> GenerationRequest:
    """Change a request by WebUI's options.

    Args:
        request: What to change.
        settings: WebUI's names and values, as in an API's ``override_settings``.

    Raises:
        RequestError: An unknown name, or a value that cannot be used.
    """
    own = {
        REQUEST_SETTINGS[name]: SETTINGS[name].ours(value)
        for name, value in settings.items()
        if name in REQUEST_SETTINGS
    }
    others = {name: value for name, value in settings.items() if name not in REQUEST_SETTINGS}
    return replace(request, options=Options.from_webui(others, request.options), **own)


def append_hypernetwork(prompt: str, name: str, multiplier: str = "1") -> str:
    """Append a hypernetwork's tag to a prompt.

    Args:
        prompt: Any prompt.
        name: As the registry knows it.
        multiplier: As it shall stand in the tag.

    Raises:
        RequestError: No tag can hold this name.
    """
    if not name or any(mark in name for mark in "<>:\r\n"):
        message = f"{name!r} is no name of a hypernetwork that a tag can hold"
        raise RequestError(message, field="hypernetwork")
    return append_tag(prompt, f"<hypernet:{name}:{multiplier}>")


def append_tag(prompt: str, tag: str) -> str:
    """Append a tag; behind a comment on a new line, since it would be part of that."""
    line_break = "\n" if "#" in prompt.rpartition("\n")[2] else ""
    return f"{prompt}{line_break}{tag}"


def append_default_hypernetwork(request: GenerationRequest) -> GenerationRequest:
    """Append the tag of the hypernetwork that the options name, unless the prompt has one of it.

    Raises:
        RequestError: No tag can hold the name.
    """
    name = request.options.hypernetwork
    read = parse(request.prompt, comments=request.options.comments)
    tags = [tag for tag in read.tags if tag.kind == "hypernet"]
    if name in ("", "None") or any(tag.arguments[0] == name for tag in tags):
        return request
    multiplier = str(request.options.default_multiplier)
    return replace(request, prompt=append_hypernetwork(request.prompt, name, multiplier))
