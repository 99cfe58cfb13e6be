"""Jobs as what OpenAI's clients read: answers, and events of a stream."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from fastapi.concurrency import run_in_threadpool
from PIL import Image

from promptengine.errors import ImageError, PromptEngineError
from promptengine.images.save import encode_image
from promptengine.infotext.read import infotext_with_prompts
from promptengine.prompt.serialize import well_formed
from promptengine.server.base64_images import encode_base64
from promptengine.server.errors import HTTPRefusal, status_of
from promptengine.server.jobs.job import Job
from promptengine.server.openai.errors import openai_error, openai_status
from promptengine.server.openai.links import ImageLinks
from promptengine.server.openai.to_request import ImageCall
from promptengine.server.sdapi.to_response import OutputImage, job_output
from promptengine.server.state import Service

__all__ = ["image_events", "images_answer"]

_ALIVE_S: Final = 5.0
"""After so many seconds without news a comment is sent, by which a client that is gone is noticed."""

_PREVIEW_SCALE: Final = 8
"""Pixels of an image for each of its preview."""

_USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Nothing is charged for here, and nothing counted."""


def images_answer(
    service: Service, call: ImageCall, job: Job, links: ImageLinks, base: str
) -> dict[str, Any]:
    """Return the answer to a request, and let go of the job's images.

    Args:
        service: The server's.
        call: The request.
        job: One that has ended.
        links: Takes images that were asked for as URLs.
        base: The server's own URL.

    Raises:
        ImageError: An image does not fit into the format.
        HTTPRefusal: The job was interrupted before there was any image.
    """
    made = job_output(job)
    if not made.outputs:
        raise _nothing()
    as_url, data = call.form.response_format == "url", list[dict[str, Any]]()
    for output in made.outputs:
        file = _encoded(call, output)
        told = (
            {"url": base + links.add(file, call.output_format)}
            if as_url
            else {"b64_json": encode_base64(file)}
        )
        data.append(told | _revised(call, output))
    answer = {"created": int(time.time()), "data": data, "usage": _USAGE}
    answer |= _facts(service, made.outputs, made.warnings)
    answer |= _said(call, made.outputs[0].image)
    service.queue.forget(job)
    return well_formed(answer)


def _nothing() -> HTTPRefusal:
    return HTTPRefusal("the job was interrupted before it made an image", status=409)


def _encoded(call: ImageCall, output: OutputImage) -> bytes:
    """Return an image as a file of the format that was asked for, with its infotext if that fits."""
    request, form = output.request, call.output_format
    told = infotext_with_prompts(output.infotext, request.prompt, request.negative_prompt)
    try:
        return encode_image(output.image, form, told, quality=call.file_quality)
    except ImageError:
        # The answer holds the text too, so that one too long for JPEG is not lost.
        return encode_image(output.image, form, quality=call.file_quality)


def _revised(call: ImageCall, output: OutputImage) -> dict[str, str]:
    """Return the prompt that an image was made from, where styles or templates made it another one."""
    prompt = output.request.prompt
    return {} if prompt == call.form.prompt else {"revised_prompt": prompt}


def _facts(
    service: Service, outputs: Sequence[OutputImage], warnings: Sequence[str]
) -> dict[str, Any]:
    return {
        "promptengine": {
            "infotexts": [output.infotext for output in outputs],
            "seeds": [output.seed for output in outputs],
            "warnings": [service.shown.text(text) for text in warnings],
        }
    }


def _said(call: ImageCall, image: Image.Image) -> dict[str, Any]:
    """Return what an answer and an event repeat of the request, as it was honored."""
    form = call.form
    told = {
        "size": f"{image.width}x{image.height}",
        "quality": call.told_quality,
        "background": "opaque",
        "output_format": call.output_format,
    }
    who = form.safety_identifier or form.user
    return told | ({"safety_identifier": who} if who else {})


async def image_events(service: Service, call: ImageCall, job: Job) -> AsyncGenerator[str]:
    """Yield what becomes of a job as server-sent events; whoever stops listening ends it.

    Args:
        service: The server's.
        call: The request.
        job: One that was queued for it alone.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    job.listeners.add(on_change)
    sent, partials = 0, _Partials(call)
    try:
        while True:
            changed.clear()
            ended = job.has_ended
            if ended or job.work.script is None:
                outputs = job_output(job).outputs
                for output in outputs[sent:]:
                    yield _event(await run_in_threadpool(_completed, service, call, output))
                    sent, partials = sent + 1, _Partials(call)
            if ended:
                break
            if (partial := await run_in_threadpool(partials.next, job)) is not None:
                yield _event(partial)
            if not await _news(changed):
                yield ": nothing new\n\n"
        if job.error is not None or not sent:
            yield _event(_failure(service, job.error or _nothing()))
    except PromptEngineError as error:
        yield _event(_failure(service, error))
    finally:
        job.listeners.remove(on_change)
        service.queue.cancel(job)
        service.queue.forget(job)


async def _news(changed: asyncio.Event) -> bool:
    """Wait for a change, or as long as nothing may be sent; return whether there was one."""
    try:
        await asyncio.wait_for(changed.wait(), _ALIVE_S)
    except asyncio.TimeoutError:
        return False
    return True


class _Partials:
    """The small images of one image, spread over its steps.

    Args:
        call: The request, which says how many.
    """

    def __init__(self, call: ImageCall) -> None:
        self._call, self._sent = call, 0
        self._wanted = call.form.partial_images or 0

    def next(self, job: Job) -> dict[str, Any] | None:
        """Return the event of the next one; None as long as it is not its turn."""
        preview, step, steps = job.preview, job.step, job.steps
        part = (self._sent + 1) / (self._wanted + 1)
        if self._sent >= self._wanted or preview is None or not steps:
            return None
        if step < math.ceil(steps * part):
            return None
        size = (preview.width * _PREVIEW_SCALE, preview.height * _PREVIEW_SCALE)
        image = preview.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        file = encode_image(image, self._call.output_format, quality=self._call.file_quality)
        told = _event_of(self._call, "partial_image", file, image)
        self._sent += 1
        return told | {"partial_image_index": self._sent - 1}


def _completed(service: Service, call: ImageCall, output: OutputImage) -> dict[str, Any]:
    told = _event_of(call, "completed", _encoded(call, output), output.image)
    told |= _revised(call, output) | {"usage": _USAGE}
    return told | _facts(service, [output], [])


def _event_of(call: ImageCall, name: str, file: bytes, image: Image.Image) -> dict[str, Any]:
    told = {"type": f"{call.event}.{name}", "b64_json": encode_base64(file)}
    return told | {"created_at": int(time.time())} | _said(call, image)


def _failure(service: Service, error: Exception) -> dict[str, Any]:
    status, field = openai_status(status_of(error)), getattr(error, "field", "")
    return {"type": "error", **openai_error(status, service.shown.text(str(error)), field)}


def _event(told: dict[str, Any]) -> str:
    return f"event: {told['type']}\ndata: {json.dumps(well_formed(told))}\n\n"
