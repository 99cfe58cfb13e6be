"""Who may use the server, and how much a request may hold."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptengine.documents import well_formed
from promptengine.errors import RequestError
from promptengine.server.failures import document

__all__ = ["BodyLimit", "BoundedRoute", "PasswordWall", "read_users"]

_OPEN_PATHS: Final = frozenset({"/healthz"})


def read_users(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``user:password,user2:password2``; a password may hold colons.

    Raises:
        RequestError: A user without a password.
    """
    pairs = [item.strip().partition(":") for item in text.split(",") if item.strip()]
    for name, _, password in pairs:
        if not name or not password:
            message = "--api-auth: write NAME:PASSWORD, several of them with commas between"
            raise RequestError(message, field="api_auth")
    return tuple((name, password) for name, _, password in pairs)


class PasswordWall:
    """Lets nobody in without a name and password (HTTP Basic), but for the health check.

    Args:
        app: What is behind it.
        users: Names and passwords.
    """

    def __init__(self, app: ASGIApp, users: Sequence[tuple[str, str]]) -> None:
        self._app = app
        self._known = [(name, _digest(f"{name}:{password}")) for name, password in users]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        name = self._user(headers.get(b"authorization", b""))
        if name is None:
            challenge = [(b"www-authenticate", b'Basic realm="promptengine"')]
            await _answer(send, 401, "Incorrect username or password", challenge)
            return
        await self._app({**scope, "user_name": name}, receive, send)

    def _user(self, header: bytes) -> str | None:
        """Whose name and password a header holds; every one is compared, in the same time."""
        scheme, _, encoded = header.partition(b" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return None
        digest = hashlib.sha256(given).digest()
        found = [name for name, known in self._known if hmac.compare_digest(known, digest)]
        return found[0] if found and scheme.lower() == b"basic" else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class BodyLimit:
    """Refuses requests that are longer than allowed, whatever they say of their length.

    Args:
        app: What is behind it.
        most: Bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as long as its body is not too long."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > self._most:
            await _answer(send, 413, self._message)
            return

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise HTTPException(413, self._message)
            return message

        await self._app(scope, counted, send)

    @property
    def _message(self) -> str:
        return f"the request is longer than the {self._most} bytes allowed"


async def _answer(
    send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = json.dumps(document("HTTPException", detail)).encode()
    length = str(len(body)).encode("ascii")
    own = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


class _BoundedRequest(Request):
    """A request whose JSON may not be nested at any depth, and holds no lone surrogates."""

    async def json(self) -> Any:
        """The body, read.

        Raises:
            HTTPException: 400, where it is nested too deep or is no JSON.
        """
        try:
            content: Any = await super().json()
        except (RecursionError, ValueError) as error:
            if isinstance(error, json.JSONDecodeError):
                raise
            raise HTTPException(400, "the JSON is nested too deep or cannot be read") from None
        most: int = self.app.state.service.config.limits.json_depth
        if _is_deeper(content, most):
            raise HTTPException(400, f"the JSON is nested deeper than the {most} levels allowed")
        return well_formed(content)


def _is_deeper(content: object, depth: int) -> bool:
    """Whether lists and objects lie inside each other more often than that."""
    level: list[object] = [content]
    for _ in range(depth + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                inner += cast("list[object]", item)
        if not inner:
            return False
        level = inner
    return True


class BoundedRoute(APIRoute):
    """A route that looks how deep a body is nested before anything else does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with requests of that kind."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(_BoundedRequest(request.scope, request.receive))

        return bounded
