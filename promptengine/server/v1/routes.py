"""Our own routes: prompts read without a model, networks, and jobs that are waited for elsewhere."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from promptengine.images.save import encode_image
from promptengine.kinds import tag_kinds
from promptengine.language.marks import Mark as PromptMark
from promptengine.language.marks import marks_of
from promptengine.prompt import parse
from promptengine.prompt.diagnostic_kinds import check_codes, without_codes
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.serialize import diagnostic_document, prompt_document
from promptengine.request.options import Options
from promptengine.request.plan import NetworkUse, make_plan
from promptengine.request.request import GenerationRequest
from promptengine.request.schema import fields_schema
from promptengine.server.auth import BoundedRoute
from promptengine.server.base64_images import encode_base64
from promptengine.server.errors import HTTPRefusal
from promptengine.server.job_store import JobRecord
from promptengine.server.jobs.job import Job
from promptengine.server.limits import affordable, check_texts
from promptengine.server.saving import SavedImages
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.sdapi.to_response import encode_output, job_output, network_reports
from promptengine.server.state import Client, Served, Service
from promptengine.server.v1.events import event, event_stream, job_events
from promptengine.server.v1.kept_jobs import find_job, status_of, submit_job
from promptengine.server.v1.named_lists import named_lists
from promptengine.server.v1.regions import describe_regions, read_regions
from promptengine.server.v1.schemas import (
    JobForm,
    JobResult,
    JobStatus,
    Mark,
    PromptForm,
    ReadPrompt,
    Tokens,
)
from promptengine.text.count import count_scheduled

__all__ = ["PREFIX", "router"]

PREFIX: Final = "/promptengine/v1"
"""What the paths of these routes begin with."""

_SAVED_S: Final = 120.0
"""Seconds that who asks for a result waits for a slow disk."""

_log = logging.getLogger(__name__)

router = APIRouter(
    prefix=PREFIX,
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


@router.post("/parse", response_model=ReadPrompt)
def read_prompt(service: Served, form: PromptForm) -> Response:
    """Read a prompt, as a generation would; needs no model."""
    check_texts({"prompt": form.prompt}, service.config.limits)
    prompt = parse(
        form.prompt, comments=form.comments, negative=form.negative, dialect=form.dialect
    )
    limits = service.config.limits
    first = ScheduledPrompt(prompt, form.steps)
    last = first if form.hires_steps is None else replace(first, hires_steps=form.hires_steps)
    planned = affordable(first, limits)
    plan = make_plan(planned, parse("", negative=True), service.registry)
    check_codes(form.ignored_diagnostics)
    uses = [use for kind in tag_kinds() for use in plan.of(kind.name)]
    regions, remarks = None, plan.diagnostics
    if not form.negative:
        regions, remarks = read_regions(form, planned, plan, uses, service.registry)
    diagnostics = without_codes((*remarks, *negative_weights(prompt)), form.ignored_diagnostics)
    told = prompt_document(last, diagnostics, most=limits.schedule_characters)
    found = [_use(use) for use in uses]
    for diagnostic in told["diagnostics"]:
        diagnostic["message"] = service.shown.text(diagnostic["message"])
    text = " AND ".join(part.text.strip() for part in prompt.parts)
    # Over other steps, a prompt is read for its networks alone.
    schedules = first.schedules if planned is first else ()
    marks = marks_of(prompt, schedules)
    tokens = _tokens(service, first, form) if schedules and form.tokens else None
    told |= {"networks": found, "marks": [_mark(mark) for mark in marks], "tokens": tokens}
    told["regions"] = regions
    # Whoever types waits for it: it is checked once, and here, not once more on its way out.
    return Json(ReadPrompt(text=text, **told).model_dump())


def _mark(mark: PromptMark) -> Mark:
    span = mark.span
    return Mark(kind=mark.kind, start=span.start, end=span.end, weight=mark.weight)


def _tokens(service: Service, prompt: ScheduledPrompt, form: PromptForm) -> Tokens:
    options = Options(comments=form.comments)
    texts = [one for some in prompt.texts for one in some]
    found = count_scheduled(texts, options, service.vectors)
    return Tokens(count=found.tokens, limit=found.limit, chunks=list(found.used))


@router.get("/fields")
def fields(service: Served) -> dict[str, Any]:
    """Describe the fields of a job as JSON Schema, with labels, controls and their names elsewhere."""
    told = fields_schema(
        GenerationRequest, named_lists(service.registry), service.settings.form_defaults
    )
    describe_regions(told["properties"])
    return told


def _use(use: NetworkUse) -> dict[str, Any]:
    told: dict[str, Any] = {
        "kind": use.entry.kind,
        "name": use.entry.name,
        "multiplier": use.multiplier,
    }
    if use.unet_multiplier is not None:
        told |= {"unet": use.unet_multiplier}
    if use.blocks is not None:
        told |= {"block_weights": dict(use.blocks.by_block)}
    return told


@router.post("/jobs", status_code=202)
async def submit(service: Served, client: Client, form: JobForm) -> JobStatus:
    """Queue a job; a network that is not here is refused at once unless the policy says otherwise."""
    service.queue.check_room()
    job = await run_in_threadpool(submit_job, service, form, client)
    return status_of(service, job)


def _saved(service: Service, job: Job, count: int) -> SavedImages:
    """Return what became of the files of a job's images."""
    nothing = (None,) * count
    try:
        return service.saves.result(job.id, _SAVED_S) or SavedImages(nothing, ())
    except Exception as error:  # noqa: BLE001 - no fault of saving may cost the images
        _log.warning("images not saved", exc_info=error, extra={"facts": {"job": job.id}})
        return SavedImages(nothing, ("the images could not be saved; the server's log says why",))


