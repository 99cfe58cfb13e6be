"""Images enlarged after they were made, as WebUI's extras do it."""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from promptengine.images.postprocess import Postprocess
from promptengine.images.upscalers import PixelUpscaler, pixel_upscalers
from promptengine.request.upscale import UpscaleRequest
from promptengine.server.base64_images import encode_base64
from promptengine.server.errors import HTTPRefusal
from promptengine.server.sdapi.fields import read_fields
from promptengine.server.sdapi.requests import BatchUpscaling, Upscaling
from promptengine.server.state import Service
from promptengine.server.upscale import enlarge_images

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
    made = enlarge_images(images, lambda: _wish(fields, service), service, cancel)
    told = made[-1].done if made else ""
    warnings = [f"{name} is not honored" for name in _UNHEEDED if getattr(fields, name) > 0]
    lines = [html.escape(line) for line in (told, *warnings)]
    text = "\n".join(f"<p>{line}</p>" for line in lines)
    return Enlarged([encode_base64(one.png) for one in made], text, warnings)


def _wish(fields: _Fields, service: Service) -> Postprocess:
    given = read_fields(fields, UpscaleRequest)
    return Postprocess(
        upscaler=_upscaler(given["upscaler_1"], service, "upscaler_1"),
        second=_upscaler(given["upscaler_2"], service, "upscaler_2"),
        visibility=given["visibility"],
        scale=given["scale"],
        size=(given["width"], given["height"]) if given["mode"] == "scale to" else None,
        crop=given["crop"],
    )


def _upscaler(name: str, service: Service, field: str) -> PixelUpscaler:
    known = pixel_upscalers(service.registry)
    if name not in known:
        message = f"Upscaler not found: {name[:100]!r}; there are {', '.join(known)}"
        raise HTTPRefusal(message, status=404)
    return service.upscalers.find_pixel(name, service.settings.options(), field=field)
