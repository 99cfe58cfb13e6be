"""Who may use the server, how much a request may hold, and how long it may take to come."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptengine.errors import RequestError
from promptengine.prompt.serialize import well_formed
from promptengine.server.config import Limits
from promptengine.server.errors import refuse
from promptengine.server.openai.links import LINKS
from promptengine.server.redact import below_root

__all__ = ["BasicAuth", "BodyLimit", "BoundedRoute", "SafeHeaders", "is_deeper", "read_users"]

_OPEN_PATHS: Final = frozenset({"/healthz"})
_OPEN_BELOW: Final = LINKS
"""Where a path is a secret by itself."""

_LOCKED: Final = "default-src 'none'; frame-ancestors 'none'"
_SAFE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
)


def read_users(items: Sequence[str], source: str) -> tuple[tuple[str, str], ...]:
    """Read names and passwords, each ``NAME:PASSWORD``; a password may hold colons.

    Args:
        items: As written.
        source: Where, for the message.

    Raises:
        RequestError: A name without a password, or nobody at all: that would let everybody in.
    """
    pairs = [item.partition(":") for item in items if item.strip()]
    if not pairs or not all(name and password for name, _, password in pairs):
        raise RequestError(f"{source}: write NAME:PASSWORD", field="api_auth")
    return tuple((name, password) for name, _, password in pairs)


class SafeHeaders:
    """Lets no page frame what the server answers, nor a browser run any of it, unless a route says more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its answer."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", _LOCKED)
                for name, value in _SAFE:
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


class BasicAuth:
    """Lets nobody in without a name and password, but for the health check and links to images.

    They come by HTTP Basic, or as the key ``NAME:PASSWORD`` of clients that send a bearer token.

    Args:
        app: What is behind it.
        users: Names and passwords.
    """

    def __init__(self, app: ASGIApp, users: Sequence[tuple[str, str]]) -> None:
        self._app = app
        self._known = [(name, _digest(f"{name}:{password}")) for name, password in users]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        # What tells of the server's start and end has no path.
        if scope["type"] not in ("http", "websocket") or _is_open(below_root(scope)):
            await self._app(scope, receive, send)
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        name = self._user(headers.get(b"authorization", b""))
        if name is None:
            challenge = [(b"www-authenticate", b'Basic realm="promptengine"')]
            await refuse(scope, send, 401, "Incorrect username or password", challenge)
            return
        scope["user_name"] = name
        await self._app(scope, receive, send)

    def _user(self, header: bytes) -> str | None:
        """Whose name and password a header holds; every one is compared, in the same time."""
        scheme, _, sent = header.partition(b" ")
        try:
            given = _GIVEN[scheme.lower()](sent.strip())
        except (KeyError, ValueError):
            return None
        digest = hashlib.sha256(given).digest()
        found = [name for name, known in self._known if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_BELOW)


_GIVEN: Final[Mapping[bytes, Callable[[bytes], bytes]]] = {
    b"basic": partial(base64.b64decode, validate=True),
    b"bearer": bytes,
}
"""What a scheme's credentials say, as ``NAME:PASSWORD``; no base64 is a ValueError."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class BodyLimit:
    """Refuses requests that are longer than allowed, whatever they say of their length, and those that
    take too long to come.

    Args:
        app: What is behind it.
        limits: What is allowed.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as long as its body is neither too long nor too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        told = headers.get(b"content-length", b"0")
        if told.isdigit() and int(told[:20]) > self._limits.body_bytes:
            await refuse(scope, send, 413, self._too_long)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """Return the same body, until it is too much or too late."""
        loop, limits = asyncio.get_running_loop(), self._limits
        start, taken, ended = loop.time(), 0, False

        async def counted() -> Message:
            nonlocal taken, ended
            if ended:
                return await receive()
            deadline = start + limits.send_s + taken / limits.send_rate
            try:
                message = await asyncio.wait_for(receive(), deadline - loop.time())
            except asyncio.TimeoutError:
                # The rest would be read as the next request.
                closing = {"Connection": "close"}
                raise HTTPException(408, self._too_slow, headers=closing) from None
            taken += len(message.get("body", b""))
            if taken > limits.body_bytes:
                raise HTTPException(413, self._too_long)
            ended = not message.get("more_body", False)
            return message

        return counted

    @property
    def _too_long(self) -> str:
        return f"the request is longer than the {self._limits.body_bytes} bytes allowed"

    @property
    def _too_slow(self) -> str:
        limits = self._limits
        return (
            f"the request did not come within {limits.send_s:g} seconds, and one more for every "
            f"{limits.send_rate} bytes"
        )


class _BoundedRequest(Request):
    """A request whose JSON may not be nested at any depth, and holds no lone surrogates."""

    async def json(self) -> Any:
        """Return the body, read.

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
        if is_deeper(content, most):
            raise HTTPException(400, f"the JSON is nested deeper than the {most} levels allowed")
        return well_formed(content)


def is_deeper(content: object, depth: int) -> bool:
    """Return whether lists and objects lie inside each other more often than that."""
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
        """Return the route's handler, with requests of that kind."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(_BoundedRequest(request.scope, request.receive))

        return bounded
