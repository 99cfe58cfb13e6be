"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from promptengine.prompt.serialize import well_formed

__all__ = ["PREFIX", "fault_of", "openai_error", "openai_status", "speaks_openai"]

PREFIX: Final = "/v1"
"""What the paths of OpenAI's API begin with."""

_STATUSES: Final[Mapping[int, int]] = {422: 400, 409: 400}
"""Statuses that mean something else there: its clients send a request once more after a 409."""

_CODES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
}
_INVALID: Final = "invalid_value"
_LEAST_FAULT_OF_SERVER: Final = 500
_MOST_NAME: Final = 100


def speaks_openai(path: str) -> bool:
    """Return whether a path, without what the server is mounted at, belongs to OpenAI's API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def openai_status(status: int) -> int:
    """Return the HTTP status that OpenAI's clients understand, for one of ours."""
    return _STATUSES.get(status, status)


def openai_error(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the JSON of an error.

    Args:
        status: Of HTTP, which says whose fault it is.
        message: One line that says what is wrong.
        param: The parameter that is to blame, if one is.
        code: A word for programs; without one the status and the parameter decide.
    """
    if code is None and status == 401:
        code = "invalid_api_key"
    if code is None and status == 404 and param == "model":
        code = "model_not_found"
    kind = "server_error" if status >= _LEAST_FAULT_OF_SERVER else "invalid_request_error"
    told = {"message": well_formed(message), "type": kind, "param": param or None, "code": code}
    return {"error": told}


def fault_of(faults: Sequence[Mapping[str, Any]], below: str = "") -> tuple[str, str, str]:
    """Return what the first of pydantic's faults says: a message, the parameter, and a code.

    Args:
        faults: As pydantic lists them.
        below: The parameter that the form was inside of, or empty for the form of the request.
    """
    first = faults[0]
    place = [str(part)[:_MOST_NAME] for part in first["loc"]]
    place = [below, *place] if below else [part for part in place if part != "body"]
    name, kind = ".".join(place), str(first["type"])
    code = _CODES.get(kind, _INVALID)
    if kind == "extra_forbidden":
        return f"Unknown parameter: {name!r}; it does nothing here, so leave it out.", name, code
    if kind == "missing" and name:
        return f"Missing required parameter: {name!r}.", name, code
    said = str(first["msg"])
    return f"Invalid value for {name or 'the body'}: {said}.", name, code
