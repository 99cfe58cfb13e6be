"""Server-sent events of jobs: of one, and of all that a client may know of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from promptengine.prompt.serialize import well_formed
from promptengine.server.base64_images import small_png
from promptengine.server.jobs.job import Job
from promptengine.server.state import Service
from promptengine.server.v1.kept_jobs import job_statuses, owns, status_of
from promptengine.server.v1.schemas import JobStatus

__all__ = ["all_events", "event", "event_stream", "job_events"]

_PAUSE_S: Final = 0.03
"""Between two looks at the jobs; what changes meanwhile is told of together."""

_AGAIN_MS: Final = 1000
"""After so long a browser that was cut off comes back."""

_ALIVE_S: Final = 15.0
"""After so many seconds without news a comment is sent, by which a client that is gone is noticed."""


def event_stream(events: AsyncGenerator[str]) -> StreamingResponse:
    """Return events as an answer, which ends with them or when the client is gone."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def event(name: str, told: JobStatus | list[JobStatus]) -> str:
    """Return an event as it is sent."""
    data: Any = [one.model_dump() for one in told] if isinstance(told, list) else told.model_dump()
    return f"event: {name}\ndata: {json.dumps(well_formed(data))}\n\n"


async def job_events(service: Service, job: Job) -> AsyncGenerator[str]:
    """Yield a job's state after each change; of changes in quick succession the last."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    job.listeners.add(on_change)
    try:
        while True:
            changed.clear()
            ended = job.has_ended
            told = await _with_preview(service, job)
            yield event("ended" if ended else "progress", told)
            if ended:
                return
            await changed.wait()
    finally:
        job.listeners.remove(on_change)


async def all_events(service: Service, client: str, limit: int) -> AsyncGenerator[str]:
    """Yield all jobs at first and whenever one has come, begun, moved or ended, and what runs as it goes on.

    It ends when the server begins to stop.

    Args:
        service: The server's.
        client: Who listens.
        limit: How many ended jobs are told of at most.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    queue, records = service.queue, service.records

    def on_change() -> None:
        loop.call_soon_threadsafe(changed.set)

    queue.listeners.add(on_change)
    records.listeners.add(on_change)
    changes, seen = (-1, -1), dict[str, int]()
    try:
        yield f"retry: {_AGAIN_MS}\n\n"
        while not queue.closed:
            changed.clear()
            if changes != (changes := (queue.changes, records.changes)):
                yield event("jobs", job_statuses(service, client, limit))
            running = [job for job in queue.running if owns(service, client, job.client)]
            for job in running:
                if seen.get(job.id) != job.changes:
                    seen[job.id] = job.changes
                    yield event("progress", await _with_preview(service, job))
            seen = {job.id: seen[job.id] for job in running}
            await asyncio.sleep(_PAUSE_S)
            try:
                await asyncio.wait_for(changed.wait(), _ALIVE_S)
            except asyncio.TimeoutError:
                yield ": nothing new\n\n"
    finally:
        queue.listeners.remove(on_change)
        records.listeners.remove(on_change)


async def _with_preview(service: Service, job: Job) -> JobStatus:
    preview, told = job.preview, status_of(service, job)
    if preview is not None and told.state == "running":
        told.preview = await run_in_threadpool(small_png, preview)
    return told
