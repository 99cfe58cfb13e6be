"""What stands between visitors and the toolkit: the routes that the page needs, and no file but uploads.

The toolkit has many more routes than a page uses, and its components open whatever path or address a
payload names. Here a payload is read before any of them sees it.
"""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import MutableHeaders, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptengine.errors import RequestError
from promptengine.files.images import FORMATS
from promptengine.server.config import Limits
from promptengine.server.errors import refuse
from promptengine.server.redact import below_root

__all__ = ["ToolkitGuard", "check_payload"]

_API: Final = "/gradio_api/"
_FILE: Final = f"{_API}file="
_GIVEN: Final = re.compile(
    r"/?|/(config|theme\.css|favicon\.ico|robots\.txt)|/(assets|static|svelte)/.+|"
    rf"{_API}((theme\.css|info|app_id|startup-events|upload_progress|queue/data)/?|heartbeat/.+|file=.+)"
)
_TAKEN: Final = re.compile(
    rf"{_API}((queue/join|cancel|reset)|run/[^/]+|upload|component_server)/?"
)
_FORM: Final = re.compile(rf"{_API}component_server/?")
_UPLOAD: Final = re.compile(rf"{_API}upload/?")
_OTHER_NAMES: Final = ("x-forwarded-host", "x-gradio-server")
"""Headers that the toolkit believes more than Host, which is checked."""

_MOST_LAYERS: Final = 16
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; media-src 'self' blob:; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
"""Lets browsers load and ask nothing from anywhere else."""


@dataclass(frozen=True, slots=True)
class ToolkitGuard:
    """Passes on to the toolkit what the page needs of it.

    Attributes:
        app: The toolkit's.
        folder: Where uploads and what is made for visitors lie.
        limits: What one request may hold.
    """

    app: ASGIApp
    folder: Path
    limits: Limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        path, method = below_root(scope), scope.get("method")
        routes = {"GET": _GIVEN, "HEAD": _GIVEN, "POST": _TAKEN}.get(method or "")
        if routes is None or routes.fullmatch(path) is None:
            await refuse(scope, send, 404, "Not Found")
            return
        if path.startswith(_FILE) and not _is_below(path.removeprefix(_FILE), self.folder):
            await refuse(scope, send, 403, "this file is not for visitors")
            return
        scope = dict(scope)
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name.decode("latin-1") not in _OTHER_NAMES
        ]
        if method == "POST" and _UPLOAD.fullmatch(path) is None:
            try:
                receive = await self._checked(scope, receive, is_form=bool(_FORM.fullmatch(path)))
            except RequestError as error:
                await refuse(scope, send, 403, str(error))
                return
        await self.app(scope, receive, send if path.startswith(_FILE) else _with_policy(send))

    async def _checked(self, scope: Scope, receive: Receive, *, is_form: bool) -> Receive:
        """The request's body once it is known to be harmless.

        Raises:
            RequestError: It is not.
        """
        body = await Request(scope, receive).body()
        if is_form:
            await self._check_form(scope, body)
        else:
            payload = await asyncio.to_thread(check_payload, body, self.folder, self.limits)
            # Written anew, so that the toolkit reads nothing else in it.
            body = json.dumps(payload).encode("ascii")
            MutableHeaders(scope=scope)["content-length"] = str(len(body))
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        return replayed

    async def _check_form(self, scope: Scope, body: bytes) -> None:
        """Refuse a form that is no drawing's.

        Raises:
            RequestError: It is none, or one with too many layers or pixels.
        """

        async def pieces() -> AsyncGenerator[bytes]:
            yield body

        request = Request(scope)
        parser = MultiPartParser(
            request.headers, pieces(), max_files=4, max_fields=16, max_part_size=1 << 16
        )
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, ValueError):
            raise RequestError("the form cannot be read", field="form") from None
        try:
            index = str(form.get("index", ""))
            layer = int(index) if index.isascii() and index.isdecimal() and len(index) < 4 else 0
            is_known = index in ("", "null", str(layer)) and layer < _MOST_LAYERS
            if form.get("fn_name") != "accept_blobs" or not is_known:
                raise RequestError("the page sends no such form", field="form")
            files = [await item.read() for item in form.values() if isinstance(item, UploadFile)]
        finally:
            await form.close()
        await asyncio.to_thread(_check_pixels, [BytesIO(data) for data in files], self.limits)


def check_payload(body: bytes, folder: Path, limits: Limits) -> object:
    """Read a payload of the toolkit's.

    Args:
        body: JSON.
        folder: Where uploads lie.
        limits: What it may hold.

    Returns:
        The payload.

    Raises:
        RequestError: It is no JSON or too deep, or names a file that was not uploaded here, an address,
            or pictures with too many pixels.
    """
    try:
        payload: object = json.loads(body or b"null")
    except (RecursionError, ValueError):
        raise RequestError("the JSON cannot be read", field="payload") from None
    paths: list[str] = []
    for item in _objects(payload, limits.json_depth):
        path, url = item.get("path"), item.get("url")
        if path is not None and not (isinstance(path, str) and _is_below(path, folder)):
            raise RequestError("a file was not uploaded to this page", field="path")
        if url is not None and not (path and str(url).endswith(f"{_FILE}{path}")):
            raise RequestError("files are never fetched from an address", field="url")
        if isinstance(path, str):
            paths.append(path)
    _check_pixels(paths, limits)
    return payload


def _objects(payload: object, depth: int) -> Iterator[dict[str, Any]]:
    """Every object in some JSON.

    Raises:
        RequestError: It is nested deeper than that.
    """
    level: list[object] = [payload]
    for _ in range(depth + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                yield cast("dict[str, Any]", item)
                inner += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                inner += cast("list[object]", item)
        if not inner:
            return
        level = inner
    raise RequestError(f"the JSON is nested deeper than {depth} levels", field="payload")


def _is_below(path: str, folder: Path) -> bool:
    """Whether a path leads to something in a folder, whatever links are on the way."""
    try:
        return folder.resolve() in Path(path).resolve().parents
    except (OSError, RuntimeError, ValueError):
        return False


def _check_pixels(files: list[Any], limits: Limits) -> None:
    """Refuse pictures that would take too much memory once they are opened, or something else's help.

    Raises:
        RequestError: They would.
    """
    pixels, formats = 0, set[str | None]()
    for file in files:
        try:
            with warnings.catch_warnings():
                # The limit here is stricter.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(file) as opened:
                    pixels += opened.width * opened.height
                    formats.add(opened.format)
        except Image.DecompressionBombError:
            pixels = limits.image_pixels + 1
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            # Whoever reads it as a picture says so; captions are none.
            continue
    if formats - {*FORMATS, "MPO"}:
        raise RequestError(f"send pictures as {', '.join(FORMATS)}", field="picture")
    if pixels > limits.image_pixels:
        message = f"the pictures have more than the {limits.image_pixels} pixels allowed"
        raise RequestError(message, field="picture")


def _with_policy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
        await send(message)

    return sent
