"""Routes over the one training of the server: its options, its start and stop, and where it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from io import BytesIO
from itertools import pairwise
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, StreamingResponse
from PIL import Image
from pydantic import BaseModel, Field

from promptengine.errors import RequestError
from promptengine.inspection import size_of_checkpoint
from promptengine.prompt.serialize import well_formed
from promptengine.request.fields import fields_of
from promptengine.request.schema import fields_schema
from promptengine.server.auth import BoundedRoute
from promptengine.server.base64_images import decode_base64, open_base64_image
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.worker import Model
from promptengine.server.limits import check_size, check_texts
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Served, Service
from promptengine.server.training import TrainingImage, TrainingOrder, TrainingState
from promptengine.server.v1.forms import StrictForm, Text, form_of
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.to_request import named_model
from promptengine.training.options import TrainingOptions, option_lists

__all__ = [
    "TrainingData",
    "TrainingForm",
    "TrainingImageForm",
    "TrainingPoint",
    "TrainingStatus",
    "router",
]

_SUFFIXES: Final = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "BMP": ".bmp"}
_OPTIONS: Final = {own.name for own in fields_of(TrainingOptions)}
_PAUSE_S: Final = 0.3
"""Seconds between two events at least: steps may be quicker than anybody can look."""

_MOST_WEIGHTS: Final = 32
"""Of one of a network's parts, by those of a square layer of its width; ``1, 2, 1`` has 4."""

router = APIRouter(
    prefix=f"{PREFIX}/training",
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


class TrainingImageForm(StrictForm):
    """An image to train with, in base64, and what it shows."""

    image: str
    caption: Text = ""


class TrainingForm(form_of(TrainingOptions, "The options of a training.")):
    """A training. Its images are those of ``folder``, a name of the list of data, or are sent as ``images``.

    Attributes:
        name: Of the network, and of its file in the folder of hypernetworks.
        checkpoint: What it is trained on; the server's own where it is left out.
        vae: Likewise.
        folder: Of images on the server.
        images: In place of a folder; a run that is resumed has its own.
        resume: Go on with the run of this name, which is refused where there is none.
        overwrite: Replace the network and the run of this name.
    """

    name: Text
    checkpoint: Text | None = None
    vae: Text | None = None
    folder: Text | None = None
    images: list[TrainingImageForm] = Field(default_factory=list[TrainingImageForm])
    resume: bool = False
    overwrite: bool = False


class TrainingData(BaseModel):
    """A folder of images on the server.

    Attributes:
        name: Of the folder.
        images: How many it holds.
    """

    name: str
    images: int


class TrainingPoint(BaseModel):
    """What a step cost.

    Attributes:
        step: Counted from 1.
        loss: Of it alone.
        smoothed_loss: Mean loss, recent steps counting more.
    """

    step: int
    loss: float
    smoothed_loss: float


class TrainingStatus(BaseModel):
    """Where the training is.

    Attributes:
        state: ``none`` where there was none since the server began, ``preparing``, ``training``,
            ``stopping``, ``finished``, ``stopped`` or ``failed``.
        name: Of the network.
        step: Steps done, those of earlier runs included.
        of: Steps asked for.
        epoch: How often all images were seen.
        loss: Of the last step; null before the first.
        smoothed_loss: Mean loss, recent steps counting more.
        learning_rate: Of the last step.
        eta_s: Seconds left.
        points: The curve of the losses, thinned out where its points are many.
        previews: Steps whose previews can be had.
        notes: What a person should know.
        error: Why it failed.
    """

    state: TrainingState
    name: str
    step: int
    of: int
    epoch: int
    loss: float | None
    smoothed_loss: float | None
    learning_rate: float | None
    eta_s: float | None
    points: list[TrainingPoint]
    previews: list[int]
    notes: list[str]
    error: str | None


@router.get("/fields")
def fields() -> dict[str, Any]:
    """Describe the options of a training as JSON Schema, with labels, headings and controls."""
    told = fields_schema(TrainingOptions, option_lists())
    left = [own.name for own in fields_of(TrainingOptions) if own.spec.form is not None]
    for name in left:
        del told["properties"][name]
    return told


@router.get("/data")
def data(service: Served) -> list[TrainingData]:
    """List the folders of images on the server."""
    folders = service.training.data_folders()
    return [TrainingData(name=one.name, images=one.images) for one in folders]


@router.get("")
def status(service: Served) -> TrainingStatus:
    """Tell where the training is."""
    return _status(service)


@router.post("", status_code=202)
def start(service: Served, form: TrainingForm) -> TrainingStatus:
    """Begin a training; one at a time, and nothing that is there is replaced unless it may be."""
    try:
        service.training.start(_order(service, form))
    except OSError as error:
        reason = error.strerror or "a file cannot be written"
        raise HTTPRefusal(f"the images cannot be kept: {reason}", status=409) from None
    return _status(service)


@router.post("/stop")
def stop(service: Served) -> TrainingStatus:
    """End the training after its step and save its state, from which it can go on."""
    service.training.stop()
    return _status(service)


@router.get(
    "/previews/{step}",
    response_class=FileResponse,
    responses={200: {"content": {"image/png": {}}}},
)
def preview(service: Served, step: int) -> Response:
    """Give a preview: images with and without the network, side by side."""
    path = service.training.preview(step)
    if path is None or not path.is_file():
        raise HTTPRefusal(f"no preview of step {str(step)[:20]}", status=404)
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(path, media_type="image/png", headers=headers)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(service: Served) -> StreamingResponse:
    """Tell of the training as it goes on, as server-sent events ``progress`` and at last ``ended``."""
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_events(service), media_type="text/event-stream", headers=headers)


