"""Routes over all jobs: the list of them, what happens to them as events, and their order."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from promptengine.server.auth import BoundedRoute
from promptengine.server.errors import HTTPRefusal
from promptengine.server.job_store import MOST_ENDED
from promptengine.server.jobs.job import Job
from promptengine.server.sdapi.responses import Json
from promptengine.server.sdapi.routes import ERRORS
from promptengine.server.state import Client, Served
from promptengine.server.v1.events import all_events, event_stream
from promptengine.server.v1.images import SavedImage, told_image
from promptengine.server.v1.kept_jobs import find_job, job_statuses, saved_ids, status_of
from promptengine.server.v1.routes import PREFIX
from promptengine.server.v1.schemas import JobStatus, MoveForm

__all__ = ["router"]

_MOST_STREAMS: Final = 256
_USUAL: Final = 100
_MOST_IMAGES: Final = 500

Limit = Annotated[int, Query(ge=0, le=MOST_ENDED)]
"""How many ended jobs are told of."""

router = APIRouter(
    prefix=PREFIX,
    tags=["promptengine"],
    route_class=BoundedRoute,
    default_response_class=Json,
    responses=ERRORS,
)


@router.get("/jobs")
def jobs(service: Served, client: Client, limit: Limit = _USUAL) -> list[JobStatus]:
    """List jobs: those that run, those that wait in their order, and the last ones that ended, newest first.

    Where there are users, each sees their own.
    """
    return job_statuses(service, client, limit)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(service: Served, client: Client, limit: Limit = _USUAL) -> StreamingResponse:
    """Tell of all jobs as they go on, as server-sent events.

    ``jobs`` is the whole list, at first and whenever a job has come, begun, moved or ended; ``progress`` is
    a running job after a step, with a preview. Who connects again gets the whole list again.
    """
    if service.queue.closed:
        raise HTTPRefusal("the server is stopping", status=503, retry_after_s=5)
    if len(service.queue.listeners) >= _MOST_STREAMS:
        message = f"{_MOST_STREAMS} clients listen already, which is all there is room for"
        raise HTTPRefusal(message, status=503, retry_after_s=10)
    return event_stream(all_events(service, client, limit))


@router.get("/jobs/{job_id}/images")
def images(service: Served, client: Client, job_id: str) -> list[SavedImage]:
    """List the saved images of a job that are still there, also after its result is gone."""
    ids = saved_ids(service, find_job(service, client, job_id))
    return [told_image(image) for image in service.images.some(ids[:_MOST_IMAGES])]


@router.post("/jobs/{job_id}/move")
async def move(service: Served, client: Client, job_id: str, form: MoveForm) -> JobStatus:
    """Move a waiting job to a position among its client's own; clients keep their turns."""
    job = find_job(service, client, job_id)
    line = service.queue.move(job, form.position) if isinstance(job, Job) else []
    if not line:
        raise HTTPRefusal(f"job {job.id} does not wait any more; it is {job.state}", status=409)
    await run_in_threadpool(service.records.order, line)
    return status_of(service, job)
