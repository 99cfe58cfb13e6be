"""Jobs of our own API from their submission to their end, and over a restart of the server."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from pydantic import ValidationError

from promptengine.errors import PromptEngineError
from promptengine.server.errors import HTTPRefusal, ServerStopping
from promptengine.server.job_store import JobRecord
from promptengine.server.jobs.job import Job, Work
from promptengine.server.jobs.worker import Model
from promptengine.server.saving import SavedImages, save_job
from promptengine.server.sdapi.options import title_of
from promptengine.server.sdapi.to_response import job_output
from promptengine.server.state import Service
from promptengine.server.v1.schemas import JobForm, JobStatus
from promptengine.server.v1.to_request import work_from_form

__all__ = [
    "find_job",
    "job_statuses",
    "owns",
    "restore_jobs",
    "saved_ids",
    "status_of",
    "submit_job",
]

_TRIES: Final = 2
_TOLD: Final = 200
_REMADE: Final = (
    "the server is stopping; the job is made again, and its images saved, at its restart"
)

_log = logging.getLogger(__name__)


def submit_job(service: Service, form: JobForm, client: str) -> Job:
    """Queue a job. One whose images are saved comes back after a restart of the server.

    Args:
        service: The server's.
        form: What is asked for.
        client: Who asks.

    Raises:
        HTTPRefusal: 503, where the queue is full or the server is stopping.
        PromptEngineError: What is asked for cannot be met.
    """
    work = _work(service, form)
    job = Job(secrets.token_hex(8), client, work)
    record = JobRecord(job.id, client, _shortened(form.prompt), job.stamp, work.batches)
    saves = form.save and service.config.save
    service.records.add(record, _as_json(service, form, work) if saves else None)
    _follow(service, job, _saving(service, job, form))
    try:
        service.queue.add(job)
    except HTTPRefusal:
        service.records.remove(job.id)
        service.saves.drop(job.id)
        raise
    return job


def _work(service: Service, form: JobForm) -> Work:
    return work_from_form(form, service.settings, service.registry, service.config.limits)


def _saving(service: Service, job: Job, form: JobForm) -> Callable[[], SavedImages] | None:
    """Return what saves the images of a job that has ended; None where they are not to be."""
    if not (form.save and service.config.save):
        return None
    return partial(save_job, service, job, form.prompt, tuple(form.styles))


def _as_json(service: Service, form: JobForm, work: Work) -> str:
    """Return a form that means the same when it is read again: what was drawn, and what was set."""
    request, model = work.requests[0], work.model
    assert isinstance(model, Model)
    meant: dict[str, object] = {
        "seed": request.seed,
        "variation_seed": request.variation_seed,
        "checkpoint": title_of(model.checkpoint, service.registry),
    }
    if form.vae is None:
        meant["vae"] = service.settings.values()["sd_vae"]
    return form.model_copy(update=meant).model_dump_json()


def _follow(service: Service, job: Job, saving: Callable[[], SavedImages] | None) -> None:
    """Have a job's beginning and its end noted, and its images saved, also where nobody asks for its result."""
    service.saves.expect(job.id)

    def on_change() -> None:
        if job.has_ended:
            service.saves.begin(job.id, partial(_finish, service, job, saving))
        elif job.state == "running":
            service.records.begin(job.id)

    job.listeners.add(on_change)


def _finish(service: Service, job: Job, saving: Callable[[], SavedImages] | None) -> SavedImages:
    """Save the images of a job that has ended, and note how it did."""
    record = service.records.find(job.id)
    ids: tuple[str | None, ...] = (None,) * len(job_output(job).outputs)
    if isinstance(job.error, ServerStopping) and record is not None and record.durable:
        service.records.put_back(job.id)
        return SavedImages(ids, (_REMADE,))
    try:
        saved = SavedImages(ids, ()) if saving is None else saving()
        ids = saved.ids
    finally:
        service.records.end(job, ids)
    return saved


def restore_jobs(service: Service) -> None:
    """Queue the jobs again that a server before this one has left, in their order.

    One that the server died with is tried once more, alone; with the second death it has failed.

    Args:
        service: One that has just been opened.
    """
    found = [_job_again(service, record) for record in service.records.unfinished]
    for job in found:
        if job is not None:
            service.queue.add(job, always=True)


