"""The built files of the page as routes: names that are known, and nothing else of any folder."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from promptengine.errors import PromptEngineError
from promptengine.server.app import STUDIO
from promptengine.server.errors import HTTPRefusal

__all__ = ["POLICY", "add_studio"]

POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may load and run for the page: what this server gives, and no code within the page."""

_INDEX: Final = "index.html"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_HASHED: Final = re.compile(r"-[0-9A-Z]{8}\.")
_KEPT: Final = "max-age=31536000, immutable"
_ASKED_AGAIN: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class _File:
    """A built file, ready to be sent.

    Attributes:
        plain: As it is.
        packed: The same, compressed by gzip.
        media_type: Of HTTP.
        caching: How long a browser may keep it; a name with a hash never means anything else.
    """

    plain: bytes
    packed: bytes
    media_type: str
    caching: str

    def answer(self, request: Request) -> Response:
        """Return it in the form that a browser can read."""
        encodings = request.headers.get("accept-encoding", "")
        packs = any(one.partition(";")[0].strip() == "gzip" for one in encodings.split(","))
        headers = {
            "Content-Security-Policy": POLICY,
            "Cache-Control": self.caching,
            "Vary": "Accept-Encoding",
            **({"Content-Encoding": "gzip"} if packs else {}),
        }
        content = self.packed if packs else self.plain
        return Response(content, media_type=self.media_type, headers=headers)


def add_studio(app: FastAPI) -> None:
    """Show the page at ``/studio/``.

    Args:
        app: A server's, as :func:`promptengine.server.app.create_app` makes it.

    Raises:
        PromptEngineError: The installation lacks the built files.
    """
    built = _built()
    place, methods = STUDIO.rstrip("/"), ["GET", "HEAD"]

    async def entrance(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope['root_path']}{STUDIO}")

    async def index(request: Request) -> Response:
        return built[_INDEX].answer(request)

    async def file(name: str, request: Request) -> Response:
        if name not in built:
            raise HTTPRefusal("no such file of the page", status=404)
        return built[name].answer(request)

    for path, route in ((place, entrance), (STUDIO, index), (f"{place}/{{name}}", file)):
        app.add_api_route(path, route, methods=methods, include_in_schema=False)


def _built() -> dict[str, _File]:
    """Read the built files, by their names."""
    folder = files("promptengine.ui.studio") / "built"
    found = {
        one.name: _file(one.name, one.read_bytes())
        for one in (folder.iterdir() if folder.is_dir() else ())
        if _suffix(one.name) in _TYPES
    }
    if _INDEX not in found:
        message = "the page's built files are missing; install promptengine again, or --no-page"
        raise PromptEngineError(message)
    return found


def _file(name: str, data: bytes) -> _File:
    caching = _KEPT if _HASHED.search(name) else _ASKED_AGAIN
    return _File(data, gzip.compress(data, mtime=0), _TYPES[_suffix(name)], caching)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
