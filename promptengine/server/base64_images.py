"""Images in JSON: base64 in, decoded within limits, and base64 out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from promptengine.errors import ImageError, RequestError
from promptengine.files.images import read_image
from promptengine.images.png_chunks import ImageTexts, texts_of
from promptengine.server.config import Limits

__all__ = [
    "base64_image_texts",
    "data_url",
    "decode_base64",
    "encode_base64",
    "open_base64_image",
    "open_base64_images",
    "small_png",
]

_DATA_URL: Final = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_URL: Final = re.compile(r"\s*(https?|ftp|file):", re.IGNORECASE)
_NAME: Final = Path("image")


def decode_base64(text: str) -> bytes:
    """Return the bytes of an image in base64, with or without ``data:image/…;base64,`` in front.

    Raises:
        RequestError: A URL, which is never fetched, or no base64.
    """
    if _URL.match(text):
        raise RequestError("Requests not allowed: send the image itself in base64", field="image")
    start = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[start.end() :] if start else text, validate=False)
    except (binascii.Error, ValueError):
        raise RequestError("Invalid encoded image: no base64", field="image") from None


def open_base64_images(texts: Sequence[str], limits: Limits) -> tuple[Image.Image, ...]:
    """Images that were sent together, which share what one alone may have.

    Raises:
        RequestError: As :func:`open_base64_image`.
    """
    share = replace(limits, image_pixels=limits.image_pixels // max(len(texts), 1))
    return tuple(open_base64_image(text, share) for text in texts)


def open_base64_image(text: str, limits: Limits) -> Image.Image:
    """Return an image that was sent, decoded, turned as its camera noted.

    Raises:
        RequestError: It is no image, a URL, or larger than allowed.
    """
    data = decode_base64(text)
    try:
        return read_image(BytesIO(data), most_pixels=limits.image_pixels)
    except (OSError, ValueError) as failure:
        raise RequestError(f"Invalid encoded image: {failure}", field="image") from None


def base64_image_texts(text: str) -> ImageTexts | None:
    """Return the texts inside an image that was sent, found without decoding a pixel; None for no image.

    Raises:
        RequestError: It is a URL, no base64, or damaged.
    """
    try:
        return texts_of(BytesIO(decode_base64(text)), _NAME)
    except ImageError as error:
        message = str(error).removeprefix(f"{_NAME}: ")
        raise RequestError(f"Invalid encoded image: {message}", field="image") from None


def encode_base64(data: bytes) -> str:
    """Bytes in base64, bare."""
    return base64.b64encode(data).decode("ascii")


def small_png(image: Image.Image) -> str:
    """Return a preview in base64, bare, each pixel of it four wide."""
    file = BytesIO()
    larger = image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)
    larger.save(file, format="PNG", compress_level=1)
    return encode_base64(file.getvalue())


def data_url(base64_png: str) -> str:
    """Return a PNG as pages show it."""
    return f"data:image/png;base64,{base64_png}"