def _job_again(service: Service, record: JobRecord) -> Job | None:
    """Return a job of another run of the server; None where it has failed."""
    if record.attempts >= _TRIES:
        message = f"the server ended {_TRIES} times while it made this job; it is not tried again"
        service.records.fail(record.id, message)
        return None
    # What its form holds may be what the process dies of.
    service.records.begin(record.id)
    try:
        form = JobForm.model_validate_json(service.records.form(record.id) or "")
        work = _work(service, form)
    except (PromptEngineError, ValidationError) as error:
        service.records.fail(record.id, _reason(error))
        return None
    except Exception:  # noqa: BLE001 - a server starts whatever its file of jobs holds
        _log.exception("a job could not be queued again", extra={"facts": {"job": record.id}})
        message = "the job could not be queued again after a restart; the server's log says why"
        service.records.fail(record.id, message)
        return None
    service.records.put_back(record.id)
    # One that takes the process with it is not to take others along.
    work = replace(work, together=None) if record.attempts else work
    job = Job(record.id, record.client, work, stamp=record.created)
    _follow(service, job, _saving(service, job, form))
    return job


def _reason(error: PromptEngineError | ValidationError) -> str:
    if isinstance(error, PromptEngineError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"the job was kept by another version of the server: {place}: {first['msg']}"


def owns(service: Service, client: str, owner: str) -> bool:
    """Return whether a client may know of a job: where there are users, each knows of their own."""
    return not service.config.users or client == owner


def find_job(service: Service, client: str, id_: str) -> Job | JobRecord:
    """Return a job, or what is known of one that has ended and whose images are not in memory.

    Raises:
        HTTPRefusal: 404, where there is none that this client may know of.
    """
    found = service.queue.find(id_) or service.records.find(id_)
    if found is None or not owns(service, client, found.client):
        raise HTTPRefusal(f"no job {id_[:100]!r}: it never was, or ended long ago", status=404)
    return found


def saved_ids(service: Service, job: Job | JobRecord) -> list[str]:
    """Return what the saved images of a job are known by, once it has ended and they are written."""
    record = service.records.find(job.id)
    return [] if record is None else [one for one in record.saved if one is not None]


def status_of(service: Service, job: Job | JobRecord) -> JobStatus:
    """Tell where a job is."""
    return _status(service, job, service.queue.waiting)


def job_statuses(service: Service, client: str, limit: int) -> list[JobStatus]:
    """Tell of all jobs: those that run, those that wait in their order, and the last ones that ended.

    Args:
        service: The server's.
        client: Who asks.
        limit: How many ended ones at most.
    """
    # A job may go on meanwhile; it is told of once, by where it was seen last.
    unfinished, ended = service.records.unfinished, service.records.ended
    running, waiting = service.queue.running, service.queue.waiting
    active = {job.id: job for job in (*running, *waiting)}
    lately = [job for one in reversed(unfinished) if (job := service.queue.find(one.id))]
    past: dict[str, Job | JobRecord] = {
        one.id: one
        for one in (*lately, *ended)
        if one.id not in active and owns(service, client, one.client)
    }
    shown = [job for job in active.values() if owns(service, client, job.client)]
    told = [*shown, *list(past.values())[:limit]]
    return [_status(service, one, waiting) for one in told]


def _status(service: Service, job: Job | JobRecord, waiting: list[Job]) -> JobStatus:
    if isinstance(job, JobRecord):
        return _past_status(service, job)
    error = "" if job.error is None else str(job.error)
    record = service.records.find(job.id)
    return JobStatus(
        id=job.id,
        state=job.state,
        position=waiting.index(job) if job in waiting else None,
        progress=job.progress,
        batch=job.batch,
        batches=job.work.batches,
        step=job.step,
        steps=job.steps,
        eta_s=round(job.eta_s, 3),
        error=service.shown.text(error) or None,
        prompt=_shortened(job.prompt) if record is None else record.prompt,
        created=job.stamp,
        saved=[] if record is None else list(record.saved),
    )


def _past_status(service: Service, record: JobRecord) -> JobStatus:
    done = 1.0 if record.state == "done" else record.batch / max(record.batches, 1)
    return JobStatus(
        id=record.id,
        state=record.state,
        position=None,
        progress=min(done, 1.0),
        batch=record.batch,
        batches=record.batches,
        step=0,
        steps=0,
        eta_s=0,
        error=service.shown.text(record.error) or None,
        prompt=record.prompt,
        created=record.created,
        saved=list(record.saved),
    )


def _shortened(prompt: str) -> str:
    return prompt if len(prompt) <= _TOLD else f"{prompt[: _TOLD - 1]}…"
