"""How far jobs are, in WebUI's forms."""

from __future__ import annotations

import time

from promptengine.server.base64_images import data_url, small_png
from promptengine.server.jobs.job import Job
from promptengine.server.jobs.queue import JobQueue
from promptengine.server.sdapi import responses

__all__ = ["overall", "task"]

_BEGUN = 0.01
"""What a running job shows before its first step; clients take 0 for idle."""


def overall(queue: JobQueue, job: Job | None, *, with_image: bool) -> responses.Progress:
    """Return how far a job is, or where there is none, nothing.

    Args:
        queue: Where others may wait.
        job: The one that is asked for.
        with_image: Whether the image of the last step is wanted.
    """
    if job is None or job.has_ended:
        return responses.Progress(
            progress=0,
            eta_relative=0,
            state=_state(
                None, interrupted=job is not None and job.state in ("cancelled", "interrupted")
            ),
            current_image=None,
            textinfo=None,
        )
    running = job.state == "running"
    preview = job.preview if with_image else None
    return responses.Progress(
        progress=max(job.progress, _BEGUN) if running else 0,
        eta_relative=job.eta_s,
        state=_state(job, interrupted=job.interrupt.stopped),
        current_image=None if preview is None else small_png(preview),
        textinfo=None if running else "Waiting…",
    )


def _state(job: Job | None, *, interrupted: bool) -> responses.ProgressState:
    stamp = "0" if job is None else time.strftime("%Y%m%d%H%M%S", time.localtime(job.stamp))
    return responses.ProgressState(
        skipped=job is not None and job.interrupt.skipping,
        interrupted=interrupted,
        stopping_generation=False,
        job="" if job is None else job.label or job.id,
        job_count=0 if job is None else job.work.batches,
        job_timestamp=stamp,
        job_no=0 if job is None else job.batch,
        sampling_step=0 if job is None else job.step,
        sampling_steps=0 if job is None else job.steps or job.work.requests[0].steps,
    )


def task(job: Job | None, *, seen: int, with_image: bool) -> responses.TaskProgress:
    """Return how far a job is that its client gave a name; one that is not known counts as completed.

    Args:
        job: As found by its name.
        seen: The number of the image that the client has already.
        with_image: Whether it wants one.
    """
    if job is None or job.has_ended:
        return responses.TaskProgress(
            active=False,
            queued=False,
            completed=job is not None,
            progress=None,
            eta=None,
            live_preview=None,
            id_live_preview=-1,
            textinfo=None,
        )
    running, preview = job.state == "running", job.preview
    fresh = with_image and preview is not None and job.changes != seen
    return responses.TaskProgress(
        active=running,
        queued=not running,
        completed=False,
        progress=job.progress,
        eta=job.eta_s or None,
        live_preview=data_url(small_png(preview)) if fresh and preview is not None else None,
        id_live_preview=job.changes if fresh else seen,
        textinfo=None if running else "In queue…",
    )