async def _events(service: Service) -> AsyncGenerator[str]:
    """Yield the state after each change; of changes in quick succession the last."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    service.training.listen(on_change)
    try:
        while True:
            changed.clear()
            goes_on = service.training.view.goes_on
            told = well_formed(_status(service).model_dump())
            name = "progress" if goes_on else "ended"
            yield f"event: {name}\ndata: {json.dumps(told)}\n\n"
            if not goes_on:
                return
            await asyncio.sleep(_PAUSE_S)
            await changed.wait()
    finally:
        service.training.ignore(on_change)


def _status(service: Service) -> TrainingStatus:
    view, shown = service.training.view, service.shown
    progress = view.progress
    return TrainingStatus(
        state=view.state,
        name=view.name,
        step=progress.step if progress else 0,
        of=view.steps,
        epoch=progress.epoch if progress else 0,
        loss=progress.loss if progress else None,
        smoothed_loss=progress.smoothed_loss if progress else None,
        learning_rate=progress.learning_rate if progress else None,
        eta_s=round(progress.seconds_left, 1) if progress else None,
        points=[
            TrainingPoint(step=step, loss=loss, smoothed_loss=smoothed)
            for step, loss, smoothed in view.points
        ],
        previews=list(view.previews),
        notes=[shown.text(text) for text in view.notes],
        error=shown.text(view.error) or None,
    )


def _order(service: Service, form: TrainingForm) -> TrainingOrder:
    """Read a form; what is too much for a server is refused.

    Raises:
        RequestError: Options that cannot be used, images that are none, or too much of something.
        Refusal: 404, for a checkpoint or VAE that is not here.
    """
    limits = service.config.limits
    if form.resume and form.overwrite:
        message = "resume and overwrite are both true; a run goes on, or is replaced"
        raise RequestError(message, field="overwrite")
    if form.folder is not None and form.images:
        raise RequestError("images are sent and a folder is named; leave one out", field="folder")
    if form.resume and form.images:
        raise RequestError("a run that is resumed has its images", field="images")
    model = named_model(form.checkpoint, form.vae, service.settings)
    options = TrainingOptions(**form.model_dump(include=_OPTIONS))
    _check(options, model, limits)
    return TrainingOrder(
        name=form.name,
        options=options,
        model=model,
        folder=form.folder,
        images=_images(form, limits),
        resume=form.resume,
        overwrite=form.overwrite,
    )


def _check(options: TrainingOptions, model: Model, limits: Limits) -> None:
    check_texts({"preview_prompt": options.preview_prompt}, limits)
    for name in ("learning_rate", "clip_at", "layer_structure", "dropout_structure", "widths"):
        text = getattr(options, name)
        if text is not None and len(text) > 1000:
            raise RequestError(f"{name} is {len(text)} characters; 1000 are the most", field=name)
    if options.template not in option_lists()["templates"]:
        message = f"template {options.template[:60]!r} is none of those there are"
        raise RequestError(message, field="template")
    factors = options.structure
    weights = sum(abs(one * following) for one, following in pairwise(factors))
    if not weights <= _MOST_WEIGHTS:
        message = f"layer_structure has {weights:g} times the weights of a layer; {_MOST_WEIGHTS} are the most"
        raise RequestError(message, field="layer_structure")
    usual = size_of_checkpoint(model.checkpoint)
    width, height = options.width or usual, options.height or usual
    check_size(width, height, limits)
    most = limits.pixels // (width * height)
    if options.batch_size > min(most, limits.batch_images):
        message = f"batch_size is {options.batch_size}; {min(most, limits.batch_images)} are the most here"
        raise RequestError(message, field="batch_size")
    if options.preview_count > limits.batch_images:
        message = (
            f"preview_count is {options.preview_count}; {limits.batch_images} are the most here"
        )
        raise RequestError(message, field="preview_count")
    if options.preview_count and options.preview_steps > limits.steps:
        message = f"preview_steps is {options.preview_steps}; {limits.steps} are the most here"
        raise RequestError(message, field="preview_steps")


def _images(form: TrainingForm, limits: Limits) -> tuple[TrainingImage, ...]:
    if len(form.images) > limits.training_images:
        message = f"images are {len(form.images)}; {limits.training_images} are the most"
        raise RequestError(message, field="images")
    return tuple(_image(one, number, limits) for number, one in enumerate(form.images, 1))


def _image(form: TrainingImageForm, number: int, limits: Limits) -> TrainingImage:
    check_texts({f"caption of image {number}": form.caption}, limits)
    try:
        open_base64_image(form.image, limits)
    except RequestError as error:
        raise RequestError(f"image {number}: {error}", field="images") from None
    data = decode_base64(form.image)
    with Image.open(BytesIO(data)) as opened:
        suffix = _SUFFIXES.get(opened.format or "")
    if suffix is None:
        kinds = ", ".join(dict.fromkeys(_SUFFIXES))
        raise RequestError(f"image {number} is none of {kinds}", field="images")
    return TrainingImage(data, suffix, form.caption)
