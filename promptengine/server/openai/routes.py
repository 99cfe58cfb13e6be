"""OpenAI's routes: images from prompts and from images, and the models there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from promptengine.errors import RequestError
from promptengine.server.auth import BoundedRoute
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.openai.errors import PREFIX
from promptengine.server.openai.forms import (
    EditForm,
    ErrorAnswer,
    GenerationForm,
    ImagesAnswer,
    ModelAnswer,
    ModelsAnswer,
)
from promptengine.server.openai.links import ImageLinks
from promptengine.server.openai.to_request import (
    ImageCall,
    Upload,
    edit_call,
    edit_form,
    generation_call,
)
from promptengine.server.openai.to_response import image_events, images_answer
from promptengine.server.sdapi.options import find_checkpoint
from promptengine.server.sdapi.responses import Json
from promptengine.server.state import Served, Service, client_of, finished
from promptengine.server.v1.events import event_stream

__all__ = ["router"]

_FORM: Final = "multipart/form-data"
_IMAGE_FIELDS: Final = ("image", "image[]")
_MOST_PART: Final = 1 << 20
_KINDS: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorAnswer},
    "5XX": {"model": ErrorAnswer},
}
_IMAGES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ImagesAnswer, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}

_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {kind: {} for kind in _KINDS.values()}}
}

router = APIRouter(
    prefix=PREFIX,
    tags=["OpenAI"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=_ANSWERS,
)


def _edit_body() -> dict[str, Any]:
    """Return what the OpenAPI document says of the form of an edit."""
    schema = EditForm.model_json_schema()
    file = {"type": "string", "format": "binary"}
    schema["properties"] |= {"image": file, "mask": file, "promptengine": {"type": "string"}}
    schema["required"] = [*schema["required"], "image"]
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


@router.post("/images/generations", responses=_IMAGES, response_model=None)
async def generations(service: Served, request: Request, form: GenerationForm) -> Response:
    """Make images from a prompt."""
    service.queue.check_room()
    call = await run_in_threadpool(generation_call, form, service)
    return await _made(service, request, call)


@router.post("/images/edits", responses=_IMAGES, response_model=None, openapi_extra=_edit_body())
async def edits(service: Served, request: Request) -> Response:
    """Make images from an image, all of it or where a mask is transparent."""
    service.queue.check_room()
    texts, files = await _uploaded(request, service.config.limits)
    form = edit_form(texts, service.config.limits)
    call = await run_in_threadpool(edit_call, form, files, service)
    return await _made(service, request, call)


async def _made(service: Service, request: Request, call: ImageCall) -> Response:
    if call.form.stream:
        job = service.queue.submit(call.work, client_of(request))
        return event_stream(image_events(service, call, job))
    job = await finished(service, request, call.work, "", stays=False)
    links, base = _links(request), str(request.base_url).rstrip("/")
    return Json(await run_in_threadpool(images_answer, service, call, job, links, base))


async def _uploaded(request: Request, limits: Limits) -> tuple[dict[str, str], Upload]:
    """Return the texts and the files of a form; what names files have plays no part.

    Raises:
        RequestError: It is no such form, or one of its fields is what it must not be.
        HTTPException: 400, where it is damaged or has too many parts.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise RequestError(f"send the image in a form, as {_FORM}", field="image")
    most = limits.images + 1
    async with request.form(max_files=most, max_fields=64, max_part_size=_MOST_PART) as form:
        return _texts(form), Upload(await _images(form), await _one_mask(form))


def _texts(form: FormData) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if name in (*_IMAGE_FIELDS, "mask"):
            continue
        if not isinstance(value, str):
            message = f"Unknown parameter: {name[:100]!r} is no file here; files are image and mask"
            raise RequestError(message, field=name[:100])
        if name in texts:
            raise RequestError(f"{name[:100]} is given twice; send it once", field=name[:100])
        texts[name] = value
    return texts


async def _images(form: FormData) -> list[bytes]:
    found = [one for name in _IMAGE_FIELDS for one in form.getlist(name)]
    return [await _read(one, "image") for one in found]


async def _one_mask(form: FormData) -> bytes | None:
    found = form.getlist("mask")
    if len(found) > 1:
        raise RequestError("mask is given twice; send it once", field="mask")
    return await _read(found[0], "mask") if found else None


async def _read(value: UploadFile | str, name: str) -> bytes:
    if isinstance(value, str):
        message = f"{name} must be a file of the form; texts and URLs are never fetched"
        raise RequestError(message, field=name)
    return await value.read()


@router.get("/images/files/{name}", response_class=Response, responses=_FILE)
async def image_file(request: Request, name: str) -> Response:
    """Give an image that was asked for as a URL, for an hour; the URL is all that is needed."""
    data = _links(request).find(name)
    if data is None:
        raise HTTPRefusal("no such image; links last an hour at most", status=404)
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(data, media_type=kind, headers={"Cache-Control": "private, no-store"})


@router.get("/models")
def models(service: Served) -> ModelsAnswer:
    """List the checkpoints, the server's own first."""
    return ModelsAnswer(data=list(_models(service).values()))


@router.get("/models/{name:path}")
def model(service: Served, name: str) -> ModelAnswer:
    """Tell of one checkpoint, by any of its names."""
    try:
        path = find_checkpoint(name, service.registry, service.settings.model.checkpoint)
    except HTTPRefusal as refusal:
        refusal.field = "model"
        raise
    found = _models(service)
    return found.get(path) or _told(path, path.stem)


def _models(service: Service) -> dict[Path, ModelAnswer]:
    own = service.settings.model.checkpoint
    entries = service.registry.current_entries("checkpoint")
    names = {own: own.stem} | {entry.path: entry.name for entry in entries}
    return {path: _told(path, name) for path, name in names.items()}


def _told(path: Path, name: str) -> ModelAnswer:
    try:
        created = int(path.stat().st_mtime)
    except OSError:
        created = 0
    return ModelAnswer(id=name, created=created)


def _links(request: Request) -> ImageLinks:
    return cast("ImageLinks", request.app.state.links)
