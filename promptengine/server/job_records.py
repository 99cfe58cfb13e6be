"""What is known of our own API's jobs beside the queue: which were begun, and how the ended ones ended."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from promptengine.server.job_store import MOST_ENDED, JobRecord, JobStore
from promptengine.server.jobs.job import Job
from promptengine.server.jobs.listeners import Listeners

__all__ = ["JobRecords"]


class JobRecords:
    """Remembers jobs, in memory and for a restart of the server. Threads may share it.

    Args:
        store: Where they outlive the server.

    Attributes:
        listeners: Called, on some thread, when a job's end has been written down.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._changes = 0
        self.listeners = Listeners()
        found = store.load()
        # What a server before this one was making is not made now; its attempts say that it was begun.
        self._unfinished = {
            one.id: replace(one, state="waiting") for one in found if not one.has_ended
        }
        self._ended = {one.id: one for one in found if one.has_ended}

    @property
    def changes(self) -> int:
        """How often the end of a job was written down."""
        return self._changes

    @property
    def unfinished(self) -> list[JobRecord]:
        """Jobs that have not ended, as far as was written down, in the order in which they came."""
        with self._lock:
            return list(self._unfinished.values())

    @property
    def ended(self) -> list[JobRecord]:
        """Jobs that have ended, the last one first."""
        with self._lock:
            return list(reversed(self._ended.values()))

    def find(self, id_: str) -> JobRecord | None:
        """Return what is known of a job; None for one that never was, or is forgotten."""
        with self._lock:
            return self._unfinished.get(id_) or self._ended.get(id_)

    def form(self, id_: str) -> str | None:
        """Return what a job asks for, as JSON; None where it was not kept."""
        return self._store.form(id_)

    def add(self, record: JobRecord, form: str | None) -> None:
        """Remember a job.

        Args:
            record: What is known of it.
            form: What it asks for, as JSON, for a restart of the server; None for a job that is not to
                come back.
        """
        durable = form is not None and self._store.add(record, form)
        with self._lock:
            self._unfinished[record.id] = replace(record, durable=durable)

    def remove(self, id_: str) -> None:
        """Forget a job that is not to be."""
        with self._lock:
            record = self._unfinished.pop(id_, None)
        if record is not None and record.durable:
            self._store.remove(id_)

    def begin(self, id_: str) -> None:
        """Note that a job begins, before it does: it may take the process with it."""
        self._note(id_, "waiting", 1)

    def put_back(self, id_: str) -> None:
        """Note that a job which was begun waits again; the attempt does not count."""
        self._note(id_, "running", -1)

    def _note(self, id_: str, before: str, attempts: int) -> None:
        with self._lock:
            record = self._unfinished.get(id_)
            if record is None or record.state != before:
                return
            state = "running" if attempts > 0 else "waiting"
            record = replace(record, state=state, attempts=record.attempts + attempts)
            self._unfinished[id_] = record
        if record.durable:
            self._store.begin(record)

    def order(self, jobs: Sequence[Job]) -> None:
        """Note the order of jobs that wait in one line."""
        with self._lock:
            ids = [job.id for job in jobs if (one := self._unfinished.get(job.id)) and one.durable]
        if ids:
            self._store.order(ids)

    def end(self, job: Job, saved: Sequence[str | None]) -> None:
        """Note how a job has ended.

        Args:
            job: One that has ended.
            saved: Of each of its images the path below the output folder, or None.
        """
        error = "" if job.error is None else str(job.error)
        record = self.find(job.id)
        if record is not None:
            done = job.work.batches if job.state == "done" else len(job.results)
            some = replace(record, state=job.state, error=error, batch=done)
            self._end(replace(some, saved=tuple(saved)))

    def fail(self, id_: str, error: str) -> None:
        """Note that a job cannot be made.

        Args:
            id_: Of the job.
            error: Why, for whoever wanted it.
        """
        record = self.find(id_)
        if record is not None:
            self._end(replace(record, state="failed", error=error))

    def _end(self, record: JobRecord) -> None:
        with self._lock:
            self._unfinished.pop(record.id, None)
            self._ended.pop(record.id, None)
            self._ended[record.id] = replace(record, durable=False)
            while len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]
            self._changes += 1
        if record.durable:
            self._store.end(record)
        self.listeners.tell()

    def close(self) -> None:
        """Write nothing down any more."""
        self._store.close()
