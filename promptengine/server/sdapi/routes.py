"""WebUI's routes that make, read and enlarge images, and that tell and stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool

from promptengine.images.read import infotext_in
from promptengine.images.save import KEYWORD
from promptengine.infotext.webui import webui_fields
from promptengine.request.styles import read_styles
from promptengine.server.auth import BoundedRoute
from promptengine.server.base64_images import base64_image_texts
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Job
from promptengine.server.jobs.worker import Device
from promptengine.server.saving import UNFINISHED, SavedRequest, save_outputs
from promptengine.server.sdapi import lists, responses
from promptengine.server.sdapi.progress import overall, task
from promptengine.server.sdapi.requests import (
    BatchUpscaling,
    GenerationFields,
    Image2Image,
    ImageTextRequest,
    TaskQuestion,
    Text2Image,
    Upscaling,
)
from promptengine.server.sdapi.to_request import ParsedRequest, parse_webui_request
from promptengine.server.sdapi.to_response import (
    JobOutput,
    encode_masks,
    encode_output,
    generation_response,
    job_output,
)
from promptengine.server.sdapi.upscale import upscale_images
from promptengine.server.state import Served, Service, finished, until_gone

__all__ = ["ERRORS", "internal", "router"]

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": responses.Error},
    404: {"model": responses.Error},
    409: {"model": responses.Error},
    413: {"model": responses.Error},
    422: {"model": responses.ValidationError},
    500: {"model": responses.Error},
    503: {"model": responses.Error},
    507: {"model": responses.Error},
}
"""What routes answer beside success."""

_LONGEST_LABEL: Final = 200
_log = logging.getLogger(__name__)

_COMMON: Final[dict[str, Any]] = {
    "tags": ["WebUI"],
    "route_class": BoundedRoute,
    "default_response_class": responses.Json,
    "responses": ERRORS,
}

router = APIRouter(prefix="/sdapi/v1", **_COMMON)
internal = APIRouter(prefix="/internal", **_COMMON)


@router.post("/txt2img", response_model=responses.Generation)
async def txt2img(service: Served, request: Request, fields: Text2Image) -> Response:
    """Make images from a prompt."""
    return await _made(service, request, fields)


@router.post("/img2img", response_model=responses.Generation)
async def img2img(service: Served, request: Request, fields: Image2Image) -> Response:
    """Make images from images."""
    return await _made(service, request, fields)


async def _made(service: Service, request: Request, fields: GenerationFields) -> Response:
    service.queue.check_room()
    asked = await run_in_threadpool(_understood, service, fields)
    label = (fields.force_task_id or fields.genkey or "")[:_LONGEST_LABEL]
    # Where the images go to the disk, the client need not wait for them.
    stays = fields.save_images
    job = await finished(service, request, asked.work, label, stays=stays)
    return await run_in_threadpool(_answer, service, asked, job)


def _understood(service: Service, fields: GenerationFields) -> ParsedRequest:
    styles = read_styles(service.config.styles) if fields.styles else []
    return parse_webui_request(
        fields, service.settings, service.registry, styles, service.config.limits
    )


def _answer(service: Service, asked: ParsedRequest, job: Job) -> Response:
    """Encode the images of a job, save them if that is wished, and answer."""
    made = job_output(job)
    form, quality = str(asked.settings["samples_format"]), asked.settings["jpeg_quality"]
    assert isinstance(quality, int)
    files = [encode_output(output, form, quality) for output in made.outputs]
    if asked.fields.save_images and not asked.fields.do_not_save_samples:
        made = _saved(service, asked, made, files)
    pairs = zip(files, made.outputs, strict=True)
    returned = [data for file, output in pairs for data in (file, *encode_masks(output))]
    content = generation_response(asked, job, made, returned, (service.registry, service.shown))
    service.queue.forget(job)
    return responses.Json(content)


def _saved(
    service: Service, asked: ParsedRequest, made: JobOutput, files: list[bytes]
) -> JobOutput:
    """Write the finished images; where that fails they still go to the client, with a warning.

    Raises:
        Refusal: 507, where they would be lost.
    """
    finished = [pair for pair in zip(files, made.outputs, strict=True) if not pair[1].unfinished]
    if len(finished) < len(files):
        # WebUI keeps them out of its folder as well.
        made = JobOutput(made.outputs, (*made.warnings, UNFINISHED))
    if asked.fields.do_not_save_grid:
        finished = [pair for pair in finished if not pair[1].grid]
    prompt = asked.fields.prompt if isinstance(asked.fields.prompt, str) else None
    about = SavedRequest(asked.settings, asked.work.model, prompt, asked.styles)
    try:
        save_outputs(service, finished, about)
    except OSError as error:
        message = f"the images could not be saved: {error.strerror or error}"
        if not asked.fields.send_images:
            raise HTTPRefusal(message, status=507) from None
        return JobOutput(made.outputs, (*made.warnings, message))
    return made


@router.get("/progress")
async def progress(
    service: Served,
    skip_current_image: bool = False,
    task_id: str | None = None,
    genkey: str | None = None,
) -> responses.Progress:
    """Tell how far a job is: the one of a name, else the one that has run the longest."""
    queue, label = service.queue, task_id or genkey
    job = queue.labeled(label) if label else next(iter(queue.running or queue.waiting), None)
    return overall(queue, job, with_image=not skip_current_image)


@router.post("/interrupt")
async def interrupt(
    service: Served, task_id: str | None = None, genkey: str | None = None
) -> dict[str, Any]:
    """End the job of a name, or without one the jobs that are running; each answers with its images
    so far.
    """
    for job in _meant(service, task_id or genkey):
        service.queue.interrupt(job)
    return {}


@router.post("/skip")
async def skip(service: Served, task_id: str | None = None, genkey: str | None = None) -> None:
    """End the batch that is being made of the job of a name, or of all that are running, and go on."""
    for job in _meant(service, task_id or genkey):
        job.interrupt.skip()


def _meant(service: Service, label: str | None) -> Sequence[Job]:
    if not label:
        return service.queue.running
    named = service.queue.labeled(label)
    return [] if named is None else [named]


@internal.post("/progress")
async def task_progress(service: Served, question: TaskQuestion) -> responses.TaskProgress:
    """Tell how far the job of a name is."""
    job = service.queue.labeled(question.id_task)
    return task(job, seen=question.id_live_preview, with_image=question.live_preview)


@internal.get("/pending-tasks")
async def pending_tasks(service: Served) -> dict[str, Any]:
    """Tell the names of the jobs that wait."""
    tasks = [job.label or job.id for job in service.queue.waiting]
    return {"size": len(tasks), "tasks": tasks}


@internal.get("/ping")
async def ping() -> dict[str, Any]:
    """Answer."""
    return {}


@router.post("/png-info")
def png_info(sent: ImageTextRequest) -> responses.ImageTextResponse:
    """Read the texts inside an image."""
    if not sent.image:
        raise HTTPRefusal("Image not found", status=404)
    found = base64_image_texts(sent.image)
    if found is None:
        raise HTTPRefusal("Invalid encoded image: no PNG, JPEG, WEBP or GIF", status=422)
    _, infotext = infotext_in(found)
    if infotext is None:
        return responses.ImageTextResponse(info="", items=dict(found.texts), parameters={})
    info = found.texts.get(KEYWORD) or str(infotext)
    items = {KEYWORD: info, **found.texts}
    return responses.ImageTextResponse(info=info, items=items, parameters=webui_fields(info))


@router.post("/extra-single-image")
async def extra_single_image(
    service: Served, request: Request, sent: Upscaling
) -> responses.Upscaled:
    """Enlarge an image."""
    made = await until_gone(
        request, lambda cancel: upscale_images([sent.image], sent, service, cancel)
    )
    return responses.Upscaled(html_info=made.html, image=made.images[0], warnings=made.warnings)


@router.post("/extra-batch-images")
async def extra_batch_images(
    service: Served, request: Request, sent: BatchUpscaling
) -> responses.UpscaledBatch:
    """Enlarge images."""
    limits = service.config.limits
    if len(sent.imageList) > limits.images:
        raise HTTPRefusal(f"more than the {limits.images} images allowed", status=413)
    images = [image.data for image in sent.imageList]
    made = await until_gone(request, lambda cancel: upscale_images(images, sent, service, cancel))
    return responses.UpscaledBatch(html_info=made.html, images=made.images, warnings=made.warnings)


@router.get("/options")
async def options(service: Served) -> dict[str, Any]:
    """Tell the settings."""
    values = service.settings.values()
    title = values["sd_model_checkpoint"]
    return {**values, "sd_model_checkpoint": service.shown.text(str(title))}


@router.post("/options")
def set_options(service: Served, changes: Annotated[dict[str, Any], Body()]) -> None:
    """Change settings for all requests that follow."""
    unknown = service.settings.change(changes)
    if unknown:
        _log.warning("options ignored", extra={"facts": {"unknown": unknown}})


@router.post("/unload-checkpoint")
def unload_checkpoint(service: Served) -> dict[str, Any]:
    """Give the memory of the model back until it is asked for again."""
    for device in _devices(service):
        device.unload()
    return {}


@router.post("/reload-checkpoint")
def reload_checkpoint(service: Served) -> dict[str, Any]:
    """Load the model again that was unloaded, or see that it is there."""
    for device in _devices(service):
        device.load(service.settings.model)
    return {}


def _devices(service: Service) -> Sequence[Device]:
    if not service.devices:
        raise HTTPRefusal(
            "models lie in replicas, which load and unload them by themselves", status=409
        )
    return service.devices


@router.get("/memory")
def memory() -> dict[str, dict[str, Any]]:
    """Tell how much memory there is."""
    return lists.memory()


@router.get("/cmd-flags")
async def cmd_flags(service: Served) -> dict[str, Any]:
    """Tell how the server was started, as far as that is nobody's secret."""
    return _flags(service.config)


def _flags(config: ServerConfig) -> dict[str, Any]:
    return {
        "api": True,
        "nowebui": True,
        "listen": config.host not in ("127.0.0.1", "::1", "localhost"),
        "port": config.port,
        "ckpt_dir": None,
        "hypernetwork_dir": None,
        "lora_dir": None,
        "embeddings_dir": None,
        "share": False,
        "medvram": config.offload == "model",
        "lowvram": config.offload == "layers",
    }
