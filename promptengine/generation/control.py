"""What a caller hears of a generation while it runs, and how it calls it off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor

from promptengine.errors import GenerationCancelled
from promptengine.generation.prepare import PreparedRequest
from promptengine.request.result import GenerationResult, Progress

__all__ = ["OnInterrupted", "OnProgress", "RunControl"]

OnProgress = Callable[[Progress], None]
OnInterrupted = Callable[[int, GenerationResult], None]


@dataclass(frozen=True, slots=True, eq=False)
class RunControl:
    """What a caller wants to know, and whether it still wants it.

    Attributes:
        drawn: Makes small images of latents.
        on_progress: Called after every step.
        cancel: Set where nobody wants the result any more.
        on_interrupted: Called with the number and result of a request that was stopped.
        numbers: The caller's numbers of the drafts.
    """

    drawn: Callable[[Tensor], list[Image]]
    on_progress: OnProgress | None
    cancel: threading.Event | None
    on_interrupted: OnInterrupted | None
    numbers: Sequence[int]

    def tell(self, job: PreparedRequest, batch: int, step: int, denoised: Tensor) -> None:
        """Tell of a step.

        Raises:
            GenerationCancelled: Nobody wants the result any more.
        """
        if self.on_progress is not None:
            batches = job.request.batch_count
            self.on_progress(Progress(batch, batches, step, job.steps, denoised, self.drawn))
        if self.cancel is not None and self.cancel.is_set():
            raise GenerationCancelled(f"cancelled after step {step} of {job.steps}")

    def check_tile(self) -> None:
        """Look after a tile of an upscaler whether the caller still waits.

        Raises:
            GenerationCancelled: Nobody wants the result any more.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise GenerationCancelled("cancelled between two tiles of the upscaler")

    def tell_of_end(self, number: int, result: GenerationResult) -> None:
        """Tell of a draft that was stopped."""
        if self.on_interrupted is not None:
            self.on_interrupted(self.numbers[number], result)
