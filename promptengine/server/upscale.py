"""Finished images that were sent, enlarged one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from promptengine.errors import GenerationCancelled
from promptengine.images.postprocess import Postprocess, encode_postprocessed
from promptengine.images.read import infotext_in
from promptengine.server.base64_images import base64_image_texts, open_base64_image
from promptengine.server.config import Limits
from promptengine.server.limits import check_size
from promptengine.server.state import Service

__all__ = ["EnlargedImage", "enlarge_images"]


@dataclass(frozen=True, slots=True)
class EnlargedImage:
    """An image that was enlarged.

    Attributes:
        png: The file, with both texts in it.
        size: Width and height in pixels.
        infotext: Of the image that was sent; empty where it had none.
        done: What was done to it, in WebUI's words; empty for nothing.
    """

    png: bytes
    size: tuple[int, int]
    infotext: str
    done: str


def enlarge_images(
    images: Sequence[str],
    find_wish: Callable[[], Postprocess],
    service: Service,
    cancel: threading.Event,
) -> list[EnlargedImage]:
    """Enlarge images that were sent.

    Args:
        images: In base64.
        find_wish: Says how, and may load networks for it.
        service: The server's.
        cancel: Set where nobody wants the result any more.

    Raises:
        RequestError: An image that cannot be read, or a size that is not allowed.
        NetworkFormatError: An upscaler's file that cannot be used.
        GenerationCancelled: ``cancel`` was set.
        Exception: What ``find_wish`` raises.
    """
    limits = service.config.limits

    def on_tile(_done: int, _total: int) -> None:
        if cancel.is_set():
            raise GenerationCancelled("cancelled between two tiles")

    with service.upscaling, service.upscalers.watching(on_tile):
        wish = find_wish()
        made = list[EnlargedImage]()
        for sent in images:
            image = open_base64_image(sent, limits)
            _check_result(image, wish, limits)
            image, done = wish.apply(image)
            infotext = _infotext_of(sent)
            png = encode_postprocessed(image, done, infotext)
            made.append(EnlargedImage(png, image.size, infotext, done))
    return made


def _check_result(image: Image.Image, wish: Postprocess, limits: Limits) -> None:
    """Refuse too large a result, also where it would be cropped."""
    if wish.upscaler.enlarge is not None:
        factor = wish.factor(image)
        check_size(max(image.width * factor, 8), max(image.height * factor, 8), limits)


def _infotext_of(sent: str) -> str:
    """Return what an image that was sent says about itself; empty where it says nothing."""
    found = base64_image_texts(sent)
    infotext = None if found is None else infotext_in(found)[1]
    return "" if infotext is None else str(infotext)
