"""Images that show what a model does, from hosts that are not trusted: bounded in bytes, pixels and time."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Final

import httpx

from promptengine.civitai.web import Web
from promptengine.errors import DownloadError
from promptengine.files.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["get_preview", "small_image"]

_MOST_BYTES: Final = 32 << 20
_MOST_S: Final = 60.0
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
_ACCEPT: Final = {"Accept": "image/jpeg, image/png, image/webp, image/gif"}


def get_preview(web: Web, url: str) -> bytes:
    """Get the file of an image, which nothing has looked into yet.

    Args:
        web: What asks, by its rules of who may be asked.
        url: Where the image is.

    Raises:
        DownloadError: It cannot be had, says that it is no image, or is larger or slower than any preview.
    """
    try:
        return _content(web, url)
    except httpx.TransportError as error:
        raise DownloadError(web.unreachable(error)) from None


def small_image(content: bytes, side: int) -> Image:
    """Read an image, and return it with as many pixels at most in width and height.

    Raises:
        DownloadError: It is none, damaged, or has more pixels than any preview.
    """
    try:
        image = read_image(io.BytesIO(content), formats=_FORMATS)
    except ValueError as error:
        raise DownloadError(str(error)) from None
    image.thumbnail((side, side))
    return image


def _content(web: Web, url: str) -> bytes:
    content, end = bytearray(), time.monotonic() + _MOST_S
    with web.stream(url, _ACCEPT) as response:
        if response.status_code != 200:
            raise DownloadError(web.refusal(response))
        kind = response.headers.get("content-type", "image/")
        if not kind.lower().startswith(("image/", "application/octet-stream", "binary/")):
            raise DownloadError(f"it is {kind[:60]!r} and no image")
        for piece in response.iter_raw():
            content += piece
            if len(content) > _MOST_BYTES:
                raise DownloadError("the image is larger than any preview")
            if time.monotonic() > end:
                raise DownloadError("the image takes longer than any preview")
    return bytes(content)
