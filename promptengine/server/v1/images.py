"""Routes over the images that were saved: newest first, searched, shown, deleted, and restored."""

from __future__ import annotations

import base64
import binascii
import io
import json
import threading
from pathlib import Path
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from promptengine.errors import RequestError
from promptengine.files.images import read_image
from promptengine.files.lru import SizedLRU
from promptengine.server.auth import BoundedRoute
from promptengine.server.errors import HTTPRefusal
from promptengine.server.image_index import IndexedImage
from promptengine.server.output_folder import TakenError, image_type
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.v1.routes import PREFIX

__all__ = ["SavedImage", "SavedImagePage", "Thumbnails", "router", "told_image"]

_SIDE: Final = 320
_QUALITY: Final = 80
_KEPT_BYTES: Final = 32 << 20
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
_HEADERS: Final = {"Cache-Control": "no-cache"}
_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")

router = APIRouter(
    prefix=f"{PREFIX}/images",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class SavedImage(BaseModel):
    """An image of the output folder.

    Attributes:
        id: Its path below the folder.
        name: Of its file.
        time: When it was written, in seconds since the epoch.
        width: In pixels.
        height: Likewise.
        infotext: What it says of itself; empty for nothing.
    """

    id: str
    name: str
    time: float
    width: int
    height: int
    infotext: str


class SavedImagePage(BaseModel):
    """Some images, newest first.

    Attributes:
        images: Those.
        next: Asks as ``before`` for those that follow; null behind the last.
        total: How many there are in all, or of what is searched for.
        scanning: Whether files that others wrote are still being looked at, and may be missing.
    """

    images: list[SavedImage]
    next: str | None
    total: int
    scanning: bool


class Thumbnails:
    """Small images, kept as long as there is room. Threads may share them; one is made at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: SizedLRU[tuple[str, int, int], bytes] = SizedLRU(_KEPT_BYTES, len)

    def of(self, path: Path) -> bytes:
        """Return a small image as WEBP.

        Args:
            path: Of an image.

        Raises:
            OSError: It cannot be read.
            ValueError: It is damaged, or too large.
        """
        state = path.stat()
        with self._lock:
            key = (str(path), state.st_mtime_ns, state.st_size)
            return self._kept.get(key, lambda: _small(path))


def _small(path: Path) -> bytes:
    image = read_image(path, formats=_FORMATS)
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image.convert("RGBA" if has_alpha else "RGB").save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()


@router.get("")
def images(
    service: Served,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str, Query(max_length=3000)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    search: Annotated[str, Query(max_length=500)] = "",
) -> SavedImagePage:
    """List images, newest first; with ``search``, those whose infotext has all its words.

    ``offset`` leaves out so many at the beginning, or behind the place of ``before``.
    """
    place = _place(before) if before else None
    found = service.images.page(limit + 1, place, search, offset=offset)
    following = _cursor(found[limit - 1]) if len(found) > limit else None
    return SavedImagePage(
        images=[told_image(image) for image in found[:limit]],
        next=following,
        total=service.images.count(search),
        scanning=service.images.scanning,
    )


@router.get(
    "/{id:path}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
)
def thumbnail(service: Served, request: Request, id: str) -> Response:
    """Give a small WEBP of an image, at most 320 pixels wide and high."""
    path = _found(service, id)
    try:
        state = path.stat()
        headers = {**_HEADERS, "ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        data = _thumbnails(request).of(path)
    except (OSError, ValueError) as error:
        message = f"image {id[:100]!r} cannot be shown: {getattr(error, 'strerror', None) or error}"
        raise HTTPRefusal(message, status=409) from None
    return Response(data, media_type="image/webp", headers=headers)


@router.post("/{id:path}/restore", status_code=204, response_class=Response, response_model=None)
def restore(service: Served, id: str) -> None:
    """Move an image out of the bin to where it was."""
    if not _moved(service.outputs.restore, id):
        raise HTTPRefusal(f"no image {id[:100]!r} in the bin", status=404)
    service.images.add_file(id)


@router.get(
    "/{id:path}",
    response_class=FileResponse,
    responses={200: {"content": {kind: {} for kind in _TYPES}}},
)
def image(service: Served, id: str) -> FileResponse:
    """Give an image's file."""
    path = _found(service, id)
    try:
        kind, state = image_type(path), path.stat()
    except OSError:
        kind, state = None, None
    if kind is None:
        raise _missing(id)
    return FileResponse(path, media_type=kind, headers=_HEADERS, stat_result=state)


@router.delete("/{id:path}", status_code=204, response_class=Response, response_model=None)
def delete(service: Served, id: str) -> None:
    """Move an image to the bin, ``.bin`` in the output folder."""
    if not _moved(service.outputs.delete, id):
        raise _missing(id)
    service.images.remove([id])


def _moved(move: Any, id_: str) -> bool:
    """Move an image; return whether there was one.

    Raises:
        HTTPRefusal: 409, where it cannot be moved.
    """
    try:
        return bool(move(id_))
    except TakenError:
        message = f"another image lies where {id_[:100]!r} would go; move that one away"
        raise HTTPRefusal(message, status=409) from None
    except OSError as error:
        message = f"image {id_[:100]!r} cannot be moved: {error.strerror or error}"
        raise HTTPRefusal(message, status=409) from None


def _found(service: Service, id_: str) -> Path:
    path = service.outputs.find(id_)
    if path is None:
        raise _missing(id_)
    return path


def _missing(id_: str) -> HTTPRefusal:
    return HTTPRefusal(f"no image {id_[:100]!r}", status=404)


def _thumbnails(request: Request) -> Thumbnails:
    return cast("Thumbnails", request.app.state.thumbnails)


def told_image(image: IndexedImage) -> SavedImage:
    """Return an image as it is told of."""
    return SavedImage(
        id=image.id,
        name=image.id.rpartition("/")[2],
        time=image.time / 1e9,
        width=image.width,
        height=image.height,
        infotext=image.infotext,
    )


def _cursor(image: IndexedImage) -> str:
    place = json.dumps([image.time, image.id]).encode()
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _place(cursor: str) -> tuple[int, str]:
    """Return the place in the list that a cursor stands for.

    Raises:
        RequestError: It is none that a list gave.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    match found:
        case [int(time), str(id_)] if abs(time) < 1 << 63:
            return time, id_.encode(errors="replace").decode()
        case _:
            message = "before must be what a list of images gave as next"
            raise RequestError(message, field="before")
