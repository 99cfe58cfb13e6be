"""Errors as answers: which status each has, and the JSON that WebUI's clients expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.types import Scope, Send

from promptengine.errors import (
    CheckpointError,
    DownloadError,
    EngineClosedError,
    GenerationCancelled,
    ImageError,
    IncompatibleNetworkError,
    ModelNotFoundError,
    NetworkFormatError,
    OutOfMemoryError,
    PluginError,
    PromptEngineError,
    PromptSyntaxError,
    RequestError,
    TrainingError,
    UnknownNetworkError,
    UnsupportedNetworkError,
)
from promptengine.prompt.serialize import well_formed
from promptengine.server.openai.errors import openai_error, openai_status, speaks_openai
from promptengine.server.redact import below_root

__all__ = [
    "STATUSES",
    "HTTPRefusal",
    "ServerStopping",
    "error_body",
    "error_for",
    "refuse",
    "status_of",
]

STATUSES: Final[Mapping[type[PromptEngineError], int]] = {
    PromptSyntaxError: 422,
    UnknownNetworkError: 404,
    NetworkFormatError: 422,
    UnsupportedNetworkError: 422,
    IncompatibleNetworkError: 422,
    CheckpointError: 422,
    ModelNotFoundError: 422,
    EngineClosedError: 503,
    ImageError: 422,
    RequestError: 422,
    PluginError: 422,
    TrainingError: 422,
    DownloadError: 502,
    GenerationCancelled: 409,
    OutOfMemoryError: 503,
    PromptEngineError: 422,
}
"""HTTP status of every error of the package."""

_INTERNAL: Final = 500
_POLICY_VIOLATION: Final = 1008
"""What a WebSocket is closed with where the server cannot answer it in HTTP."""


class HTTPRefusal(PromptEngineError):
    """A request that is answered with an error of its own status.

    Attributes:
        status: Of HTTP.
        retry_after_s: When to try again, or None.
        field: The field of the request that is to blame, or empty.
    """

    def __init__(self, message: str, *, status: int, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.field = ""
        self.status = status
        self.retry_after_s = retry_after_s


class ServerStopping(HTTPRefusal):
    """A request, or a job, that a server which is about to end does not meet any more."""

    def __init__(self) -> None:
        super().__init__("the server is stopping", status=503, retry_after_s=30)


def status_of(error: BaseException) -> int:
    """Return the HTTP status that tells of an error; 500 for one that nobody foresaw."""
    if isinstance(error, HTTPRefusal):
        return error.status
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), _INTERNAL)


def error_body(name: str, detail: str) -> dict[str, str]:
    """Return the four keys of WebUI's errors.

    Args:
        name: The class of the error.
        detail: One line that says what is wrong.
    """
    told = well_formed(detail)
    return {"error": name, "detail": told, "body": "", "errors": told}


def error_for(
    scope: Scope, status: int, name: str, detail: str, field: str = ""
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of an error, as the clients of a request's path expect them.

    Args:
        scope: The request's.
        status: Of HTTP.
        name: The class of the error.
        detail: One line that says what is wrong.
        field: The field of the request that is to blame, or empty.
    """
    if speaks_openai(below_root(scope)):
        status = openai_status(status)
        return status, openai_error(status, detail, field)
    return status, dict(error_body(name, detail))


async def refuse(
    scope: Scope, send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer a request, or one for a WebSocket, with an error before any route sees it.

    Args:
        scope: The request's.
        send: Takes the answer.
        status: Of HTTP.
        detail: One line that says what is wrong.
        headers: More of them.
    """
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        kind = "websocket.http"
    status, content = error_for(scope, status, "HTTPException", detail)
    body = json.dumps(content).encode()
    length = str(len(body)).encode("ascii")
    own = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
    await send({"type": f"{kind}.response.start", "status": status, "headers": own})
    await send({"type": f"{kind}.response.body", "body": body})
