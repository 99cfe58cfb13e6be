"""Jobs that wait for a device: a bounded queue, one worker thread for each device.

Nothing here knows of HTTP or of models. A worker takes the next job and with it those waiting ones that
may share its batches; clients take turns. A job's failure is its own: where a shared batch fails, its
members are run one by one. A member that is cancelled or interrupted leaves the others running, and is left out of the
batches that follow.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from promptengine.errors import GenerationCancelled, PromptEngineError
from promptengine.scripts.script import ScriptOutput
from promptengine.server.errors import HTTPRefusal, ServerStopping
from promptengine.server.jobs.job import Control, Job, Made, OnStep, Run, State, Work
from promptengine.server.jobs.listeners import Listeners

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["JobQueue"]

_log = logging.getLogger(__name__)

_USUAL_SECONDS: Final = 5.0
_LONGEST_WAIT_S: Final = 600
_LAST_STEP_S: Final = 2.0


class JobQueue:
    """Runs jobs in the background.

    Args:
        runs: What makes the images; each gets a thread of its own.
        room: Jobs that may wait.
        joined: Images that a shared batch may have.
        kept: Ended jobs that are remembered.
        kept_bytes: What their images may take.
        on_end: Called with each job that has ended, on some thread.

    Attributes:
        listeners: Called, on some thread, after every change of any job.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        room: int = 64,
        joined: int = 8,
        kept: int = 256,
        kept_bytes: int = 256 << 20,
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._room, self._joined = room, joined
        self._kept, self._kept_bytes = kept, kept_bytes
        self._on_end = on_end
        self.listeners = Listeners()
        self._changes = 0
        self._changed = threading.Condition()
        self._turns: dict[str, list[Job]] = {}
        self._running: list[Job] = []
        self._ended: dict[str, Job] = {}
        self._seconds = _USUAL_SECONDS
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(run,), name=f"device-{number}", daemon=True)
            for number, run in enumerate(runs)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, client: str, label: str = "") -> Job:
        """Put a new job at the end of its client's line.

        Raises:
            Refusal: As :meth:`add`.
        """
        job = Job(secrets.token_hex(8), client, work, label)
        self.add(job)
        return job

    def add(self, job: Job, *, always: bool = False) -> None:
        """Put a job at the end of its client's line.

        Args:
            job: One that waits.
            always: Also where there is no room for it, as for one that was promised its place before.

        Raises:
            Refusal: 503, where the queue is full or the server is stopping.
        """
        with self._changed:
            if not always:
                self.check_room()
            self._turns.setdefault(job.client, []).append(job)
            self._changes += 1
            self._changed.notify()
        self.listeners.tell()

    def check_room(self) -> None:
        """Refuse a job that would not be taken, before it is worked out what it is to make.

        Raises:
            Refusal: As :meth:`submit`.
        """
        if self._closed:
            raise ServerStopping()
        waiting = sum(map(len, list(self._turns.values())))
        if waiting >= self._room:
            seconds = waiting * self._seconds / max(len(self._threads), 1)
            wait = min(max(int(seconds), 1), _LONGEST_WAIT_S)
            message = f"{waiting} jobs are waiting, which is all there is room for; try later"
            raise HTTPRefusal(message, status=503, retry_after_s=wait)

    @property
    def closed(self) -> bool:
        """Whether it takes no jobs any more."""
        return self._closed

    @property
    def changes(self) -> int:
        """How often a job has come, begun, ended or changed its place."""
        return self._changes

    @property
    def waiting(self) -> list[Job]:
        """Jobs that wait, in the order in which they will be taken."""
        with self._changed:
            return list(self._in_turn())

    @property
    def running(self) -> list[Job]:
        """Jobs that are being made, the longest running first."""
        with self._changed:
            return list(self._running)

    def find(self, id_: str) -> Job | None:
        """Return the job of an id; None where there is none, or none any more."""
        return next((job for job in self._known() if job.id == id_), None)

    def labeled(self, label: str) -> Job | None:
        """Return the job that a client calls so: the running one, else the first that waits, else the last
        that ended.
        """
        return next((job for job in self._known() if job.label == label and label), None)

    def _known(self) -> list[Job]:
        with self._changed:
            ended = reversed(list(self._ended.values()))
            return [*self._running, *self._in_turn(), *ended]

    def cancel(self, job: Job) -> bool:
        """End a job now if it waits, else after the step that is being made.

        Returns:
            Whether it had not ended yet.
        """
        return self._end(job, "cancelled", GenerationCancelled("cancelled by the client"))

    def interrupt(self, job: Job) -> None:
        """End a job and keep what it has made: now if it waits, else after the step that is being made."""
        job.interrupt.stop()
        self._end(job, "interrupted", only="waiting")

    def move(self, job: Job, position: int) -> list[Job]:
        """Move a waiting job within its client's line, which keeps its turns.

        Args:
            job: What to move.
            position: How many jobs of all clients are to be taken before it. Where another client's turn is
                there, the job goes beyond it in the direction in which it moves.

        Returns:
            The line as it is now; empty where the job waits no longer.
        """
        with self._changed:
            if job.state != "waiting":
                return []
            order, line = list(self._in_turn()), self._turns[job.client]
            here, positions = line.index(job), [order.index(one) for one in line]
            if position < positions[here]:
                place = max((n for n, at in enumerate(positions) if at <= position), default=0)
            else:
                behind = (n for n, at in enumerate(positions) if at >= position)
                place = min(behind, default=len(line) - 1)
            line.insert(place, line.pop(here))
            self._changes += 1
            moved = list(line)
        self.listeners.tell()
        return moved

    def forget(self, job: Job) -> None:
        """Let go of the images of a job that has ended."""
        with self._changed:
            job.results.clear()
            job.script = None

    def listen(self, job: Job, listener: Callable[[], None]) -> None:
        """Have a function called, on some thread, after every change of a job."""
        job.listeners.add(listener)

    def ignore(self, job: Job, listener: Callable[[], None]) -> None:
        """Have a function called no longer."""
        job.listeners.remove(listener)

    def close(self, grace_s: float) -> None:
        """Refuse what waits, let what runs finish within some seconds, and cancel it then.

        Threads whose step takes long even then are left to end with the process.
        """
        with self._changed:
            if self._closed:
                return
            self._closed = True
            waiting = list(self._in_turn())
            self._changed.notify_all()
        self.listeners.tell()
        refusal = ServerStopping()
        for job in waiting:
            self._end(job, "cancelled", refusal)
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        for job in self.running:
            self._end(job, "cancelled", refusal)
        for thread in self._threads:
            thread.join(min(grace_s, _LAST_STEP_S))

    def _in_turn(self) -> Iterator[Job]:
        """Waiting jobs, one of each client after another; the caller holds the lock."""
        lines = list(self._turns.values())
        for place in range(max(map(len, lines), default=0)):
            yield from (line[place] for line in lines if place < len(line))

    def _take(self) -> list[Job]:
        """Wait for a job; return it with those that go with it, or nothing when there is an end."""
        with self._changed:
            while not self._turns:
                if self._closed:
                    return []
                self._changed.wait()
            first, *others = self._in_turn()
            taken, images = [first], first.work.batch_images
            for job in others:
                more = job.work.batch_images
                if self._go_together(first, job) and images + more <= self._joined:
                    taken.append(job)
                    images += more
            for job in taken:
                self._leave(job)
                job.state, job.started = "running", time.monotonic()
                job.changes += 1
            self._running += taken
            self._changes += 1
        self._tell(taken)
        return taken

    @staticmethod
    def _go_together(first: Job, other: Job) -> bool:
        same = first.work.together == other.work.together and first.work.model == other.work.model
        return same and first.work.together is not None

    def _leave(self, job: Job) -> None:
        """Take a job out of its line; its client's next one waits until all others had a turn."""
        line = self._turns.pop(job.client)
        line.remove(job)
        if line:
            self._turns[job.client] = line

    def _serve(self, run: Run) -> None:
        while jobs := self._take():
            self._carry_out(run, jobs)

    def _carry_out(self, run: Run, jobs: Sequence[Job], begin: int = 0) -> None:
        """Make all batches of jobs that go together, from one on."""
        for batch in range(begin, jobs[0].work.batches):
            live, control = self._begin(jobs, batch)
            if not live:
                return
            try:
                made = run([job.work for job in live], batch, control)
            except Exception as error:  # noqa: BLE001 - a worker outlives whatever a job does to it
                if len(live) == 1:
                    self._end(live[0], "failed", _explained(live[0], error))
                    return
                for job in live:
                    self._carry_out(run, [job], batch)
                return
            for job, results in zip(live, made, strict=True):
                self._keep(job, results)
        for job in jobs:
            self._end(job, "done")

    def _begin(self, jobs: Sequence[Job], batch: int) -> tuple[list[Job], Control]:
        """Return the jobs that go on, and what their batch is controlled by."""
        for job in jobs:
            if not job.interrupt.begin_batch():
                self._end(job, "interrupted")
        cancel = threading.Event()
        with self._changed:
            live = [job for job in jobs if not job.has_ended]
            for job in live:
                job.stop, job.batch, job.step = cancel, batch, 0
                job.changes += 1
        return live, Control(
            on_step=self._reporter(live),
            on_interrupted=lambda number, results: self._keep(live[number], results),
            cancel=cancel,
            interrupts=[job.interrupt for job in live],
        )

    def _keep(self, job: Job, results: Made) -> None:
        """Take the results of a batch, and end a job that is to have no other one."""
        with self._changed:
            if job.has_ended:
                return
            if isinstance(results, ScriptOutput):
                job.script, results = results, results.results
            job.results.append(results)
        if job.interrupt.stopped:
            self._end(job, "interrupted")

    def _reporter(self, jobs: Sequence[Job]) -> OnStep:
        def on_step(step: int, steps: int, previews: Sequence[Image]) -> None:
            with self._changed:
                for number, job in enumerate(jobs):
                    job.step, job.steps = step, steps
                    job.preview = previews[number] if previews else job.preview
                    job.changes += 1
            self._tell(jobs)

        return on_step

    def _end(
        self,
        job: Job,
        state: State,
        error: Exception | None = None,
        *,
        only: State | None = None,
    ) -> bool:
        """End a job that has not ended yet, or one in a state only; return whether it did."""
        with self._changed:
            if job.has_ended or (only and job.state != only):
                return False
            if job.state == "waiting":
                self._leave(job)
            else:
                self._running.remove(job)
                self._seconds += (time.monotonic() - job.started - self._seconds) / 8
            job.state, job.error, job.ended = state, error, time.monotonic()
            job.preview, job.work = None, job.work.without_starts()
            job.changes += 1
            self._changes += 1
            if job.stop is not None and all(one.stop is not job.stop for one in self._running):
                job.stop.set()
            self._ended[job.id] = job
            self._evict()
        # Those who listen may let go of the images at once.
        self._on_end(job)
        self._tell([job])
        return True

    def _tell(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.listeners.tell()
        self.listeners.tell()

    def _evict(self) -> None:
        """Forget the oldest of the ended jobs where there are too many; the caller holds the lock."""
        sizes = {id_: job.image_bytes for id_, job in self._ended.items()}
        taken = sum(sizes.values())
        for id_, size in sizes.items():
            few = len(self._ended) <= self._kept and taken <= self._kept_bytes
            if few or len(self._ended) == 1:
                return
            del self._ended[id_]
            taken -= size


def _explained(job: Job, error: Exception) -> Exception:
    """Return an error that may be shown; the text of one that nobody foresaw is for the log alone."""
    if isinstance(error, PromptEngineError):
        return error
    _log.error("job failed", exc_info=error, extra={"facts": {"job": job.id}})
    return HTTPRefusal("the job failed inside the server; its log says why", status=500)
