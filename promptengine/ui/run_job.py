"""The page's jobs: handed to the server's queue, watched, and turned into files to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from promptengine.errors import RequestError
from promptengine.images.save import encode_image
from promptengine.infotext.read import infotext_with_prompts
from promptengine.inspection import size_of_checkpoint
from promptengine.server.jobs.queue import Job, JobQueue, Work
from promptengine.server.jobs.worker import Model
from promptengine.server.limits import check_image_count
from promptengine.server.sdapi.to_request import batch_key
from promptengine.server.sdapi.to_response import JobOutput, OutputImage, encode_output, job_output
from promptengine.server.state import Service
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.to_request import work_from_form
from promptengine.xyz_plot.axes import Axis
from promptengine.xyz_plot.plot import compose_grid, grid_requests

__all__ = ["Ended", "PictureFile", "Step", "make", "make_grid"]

_PAUSE_S: Final = 0.15
"""Between two looks at a job; pictures that follow quicker are not worth sending."""

_EARLY: Final = ("cancelled", "interrupted")
"""States of a job that there would have been more of."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A finished picture as a file.

    Attributes:
        name: For whoever downloads it.
        data: A PNG with its infotext inside.
        title: What it is called in lists.
        infotext: How it was made.
    """

    name: str
    data: bytes
    title: str
    infotext: str


@dataclass(frozen=True, slots=True)
class Step:
    """Where a job is that goes on.

    Attributes:
        job: The job.
        before: Jobs that are taken before it, or None where it runs.
        number: Which one it is of several, from 0.
        count: How many there are.
    """

    job: Job
    before: int | None
    number: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """What all came to.

    Attributes:
        made: The pictures, and what to know about them.
        files: The same as files, a grid's sheet first.
        cancelled: Whether there would have been more.
        seconds: From the first job's start to the last one's end.
    """

    made: JobOutput
    files: tuple[PictureFile, ...]
    cancelled: bool
    seconds: float


async def make(service: Service, form: JobForm, client: str) -> AsyncGenerator[Step | Ended]:
    """Have the server make the pictures of a form, and tell how it goes.

    A caller that stops listening takes the job with it.

    Raises:
        PromptEngineError: The form cannot be met, the queue is full, or the job failed.
    """
    limits = service.config.limits
    work = await asyncio.to_thread(work_from_form, form, service.settings, service.registry, limits)
    job = service.queue.submit(work, client)
    async for before in _watched(service.queue, job):
        yield Step(job, before)
    _raise_failure(job)
    made = job_output(job)
    files = await asyncio.to_thread(_files, made)
    yield Ended(made, tuple(files), job.state in _EARLY, _seconds(job))


async def make_grid(
    service: Service, form: JobForm, axes: tuple[Axis, Axis | None, Axis | None], client: str
) -> AsyncGenerator[Step | Ended]:
    """Likewise with a grid, each picture of which is a job of its own, one after another.

    Raises:
        PromptEngineError: As :func:`make`; also what :func:`promptengine.xyz_plot.plot.grid_requests` says.
    """
    works = await asyncio.to_thread(_grid_works, service, form, axes)
    made, seconds = JobOutput((), ()), 0.0
    for number, work in enumerate(works):
        job = service.queue.submit(work, client)
        async for before in _watched(service.queue, job):
            yield Step(job, before, number, len(works))
        if job.error is not None and (job.state == "failed" or not made.outputs):
            raise job.error
        one = job_output(job)
        warnings = dict.fromkeys((*made.warnings, *one.warnings))
        made = JobOutput((*made.outputs, *one.outputs), tuple(warnings))
        seconds += _seconds(job)
        if job.state in _EARLY:
            files = await asyncio.to_thread(_files, made)
            yield Ended(made, tuple(files), True, seconds)
            return
    sheet = await asyncio.to_thread(_sheet, made.outputs, axes)
    files = await asyncio.to_thread(_files, made)
    yield Ended(made, (sheet, *files), False, seconds)


async def _watched(queue: JobQueue, job: Job) -> AsyncGenerator[int | None]:
    """Yield after each change of a job until it has ended: the jobs before it, or None."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    queue.listen(job, on_change)
    try:
        while True:
            changed.clear()
            if job.has_ended:
                return
            waiting = queue.waiting if job.state == "waiting" else []
            yield waiting.index(job) if job in waiting else None
            await changed.wait()
            await asyncio.sleep(_PAUSE_S)
    finally:
        queue.ignore(job, on_change)
        queue.cancel(job)


def _raise_failure(job: Job) -> None:
    if job.error is not None and (job.state == "failed" or not job.results):
        raise job.error


def _seconds(job: Job) -> float:
    return job.ended - job.started if job.started else 0.0


def _files(made: JobOutput) -> list[PictureFile]:
    found: list[PictureFile] = []
    for number, picture in enumerate(made.outputs, 1):
        title = f"Picture {number} · seed {picture.seed}"
        data = encode_output(picture, "png", 80)
        found.append(PictureFile(f"{picture.seed}.png", data, title, picture.infotext))
        for name, mask in picture.result.masks_of(picture.number).items():
            label = f"{title} · {name.replace('-', ' ')}"
            file = f"{picture.seed}-{name}.png"
            found.append(PictureFile(file, encode_image(mask), label, picture.infotext))
    return found


def _grid_works(
    service: Service, form: JobForm, axes: tuple[Axis, Axis | None, Axis | None]
) -> list[Work]:
    work = work_from_form(form, service.settings, service.registry, service.config.limits)
    assert isinstance(work.model, Model)
    native = size_of_checkpoint(work.model.checkpoint, service.config.model_config)
    given = [axis for axis in axes if axis is not None]
    requests = grid_requests(work.requests[0], given, service.registry, native)
    limits = service.config.limits
    if len(requests) > limits.total_images:
        message = (
            f"the grid would have {len(requests)} pictures; {limits.total_images} are allowed here"
        )
        raise RequestError(message, field="axis")
    for request in requests:
        check_image_count(request.steps, 1, 1, limits)
    return [Work((request,), work.model, batch_key((request,))) for request in requests]


def _sheet(
    pictures: Sequence[OutputImage], axes: tuple[Axis, Axis | None, Axis | None]
) -> PictureFile:
    grid = compose_grid([picture.result for picture in pictures], *axes)
    first = pictures[0].request
    told = infotext_with_prompts(grid.infotext, first.prompt, first.negative_prompt)
    return PictureFile(
        name=f"grid-{pictures[0].seed}.png",
        data=encode_image(grid.image, ".png", told),
        title="The grid",
        infotext=grid.infotext,
    )