@router.get("/jobs/{job_id}")
async def status(service: Served, client: Client, job_id: str) -> JobStatus:
    """Tell where a job is."""
    return status_of(service, find_job(service, client, job_id))


@router.delete("/jobs/{job_id}")
async def cancel(service: Served, client: Client, job_id: str) -> JobStatus:
    """End a job; one that runs stops after its step, and others in its batch go on."""
    job = find_job(service, client, job_id)
    if isinstance(job, Job):
        await run_in_threadpool(service.queue.cancel, job)
    return status_of(service, job)


@router.post("/jobs/{job_id}/interrupt")
async def interrupt(service: Served, client: Client, job_id: str) -> JobStatus:
    """End a job after its step and keep its images so far; others in its batch go on."""
    job = find_job(service, client, job_id)
    if isinstance(job, Job):
        await run_in_threadpool(service.queue.interrupt, job)
    return status_of(service, job)


@router.post("/jobs/{job_id}/skip")
async def skip(service: Served, client: Client, job_id: str) -> JobStatus:
    """End the batch that is being made after its step, and go on with the job's next one."""
    job = find_job(service, client, job_id)
    if isinstance(job, Job):
        job.interrupt.skip()
    return status_of(service, job)


@router.get("/jobs/{job_id}/result", response_model=JobResult)
async def result(service: Served, client: Client, job_id: str) -> Response:
    """Give the images of a job that has ended, all or those so far; one that failed gives its error."""
    job = find_job(service, client, job_id)
    if isinstance(job, JobRecord):
        raise _gone(service, job)
    if not job.has_ended:
        raise HTTPRefusal(f"job {job.id} is still {job.state}", status=409)
    if job.error is not None and (job.state == "failed" or not job.results):
        raise job.error
    content = await run_in_threadpool(_result, service, job)
    return Json(content.model_dump())


def _gone(service: Service, job: JobRecord) -> HTTPRefusal:
    """Return what is left to say of a job whose images are not in memory any more."""
    saved = [one for one in job.saved if one is not None]
    told = f"the result of job {job.id}, which is {job.state}, is not in memory any more"
    if job.error:
        told = f"{told}: {service.shown.text(job.error)}"
    elif saved:
        told = f"{told}; its images are in the history: {', '.join(saved)}"
    return HTTPRefusal(told, status=410)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(service: Served, client: Client, job_id: str) -> StreamingResponse:
    """Tell of a job as it goes on, as server-sent events ``progress`` and at last ``ended``."""
    job = find_job(service, client, job_id)
    stream = _past(service, job) if isinstance(job, JobRecord) else job_events(service, job)
    return event_stream(stream)


async def _past(service: Service, job: JobRecord) -> AsyncGenerator[str]:
    yield event("ended", status_of(service, job))


def _result(service: Service, job: Job) -> JobResult:
    made, values = job_output(job), service.settings.values()
    form, quality = str(values["samples_format"]), values["jpeg_quality"]
    assert isinstance(quality, int)
    results = [result for batch in list(job.results) for result in batch]
    diagnostics = dict.fromkeys(found for result in results for found in result.diagnostics)
    timings: dict[str, float] = {}
    for one in results:
        for stage, seconds in one.timings.items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    saved = _saved(service, job, len(made.outputs))
    notes = () if job.script is None else job.script.notes
    return JobResult(
        id=job.id,
        images=[encode_base64(encode_output(image, form, quality)) for image in made.outputs],
        grids=[image.grid for image in made.outputs],
        masks=[
            {name: encode_base64(encode_image(mask)) for name, mask in found.items()}
            for found in (image.result.masks_of(image.number) for image in made.outputs)
        ],
        infotexts=[image.infotext for image in made.outputs],
        seeds=[image.seed for image in made.outputs],
        networks=network_reports(made.outputs, service.shown),
        diagnostics=[diagnostic_document(found) for found in diagnostics],  # type: ignore[misc]
        timings=timings,
        saved=list(saved.ids),
        warnings=[service.shown.text(text) for text in (*notes, *saved.warnings)],
    )
