"""Routes over WebUI's ``styles.csv``: texts that are put around prompts by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from promptengine.errors import RequestError
from promptengine.prompt.serialize import well_formed
from promptengine.request.styles import Style, delete_style, read_styles, write_style
from promptengine.server.auth import BoundedRoute
from promptengine.server.errors import HTTPRefusal
from promptengine.server.limits import check_texts
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.forms import StrictForm, Text
from promptengine.server.v1.routes import PREFIX

__all__ = ["StyleEntry", "StyleForm", "router"]

_MOST_NAME: Final = 200
_RESERVED: Final = ("None",)
"""What means no style in WebUI's lists."""

_DIVIDER: Final = "---"
"""How names begin that only part WebUI's list, and that it never writes."""

router = APIRouter(
    prefix=f"{PREFIX}/styles",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class StyleEntry(BaseModel):
    """A style.

    Attributes:
        name: What jobs call it.
        prompt: Goes around the prompt where it holds ``{prompt}``, else behind it.
        negative_prompt: Likewise.
    """

    name: str
    prompt: str
    negative_prompt: str


class StyleForm(StrictForm):
    """The texts of a style; each goes around the prompt where it holds ``{prompt}``, else behind it."""

    prompt: Annotated[Text, Field(max_length=100_000)]
    negative_prompt: Annotated[Text, Field(max_length=100_000)] = ""


@router.get("")
def styles(service: Served) -> list[StyleEntry]:
    """List the styles of the file as it is now."""
    return [
        StyleEntry(name=one.name, prompt=one.prompt, negative_prompt=one.negative_prompt)
        for one in read_styles(service.config.styles)
    ]


@router.put("/{name:path}")
def save(service: Served, name: str, form: StyleForm) -> StyleEntry:
    """Save a style under a name, in place of the one that had it."""
    name = well_formed(name)
    _check_name(name)
    check_texts(form.model_dump(), service.config.limits)
    style = Style(name, form.prompt, form.negative_prompt)
    with service.styles:
        try:
            write_style(_file(service), style)
        except (OSError, ValueError) as error:
            raise _unwritable(error) from None
    return StyleEntry(name=name, prompt=form.prompt, negative_prompt=form.negative_prompt)


@router.delete("/{name:path}", status_code=204, response_class=Response, response_model=None)
def delete(service: Served, name: str) -> None:
    """Take a style out of the file."""
    with service.styles:
        try:
            found = delete_style(_file(service), name)
        except (OSError, ValueError) as error:
            raise _unwritable(error) from None
    if not found:
        raise HTTPRefusal(f"no style {name[:100]!r}", status=404)


def _file(service: Service) -> Path:
    """Return the file of styles.

    Raises:
        HTTPRefusal: 409, where the server has none.
    """
    path = service.config.styles
    if path is None:
        message = "this server keeps no styles; start it with --styles FILE"
        raise HTTPRefusal(message, status=409)
    return path


def _check_name(name: str) -> None:
    """Refuse a name that WebUI would not read again.

    Raises:
        RequestError: It is one.
    """
    plain = name.isprintable() and name == name.strip()
    if not 0 < len(name) <= _MOST_NAME or not plain:
        message = f"name must be one line of up to {_MOST_NAME} characters"
        raise RequestError(f"{message} without spaces around it (got {name[:100]!r})", field="name")
    if name in _RESERVED or name.startswith(("#", _DIVIDER)):
        message = f"name is {name[:100]!r}, which WebUI takes for something else; choose another"
        raise RequestError(message, field="name")


def _unwritable(error: OSError | ValueError) -> HTTPRefusal:
    reason = getattr(error, "strerror", None) or error
    return HTTPRefusal(f"the file of styles is left as it is: {reason}", status=409)
