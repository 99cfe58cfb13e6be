"""What those who run a server look at: logs in JSON, counters, and whether it is well."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptengine.server.jobs.job import Job
from promptengine.server.jobs.queue import JobQueue
from promptengine.version import __version__

__all__ = ["JsonLines", "Metrics", "RequestTimer", "log_job", "router"]

_log = logging.getLogger("promptengine.server")

_JOB_SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640)
_UNKNOWN_PATH: Final = "other"

router = APIRouter(tags=["operations"])


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "promptengine_requests",
            "Requests answered.",
            ["method", "path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "promptengine_request_seconds",
            "Time to the first byte of an answer.",
            ["path"],
            registry=self.registry,
        )
        self.jobs = Counter(
            "promptengine_jobs", "Jobs ended, by how.", ["state"], registry=self.registry
        )
        self.images_made = Counter("promptengine_images", "Images made.", registry=self.registry)
        self.job_seconds = Histogram(
            "promptengine_job_seconds",
            "Time from a job's start to its end.",
            buckets=_JOB_SECONDS,
            registry=self.registry,
        )
        self._waiting = Gauge(
            "promptengine_jobs_waiting", "Jobs that wait.", registry=self.registry
        )
        self._running = Gauge(
            "promptengine_jobs_running", "Jobs that are being made.", registry=self.registry
        )

    def watch(self, queue: JobQueue) -> None:
        """Read a queue's length whenever the counters are asked for."""
        self._waiting.set_function(lambda: len(queue.waiting))
        self._running.set_function(lambda: len(queue.running))

    def count(self, job: Job) -> None:
        """Count a job that has ended."""
        self.jobs.labels(job.state).inc()
        if job.started:
            self.job_seconds.observe(job.ended - job.started)
        made = sum(len(result.images) for batch in list(job.results) for result in batch)
        self.images_made.inc(made)


class JsonLines(logging.Formatter):
    """One JSON object a line; what a record was given beside its message stands in ``facts``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; a traceback is part of it, for those who run the server."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        facts: object = getattr(record, "facts", None)
        if isinstance(facts, Mapping):
            line.update(facts)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_job(job: Job) -> None:
    """Write a line about a job that has ended; of what was asked for it tells sizes only."""
    facts = {
        "job": job.id,
        "state": job.state,
        "client": job.client,
        "batches": job.work.batches,
        "images": job.work.batches * job.work.batch_images,
        "waited_s": round((job.started or job.ended) - job.created, 3),
        "ran_s": round(job.ended - job.started, 3) if job.started else 0.0,
        "error": type(job.error).__name__ if job.error is not None else None,
    }
    _log.info("job ended", extra={"facts": facts})


class RequestTimer:
    """Measures every request: ``X-Process-Time`` in its answer, a count, and a line in the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the time it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                taken = time.perf_counter() - start
                seconds = f"{taken:.4f}".encode("ascii")
                message["headers"] = [*message["headers"], (b"x-process-time", seconds)]
                self._note(scope, message["status"], taken)
            await send(message)

        await self._app(scope, receive, timed)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # Paths of clients' own making would be counters without end.
        path = getattr(scope.get("route"), "path", _UNKNOWN_PATH)
        self._metrics.requests.labels(scope["method"], path, str(status)).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        client = scope.get("client")
        facts = {
            "method": scope["method"],
            "path": path,
            "status": status,
            "seconds": round(seconds, 4),
            "client": client[0] if client else "",
        }
        _log.info("request", extra={"facts": facts})


class Health(BaseModel):
    """That the server is well."""

    status: str
    version: str
    waiting: int
    running: int


@router.get("/healthz")
async def health(request: Request) -> Health:
    """Say that the server answers, and how much it has to do."""
    queue: JobQueue = request.app.state.service.queue
    return Health(
        status="ok", version=__version__, waiting=len(queue.waiting), running=len(queue.running)
    )


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    counted: Metrics = request.app.state.service.metrics
    return Response(generate_latest(counted.registry), media_type=CONTENT_TYPE_LATEST)
