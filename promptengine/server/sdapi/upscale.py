"""Images enlarged after they were made, as WebUI's extras do it."""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from promptengine.errors import GenerationCancelled
from promptengine.images.postprocess import Postprocess, encode_postprocessed
from promptengine.images.read import infotext_in
from promptengine.images.upscalers import PixelUpscaler, pixel_upscalers
from promptengine.server.base64_images import base64_image_texts, encode_base64, open_base64_image
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.limits import check_size
from promptengine.server.sdapi.requests import BatchUpscaling, Upscaling
from promptengine.server.state import Service

__all__ = ["Enlarged", "upscale_images"]

_UNHEEDED: Final = ("gfpgan_visibility", "codeformer_visibility")

_Fields = Upscaling | BatchUpscaling


@dataclass(frozen=True, slots=True)
class Enlarged:
    """The results of extras.

    Attributes:
        images: PNGs in base64.
        html: What was done, and what was not, for a page.
        warnings: What was not.
    """

    images: list[str]
    html: str
    warnings: list[str]


def upscale_images(
    images: Sequence[str], fields: _Fields, service: Service, cancel: threading.Event
) -> Enlarged:
    """Enlarge images that were sent, one request at a time.

    Args:
        images: In base64.
        fields: How.
        service: The server's.
        cancel: Set where nobody wants the result any more.

    Raises:
        RequestError: An image that cannot be read, or a size that is not allowed.
        NetworkFormatError: An upscaler's file that cannot be used.
        GenerationCancelled: ``cancel`` was set.
        Refusal: 404, for an upscaler that there is not.
    """
    limits = service.config.limits

    def on_tile(_done: int, _total: int) -> None:
        if cancel.is_set():
            raise GenerationCancelled("cancelled between two tiles")

    with service.upscaling, service.upscalers.watching(on_tile):
        wish = _wish(fields, service)
        made, told = list[str](), ""
        for sent in images:
            image = open_base64_image(sent, limits)
            _check_result(image, wish, limits)
            image, told = wish.apply(image)
            png = encode_postprocessed(image, told, _infotext_of(sent))
            made.append(encode_base64(png))
    warnings = [f"{name} is not honored" for name in _UNHEEDED if getattr(fields, name) > 0]
    lines = [html.escape(line) for line in (told, *warnings)]
    return Enlarged(made, "\n".join(f"<p>{line}</p>" for line in lines), warnings)


def _wish(fields: _Fields, service: Service) -> Postprocess:
    size = (fields.upscaling_resize_w, fields.upscaling_resize_h)
    return Postprocess(
        upscaler=_upscaler(fields.upscaler_1, service, "upscaler_1"),
        second=_upscaler(fields.upscaler_2, service, "upscaler_2"),
        visibility=fields.extras_upscaler_2_visibility,
        scale=fields.upscaling_resize,
        size=None if fields.resize_mode == 0 else size,
        crop=fields.upscaling_crop,
    )


def _upscaler(name: str, service: Service, field: str) -> PixelUpscaler:
    known = pixel_upscalers(service.registry)
    if name not in known:
        message = f"Upscaler not found: {name[:100]!r}; there are {', '.join(known)}"
        raise HTTPRefusal(message, status=404)
    return service.upscalers.find_pixel(name, service.settings.options(), field=field)


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
