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
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from promptengine.errors import GenerationCancelled, PromptEngineError
from promptengine.interrupt import Interrupt
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import ScriptCall, ScriptOutput
from promptengine.server.errors import HTTPRefusal

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Control", "Job", "JobQueue", "Made", "OnStep", "Run", "State", "Work"]

State = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]

_log = logging.getLogger(__name__)

_ENDED: Final = frozenset({"done", "failed", "cancelled", "interrupted"})
_USUAL_SECONDS: Final = 5.0
_LONGEST_WAIT_S: Final = 600
_LAST_STEP_S: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a job is to make.

    Attributes:
        requests: With seeds that are drawn; they agree in their number of batches.
        model: What a runner opens for it.
        together: Equal for works that may share a batch; None for one that cannot.
        script: What is run with the one request, or None; it is one batch, and shares none.
    """

    requests: tuple[GenerationRequest, ...]
    model: Hashable
    together: Hashable | None
    script: ScriptCall | None = None

    @property
    def batches(self) -> int:
        """Batches made one after another."""
        return self.requests[0].batch_count if self.script is None else 1

    @property
    def batch_images(self) -> int:
        """Images of one batch."""
        return sum(request.batch_images for request in self.requests)

    def without_starts(self) -> Work:
        """Return the same without the images to start from, which take more room than all else."""
        requests = (
            r if r.start is None else replace(r, start=None, batch_size=r.batch_images)
            for r in self.requests
        )
        return replace(self, requests=tuple(requests))


OnStep = Callable[[int, int, "Sequence[Image]"], None]
"""Called after a step with the steps done, the steps in all, and a small image for each work, or none."""


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """What a batch tells while it is made, and what is wanted of it.

    Attributes:
        on_step: Called after a step.
        on_interrupted: Called with the number of a work and its results as soon as that one was stopped
            while others go on.
        cancel: Set once nobody wants any of it; the batch then ends between two steps.
        interrupts: One for each work.
    """

    on_step: OnStep
    on_interrupted: Callable[[int, Sequence[GenerationResult]], None]
    cancel: threading.Event
    interrupts: Sequence[Interrupt]


Made = Sequence[GenerationResult] | ScriptOutput
"""What became of a work in a batch: a result of each request, or what its script comes to."""

Run = Callable[[Sequence[Work], int, Control], Sequence[Made]]
"""Makes one batch, counted from 0, of works that go together.

It raises GenerationCancelled once it is cancelled.
"""


@dataclass(slots=True, eq=False)
class Job:
    """A work on its way. Read it freely; only its queue changes it.

    Attributes:
        id: Ours, not to be guessed.
        client: Whose turn it takes.
        work: What to make.
        label: What the client calls it, or empty.
        state: Where it is.
        batch: Batches that are done.
        step: Steps done of the running batch.
        steps: Steps of that batch as planned; 0 where it is not known yet.
        preview: A small image of the last step, or None.
        results: For each batch that is done a result of each request; of a script all there were.
        script: What a script came to, or None.
        error: Why it failed or was cancelled, or None.
        interrupt: Ends it early with what it has made.
        changes: How often it has changed.
        created: Seconds of the monotonic clock.
        started: Likewise; 0 as long as it waits.
        ended: Likewise; 0 as long as it has not.
        stamp: When it was created, in seconds since the epoch.
    """

    id: str
    client: str
    work: Work
    label: str = ""
    state: State = "waiting"
    batch: int = 0
    step: int = 0
    steps: int = 0
    preview: Image | None = None
    results: list[Sequence[GenerationResult]] = field(default_factory=list)
    script: ScriptOutput | None = None
    error: Exception | None = None
    interrupt: Interrupt = field(default_factory=Interrupt)
    changes: int = 0
    created: float = field(default_factory=time.monotonic)
    started: float = 0.0
    ended: float = 0.0
    stamp: float = field(default_factory=time.time)
    listeners: list[Callable[[], None]] = field(default_factory=list)
    stop: threading.Event | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in _ENDED

    @property
    def progress(self) -> float:
        """0 to 1; 1 for a job that is done."""
        if self.state == "done":
            return 1.0
        part = self.step / self.steps if self.steps else 0.0
        return min((self.batch + min(part, 1.0)) / self.work.batches, 1.0)

    @property
    def eta_s(self) -> float:
        """Seconds left by what was done so far; 0 where that says nothing."""
        if self.state != "running" or not self.progress:
            return 0.0
        taken = time.monotonic() - self.started
        return max(taken / self.progress - taken, 0.0)


class JobQueue:
    """Runs jobs in the background.

    Args:
        runs: What makes the images; each gets a thread of its own.
        room: Jobs that may wait.
        joined: Images that a shared batch may have.
        kept: Ended jobs that are remembered.
        kept_bytes: What their images may take.
        on_end: Called with each job that has ended, on some thread.
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
        """Put a job at the end of its client's line.

        Raises:
            Refusal: 503, where the queue is full or the server is stopping.
        """
        job = Job(secrets.token_hex(8), client, work, label)
        with self._changed:
            self.check_room()
            self._turns.setdefault(client, []).append(job)
            self._changed.notify()
        return job

    def check_room(self) -> None:
        """Refuse a job that would not be taken, before it is worked out what it is to make.

        Raises:
            Refusal: As :meth:`submit`.
        """
        if self._closed:
            raise HTTPRefusal("the server is stopping", status=503, retry_after_s=30)
        waiting = sum(map(len, list(self._turns.values())))
        if waiting >= self._room:
            seconds = waiting * self._seconds / max(len(self._threads), 1)
            wait = min(max(int(seconds), 1), _LONGEST_WAIT_S)
            message = f"{waiting} jobs are waiting, which is all there is room for; try later"
            raise HTTPRefusal(message, status=503, retry_after_s=wait)

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

    def forget(self, job: Job) -> None:
        """Let go of the images of a job that has ended."""
        with self._changed:
            job.results.clear()
            job.script = None

    def listen(self, job: Job, listener: Callable[[], None]) -> None:
        """Have a function called, on some thread, after every change of a job."""
        with self._changed:
            job.listeners.append(listener)

    def ignore(self, job: Job, listener: Callable[[], None]) -> None:
        """Have a function called no longer."""
        with self._changed:
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
        refusal = HTTPRefusal("the server is stopping", status=503, retry_after_s=30)
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
        for job in taken:
            _tell(job)
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
            for job in jobs:
                _tell(job)

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
            if job.stop is not None and all(one.stop is not job.stop for one in self._running):
                job.stop.set()
            self._ended[job.id] = job
            self._evict()
        # Those who listen may let go of the images at once.
        self._on_end(job)
        _tell(job)
        return True

    def _evict(self) -> None:
        """Forget the oldest of the ended jobs where there are too many; the caller holds the lock."""
        sizes = {id_: _bytes(job) for id_, job in self._ended.items()}
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


def _bytes(job: Job) -> int:
    """Return what a job's images take."""
    images = [
        image
        for batch in job.results
        for result in batch
        for image in (*result.images, *result.masks, *result.mask_composites)
    ]
    images += [one.image for one in job.script.images] if job.script is not None else []
    # A script returns many of the images that it was made of.
    return sum(3 * image.width * image.height for image in {id(i): i for i in images}.values())


def _tell(job: Job) -> None:
    for listener in tuple(job.listeners):
        try:
            listener()
        except RuntimeError:
            # The event loop of whoever listened has been closed since.
            _log.debug("nobody listens to job %s any more", job.id)
