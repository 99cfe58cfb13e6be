"""Routes that enlarge a finished image, and that tell how it can be asked for."""

from __future__ import annotations

import threading
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from promptengine.errors import GenerationCancelled, RequestError
from promptengine.images.postprocess import Postprocess
from promptengine.images.upscalers import pixel_upscalers
from promptengine.request.schema import fields_schema
from promptengine.request.upscale import UpscaleRequest
from promptengine.server.auth import BoundedRoute
from promptengine.server.base64_images import encode_base64
from promptengine.server.image_index import IndexedImage
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service, until_gone
from promptengine.server.upscale import EnlargedImage, enlarge_images
from promptengine.server.v1.forms import Text, form_of
from promptengine.server.v1.routes import PREFIX

__all__ = ["UpscaleForm", "UpscaledImage", "router"]

_FOLDER: Final = "extras-images"
"""Where WebUI puts what its extras make; numbered, without folders for days in it."""

_OUT_OF_BOUNDS: Final = ("width", "height")

router = APIRouter(
    prefix=f"{PREFIX}/upscale",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class UpscaleForm(form_of(UpscaleRequest, "How an image is enlarged.")):
    """An image to enlarge, in base64. The result goes to the output folder unless ``save`` says no."""

    image: Text
    save: bool = True


class UpscaledImage(BaseModel):
    """An image that was enlarged.

    Attributes:
        image: PNG in base64, with both texts in it.
        width: In pixels.
        height: Likewise.
        infotext: Of the image that was sent; empty where it had none.
        postprocessing: What was done to it, in WebUI's words; empty for nothing.
        saved: What :mod:`promptengine.server.v1.images` knows it by; null where it is not saved.
        warnings: Why it is not.
    """

    image: str
    width: int
    height: int
    infotext: str
    postprocessing: str
    saved: str | None
    warnings: list[str]


@router.get("/fields")
def upscale_fields(service: Served) -> dict[str, Any]:
    """Describe the fields of an enlargement as JSON Schema, as those of a job are described."""
    return fields_schema(UpscaleRequest, {"upscalers": pixel_upscalers(service.registry)})


@router.post("")
async def upscale(service: Served, request: Request, form: UpscaleForm) -> UpscaledImage:
    """Enlarge an image; ends when the client goes away."""
    return await until_gone(request, lambda cancel: _upscaled(service, form, cancel))


def _upscaled(service: Service, form: UpscaleForm, cancel: threading.Event) -> UpscaledImage:
    given = form.model_dump(exclude={"image", "save"})
    asked = UpscaleRequest(**given)
    try:
        (made,) = enlarge_images([form.image], lambda: _wish(asked, service), service, cancel)
    except RequestError as error:
        if error.field in _OUT_OF_BOUNDS and asked.size is None:
            error.field = "scale"
        raise
    if cancel.is_set():
        raise GenerationCancelled("cancelled before the image was saved")
    saved, warnings = None, list[str]()
    if form.save and service.config.save:
        try:
            saved = _save(service, made)
        except OSError as error:
            reason = error.strerror or str(error)
            warnings.append(service.shown.text(f"the image could not be saved: {reason}"))
    width, height = made.size
    return UpscaledImage(
        image=encode_base64(made.png),
        width=width,
        height=height,
        infotext=made.infotext,
        postprocessing=made.done,
        saved=saved,
        warnings=warnings,
    )


def _wish(asked: UpscaleRequest, service: Service) -> Postprocess:
    """Return how an image is enlarged, its networks loaded.

    Raises:
        RequestError: There is no such upscaler of images.
        NetworkFormatError: Its file cannot be used.
    """
    options = service.settings.options()
    first, second = (
        service.upscalers.find_pixel(getattr(asked, field), options, field=field)
        for field in ("upscaler_1", "upscaler_2")
    )
    return Postprocess(first, second, asked.visibility, asked.scale, asked.size, asked.crop)


def _save(service: Service, made: EnlargedImage) -> str:
    """Write an image into the output folder; return its path there.

    It stays a PNG whatever the settings say of samples: other formats have no place for its second text.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    id_ = service.outputs.save(made.png, (_FOLDER,), "", ".png")
    path = service.outputs.find(id_)
    if path is not None:
        time = path.stat().st_mtime_ns
        service.images.add(IndexedImage(id_, time, *made.size, made.infotext))
    return id_
