"""Images enlarged without a model, as WebUI's extras do it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptengine.errors import RequestError
from promptengine.images.read import infotext_in
from promptengine.images.resize import resize_image
from promptengine.images.save import KEYWORD
from promptengine.images.upscalers import find_pixel_upscaler, pixel_upscalers
from promptengine.server.base64_images import base64_image_texts, encode_base64, open_base64_image
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.limits import check_size
from promptengine.server.sdapi.requests import BatchUpscaling, Upscaling

__all__ = ["Enlarged", "upscale_images"]

_GREATEST_SCALE: Final = 8.0
_DONE: Final = "postprocessing"
"""WebUI's keyword of the text that says what was done."""

_UNHEEDED: Final = ("gfpgan_visibility", "codeformer_visibility")

_Fields = Upscaling | BatchUpscaling


@dataclass(frozen=True, slots=True)
class Enlarged:
    """What extras came to.

    Attributes:
        images: PNGs in base64.
        html: What was done, and what was not, for a page.
        warnings: What was not.
    """

    images: list[str]
    html: str
    warnings: list[str]


def upscale_images(images: Sequence[str], fields: _Fields, limits: Limits) -> Enlarged:
    """Enlarge images that were sent.

    Args:
        images: In base64.
        fields: How.
        limits: How large they may be and become.

    Raises:
        RequestError: An image that cannot be read, or a size that is not allowed.
        Refusal: 404, for an upscaler that there is not.
    """
    known = pixel_upscalers()
    for name in (fields.upscaler_1, fields.upscaler_2):
        if name not in known:
            message = f"Upscaler not found: {name[:100]!r}; there are {', '.join(known)}"
            raise HTTPRefusal(message, status=404)
    warnings = [f"{name} is not honored" for name in _UNHEEDED if getattr(fields, name) > 0]
    made, told = list[str](), ""
    for sent in images:
        image, told = _enlarged(open_base64_image(sent, limits), fields, limits)
        made.append(encode_base64(_png(image, {KEYWORD: _infotext_of(sent), _DONE: told})))
    lines = [html.escape(line) for line in (told, *warnings)]
    return Enlarged(made, "\n".join(f"<p>{line}</p>" for line in lines), warnings)


def _enlarged(image: Image.Image, fields: _Fields, limits: Limits) -> tuple[Image.Image, str]:
    """An image as it is asked for, and what was done to it in WebUI's words."""
    if fields.upscaler_1 == "None":
        return image, ""
    image = image.convert("RGB")
    if fields.resize_mode == 0:
        scale = fields.upscaling_resize
        if not 0 < scale <= _GREATEST_SCALE:
            message = f"upscaling_resize is {scale:g}; it must be above 0 and at most 8"
            raise RequestError(message, field="upscaling_resize")
        width, height = round(image.width * scale), round(image.height * scale)
        done = {"Postprocess upscale by": str(scale)}
    else:
        width, height = fields.upscaling_resize_w, fields.upscaling_resize_h
        done = {"Postprocess upscale to": f"{width}x{height}"}
    check_size(width, height, limits)
    crops = fields.resize_mode != 0 and fields.upscaling_crop
    if crops:
        done["Postprocess crop to"] = f"{width}x{height}"
    mode = "crop" if crops else "stretch"
    first = resize_image(image, width, height, mode, find_pixel_upscaler(fields.upscaler_1))
    done["Postprocess upscaler"] = fields.upscaler_1
    share = fields.extras_upscaler_2_visibility
    if fields.upscaler_2 != "None" and 0 < share <= 1:
        second = resize_image(image, width, height, mode, find_pixel_upscaler(fields.upscaler_2))
        first = Image.blend(first, second, share)
        done["Postprocess upscaler 2"] = fields.upscaler_2
    return first, ", ".join(f"{key}: {value}" for key, value in done.items())


def _infotext_of(sent: str) -> str:
    """What an image that was sent says about itself; empty where it says nothing."""
    found = base64_image_texts(sent)
    infotext = None if found is None else infotext_in(found)[1]
    return "" if infotext is None else str(infotext)


def _png(image: Image.Image, texts: dict[str, str]) -> bytes:
    chunks, file = PngInfo(), BytesIO()
    for keyword, text in texts.items():
        if text:
            chunks.add_text(keyword, text)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()
