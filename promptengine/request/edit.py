"""Changes of requests and prompts that several front ends make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from promptengine.errors import RequestError
from promptengine.kinds import HYPERNETWORK, NetworkKind
from promptengine.prompt import parse
from promptengine.prompt.dialects import WEBUI
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options
from promptengine.request.request import GenerationRequest
from promptengine.validation import check_type

__all__ = [
    "append_default_hypernetwork",
    "append_hypernetwork",
    "append_network",
    "append_tag",
    "apply_settings",
    "names_network",
]


def apply_settings(request: GenerationRequest, settings: Mapping[str, object]) -> GenerationRequest:
    """Change a request by WebUI's options.

    Args:
        request: What to change.
        settings: WebUI's names and values, as in an API's ``override_settings``.

    Raises:
        RequestError: An unknown name, or a value that cannot be used.
    """
    check_type("request", request, GenerationRequest)
    check_type("settings", settings, Mapping)
    own = {
        REQUEST_SETTINGS[name]: SETTINGS[name].ours(value)
        for name, value in settings.items()
        if name in REQUEST_SETTINGS
    }
    others = {name: value for name, value in settings.items() if name not in REQUEST_SETTINGS}
    return replace(request, options=Options.from_webui(others, request.options), **own)


def append_hypernetwork(
    prompt: str, name: str, multiplier: str = "1", *, dialect: str = WEBUI
) -> str:
    """Append a hypernetwork's tag to a prompt.

    Args:
        prompt: Any prompt.
        name: As the registry knows it.
        multiplier: As it shall stand in the tag.
        dialect: That the prompt is written in.

    Raises:
        RequestError: No tag can hold this name, the dialect has no such tags, or the prompt is divided into regions.
    """
    return append_network(
        prompt, HYPERNETWORK, name, multiplier, field="hypernetwork", dialect=dialect
    )


def append_network(
    prompt: str,
    kind: NetworkKind,
    name: str,
    multiplier: str,
    *,
    field: str,
    dialect: str = WEBUI,
) -> str:
    """Append a network's tag to a prompt.

    Args:
        prompt: Any prompt.
        kind: Of the network.
        name: As the registry knows it.
        multiplier: As it shall stand in the tag.
        field: Of a request, to be named in the error.
        dialect: That the prompt is written in.

    Raises:
        RequestError: No tag can hold this name, the dialect has no such tags, or the prompt is divided into
            regions, the last of which would have the network for itself.
    """
    if kind.tag is None or not kind.tag.holds(name):
        message = f"{name!r} is no name of a {kind.noun} that a tag can hold"
        raise RequestError(message, field=field)
    tag = kind.tag.written(name, multiplier)
    if any(part.regions is not None for part in parse(prompt, dialect=dialect).parts):
        message = f"{tag} would act in the last region of the prompt alone"
        hint = "write it into the prompt, before ADDCOMM or ADDBASE to let it act everywhere"
        raise RequestError(f"{message}; {hint}", field=field)
    made = append_tag(prompt, tag)
    if dialect != WEBUI and not names_network(made, kind, name, dialect=dialect):
        message = f"a prompt in dialect {dialect!r} cannot name {kind.noun} {name!r}; use dialect {WEBUI!r}"
        raise RequestError(message, field=field)
    return made


def names_network(
    prompt: str, kind: NetworkKind, name: str, *, comments: bool = True, dialect: str = WEBUI
) -> bool:
    """Return whether a prompt holds a tag of a network.

    Args:
        prompt: Any prompt.
        kind: Of the network.
        name: As the tag would spell it.
        comments: Whether ``#`` begins a comment.
        dialect: That the prompt is written in.
    """
    tags = parse(prompt, comments=comments, dialect=dialect).tags
    syntax = kind.tag
    return syntax is not None and any(
        tag.kind in syntax.words and syntax.name_in(tag.arguments) == name for tag in tags
    )


def append_tag(prompt: str, tag: str) -> str:
    """Append a tag; behind a comment on a new line, since it would be part of that."""
    line_break = "\n" if "#" in prompt.rpartition("\n")[2] else ""
    return f"{prompt}{line_break}{tag}"


def append_default_hypernetwork(request: GenerationRequest) -> GenerationRequest:
    """Append the tag of the hypernetwork that the options name, unless the prompt has one of it.

    Raises:
        RequestError: No tag can hold the name.
    """
    options = request.options
    name = options.hypernetwork
    if name in ("", "None") or names_network(
        request.prompt,
        HYPERNETWORK,
        name,
        comments=options.comments,
        dialect=request.dialect,
    ):
        return request
    multiplier = str(options.default_multiplier)
    made = append_hypernetwork(request.prompt, name, multiplier, dialect=request.dialect)
    return replace(request, prompt=made)
