"""A job: what it is to make, what becomes of it, and who hears of that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from promptengine.interrupt import Interrupt
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import ScriptCall, ScriptOutput
from promptengine.server.jobs.listeners import Listeners

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENDED", "Control", "Job", "Made", "OnStep", "Run", "State", "Work"]

State = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]

ENDED: Final = frozenset({"done", "failed", "cancelled", "interrupted"})
"""States after which nothing more happens to a job."""


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
        listeners: Called, on some thread, after every change of it.
        stop: Ends its running batch, once set.
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
    listeners: Listeners = field(default_factory=Listeners)
    stop: threading.Event | None = None

    @property
    def prompt(self) -> str:
        """What it is made from, or from first."""
        return self.work.requests[0].prompt

    @property
    def image_bytes(self) -> int:
        """What its images take."""
        images = [
            image
            for batch in self.results
            for result in batch
            for image in (*result.images, *result.masks, *result.mask_composites)
        ]
        images += [one.image for one in self.script.images] if self.script is not None else []
        # A script returns many of the images that it was made of.
        return sum(3 * image.width * image.height for image in {id(i): i for i in images}.values())

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

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
