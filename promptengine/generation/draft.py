"""What a job has come to so far, batch by batch, also where its caller ends it early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor

from promptengine.generation.conditioning import EngineContext
from promptengine.generation.finiteness import finiteness
from promptengine.generation.further_models import ModelInUse
from promptengine.generation.infotext import build_infotexts
from promptengine.generation.prepare import PreparedRequest
from promptengine.generation.sample import decode_batch
from promptengine.interrupt import Interrupt
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.diagnostic_kinds import without_codes
from promptengine.request.result import GenerationResult, ModelUse

__all__ = ["BatchEnded", "Draft"]


class BatchEnded(Exception):
    """Every job of a batch has ended early."""


@dataclass(slots=True, eq=False)
class Draft:
    """A job's images while they are made.

    Attributes:
        job: What to make.
        interrupt: Its caller's.
        images: Those of all batches so far.
        masks: Those of the images, where the options ask for them.
        mask_composites: What was painted of the images, likewise.
        unfinished: Which of them were ended before their last step.
        notes: What to say about these.
        ended: Whether the batch at hand has ended early.
        uses: Which model made what of them.
    """

    job: PreparedRequest
    interrupt: Interrupt
    images: list[Image] = field(default_factory=list["Image"])
    masks: list[Image] = field(default_factory=list["Image"])
    mask_composites: list[Image] = field(default_factory=list["Image"])
    unfinished: list[int] = field(default_factory=list[int])
    notes: list[Diagnostic] = field(default_factory=list["Diagnostic"])
    ended: bool = False
    uses: tuple[ModelUse, ...] = ()
    _latents: list[Tensor] = field(default_factory=list["Tensor"])

    @property
    def latents(self) -> Tensor:
        """Those that have the size of finished ones ``[images, 4, height / 8, width / 8]``, on the CPU."""
        height, width = self.job.cells
        whole = [x for x in self._latents if x.shape[-2:] == (height, width)]
        return torch.cat(whole).cpu() if whole else torch.empty(0, 4, height, width)

    def begin_batch(self) -> bool:
        """Return whether another batch may begin, as far as the caller is concerned."""
        self.ended = False
        return self.interrupt.begin_batch()

    def is_wanted_now(self, step: int) -> bool:
        """Return whether the batch at hand is to end after a step; a batch that is done need not."""
        done = step >= self.job.steps and not self.job.adaptive
        return self.interrupt.ends_batch and not self.ended and not done

    def add(self, models: ModelInUse, latents: Tensor) -> None:
        """Decode the latents of a batch with the model at work."""
        self.uses = models.uses
        self._latents.append(latents)
        for made in decode_batch(models.parts, self.job, latents):
            self.images.append(made.image)
            self.masks += [made.mask] if made.mask else []
            self.mask_composites += [made.composite] if made.composite else []

    def end(self, models: ModelInUse, denoised: Tensor, step: int) -> None:
        """Decode what the latents of the batch at hand would be without noise, and leave it at that.

        Args:
            models: At the model that they are to be decoded by.
            denoised: Of this job's images.
            step: After which step that is.
        """
        start = self.job.start
        blend = None if start is None else start.blend
        before = len(self.images)
        self.add(models, denoised.clone() if blend is None else blend(denoised))
        self.unfinished += range(before, len(self.images))
        self.ended = True
        seeds = ", ".join(map(str, dict.fromkeys(self.job.seeds[before : len(self.images)])))
        message = f"unfinished: ended after step {step} of {self.job.steps} (seed {seeds})"
        self.notes.append(kinds.UNFINISHED(message))

    def result(self, parts: EngineContext, timings: Mapping[str, float]) -> GenerationResult:
        """Return what the job has come to.

        Args:
            parts: The engine's own model.
            timings: Seconds of each stage so far.
        """
        job, made, latents = self.job, len(self.images), self.latents
        found = (*job.diagnostics, *self.notes, *finiteness(latents))
        return GenerationResult(
            images=tuple(self.images),
            latents=latents,
            infotexts=build_infotexts(parts, job, self.uses)[:made],
            seeds=tuple(job.seeds[:made]),
            networks=job.first.stack.reports,
            diagnostics=without_codes(found, job.request.ignored_diagnostics),
            timings=timings,
            variation_seeds=tuple(job.variation_seeds[:made]),
            hires_networks=job.second.stack.reports if job.second else (),
            refiner_networks=job.refiner_reports,
            models=self.uses,
            unfinished=tuple(self.unfinished),
            masks=tuple(self.masks),
            mask_composites=tuple(self.mask_composites),
        )
