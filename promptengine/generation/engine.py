"""The engine: a checkpoint, its folders of networks, and requests turned into images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from promptengine.accel.compile import compile_regions, use_compiled_regions
from promptengine.accel.memory import free_bytes, translate_oom, vae_tiling
from promptengine.accel.onednn import pack_conv_weights, use_onednn
from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.checkpoints.resolve import (
    Precision,
    resolve_checkpoint,
    resolve_device,
    resolve_dtype,
)
from promptengine.checkpoints.vae import find_vae
from promptengine.checkpoints.vae_codec import decode_latents
from promptengine.errors import GenerationCancelled
from promptengine.files.hashing import default_cache_file
from promptengine.generation.conditioning import EngineContext, encoding_cache
from promptengine.generation.draft import BatchEnded, Draft
from promptengine.generation.infotext import build_infotexts
from promptengine.generation.prepare import PreparedRequest, prepare_request, share_networks
from promptengine.generation.sample import sample_batch
from promptengine.generation.timing import StageTimer
from promptengine.interrupt import Interrupt
from promptengine.networks.load import NetworkCache
from promptengine.prompt import Diagnostic
from promptengine.registry.registry import Kind, Registry
from promptengine.request.request import GenerationRequest, GenerationResult, Progress
from promptengine.text.textual_inversion.loader import EmbeddingCache

__all__ = ["Engine", "Models", "OnInterrupted", "OnProgress", "Precision", "decode_latents"]

OnProgress = Callable[[Progress], None]
OnInterrupted = Callable[[int, GenerationResult], None]
Models = str | Path | Mapping[Kind, str | Path | Sequence[str | Path]] | Registry


class Engine:
    """Makes images from WebUI prompts with one checkpoint.

    Engines share nothing: several may live in one process. One engine runs one request at a time;
    calls from other threads wait.

    Attributes:
        checkpoint: The model's parts. Between requests they are exactly as loaded.
        registry: Where tag names are looked up.
        device: Where the model lives.
        compiled: Whether regions of the UNet are compiled.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        registry: Registry,
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.registry = registry
        self.device = device
        self.compiled = compiled
        networks = NetworkCache(checkpoint.unet, *checkpoint.text_encoders)
        words = EmbeddingCache(registry)
        self._parts = EngineContext(checkpoint, registry, networks, words, encoding_cache(), device)
        room = None if compiled else free_bytes(device)
        self._packed = pack_conv_weights(checkpoint.unet, room=room)
        self._busy = threading.Lock()

    @classmethod
    def open(
        cls,
        checkpoint: str | Path | None = None,
        models: Models = "models",
        config: str | Path | None = None,
        device: str = "auto",
        dtype: torch.dtype | Precision = "auto",
        *,
        vae: str | Path | None = "Automatic",
        compile: bool = False,
    ) -> Engine:
        """Load a checkpoint and scan the folders of networks.

        Args:
            checkpoint: A file, a diffusers folder, or a name in ``models``; by default the first
                checkpoint there.
            models: WebUI's models folder, a mapping of kinds to folders, or a registry of them, which
                engines may share.
            config: A folder of configurations in diffusers' form, for what the weights and a
                ``.yaml`` beside them leave open, such as the number of text attention heads.
            device: As torch names it; ``auto`` takes CUDA, then Apple's MPS, then the CPU.
            dtype: Of UNet and text model; ``auto`` is float16 on CUDA and float32 elsewhere, as in
                WebUI.
            vae: ``Automatic`` takes one of the checkpoint's name from beside it or from ``models``,
                as WebUI does; else a file, a diffusers folder or a name, or None for the
                checkpoint's own.
            compile: Let ``torch.compile`` make the UNet faster. The first image of a size takes a
                minute or more for that, and results move within the rounding of the dtype.

        Raises:
            CheckpointError: No checkpoint or VAE found, or it cannot be loaded.
            RequestError: No such device or dtype.
        """
        registry = models
        if not isinstance(registry, Registry):
            registry = Registry.open(registry, cache_file=default_cache_file())
        path = resolve_checkpoint(checkpoint, registry)
        place = resolve_device(device)
        kind = dtype if isinstance(dtype, torch.dtype) else resolve_dtype(dtype, place)
        configurations = None if config is None else Path(config)
        separate = find_vae(vae, path, registry)
        parts = open_checkpoint(path, config=configurations, vae=separate, device=place, dtype=kind)
        if compile:
            compile_regions(parts.unet)
        return cls(parts, registry, place, compiled=compile)

    def generate(
        self,
        request: GenerationRequest,
        *,
        encoder_noise: Tensor | None = None,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        interrupt: Interrupt | None = None,
    ) -> GenerationResult:
        """Make the images of a request.

        Whatever happens, an interrupt at any moment included, the model is afterwards bit for bit what it was
        before.

        Args:
            request: What to make.
            encoder_noise: Standard normal numbers ``[images, 4, height / 8, width / 8]`` for encoding
                the images to start from, one for each image of a batch; by default they come from
                the images' seeds.
            on_progress: Called after every step. What it raises stops the generation and is passed
                on.
            cancel: Set it from anywhere to stop between two steps and let go of everything.
            interrupt: Stops between two steps as well, but keeps what is made: the result has the
                images of finished batches and those of the one at hand as far as they got, which its
                ``unfinished`` numbers; none where no batch had begun.

        Raises:
            GenerationCancelled: ``cancel`` was set.
            RequestError: More steps than the sampler can take, an option that cannot be honored, or a
                UNet that cannot be compiled here.
            PromptSyntaxError: ``strict``, and a tag's kind or multiplier cannot be used.
            UnknownNetworkError: ``strict``, and a network is in no folder.
            NetworkFormatError: ``strict``, and a network's file cannot be read.
            IncompatibleNetworkError: ``strict``, and a network does not fit the model.
            OutOfMemoryError: The device has no room for the images.
        """
        clock = StageTimer()
        journal = self.checkpoint.journal
        with self._busy, torch.no_grad(), translate_oom(self.device), journal.run():
            (job,) = self._prepared([request], encoder_noise, clock)
            draft = Draft(job, interrupt or Interrupt())
            return self._carried_out([draft], clock, _Control(on_progress, cancel))[0]

    def generate_batch(
        self,
        requests: Sequence[GenerationRequest],
        *,
        networks: Literal["own", "first-prompt"] = "own",
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        interrupts: Sequence[Interrupt] = (),
        on_interrupted: OnInterrupted | None = None,
    ) -> list[GenerationResult]:
        """Make the images of several requests, as few batches as they allow.

        Requests that agree in everything but prompts, networks, seeds, CFG scale and clip skip are
        sampled together; each row has its own hypernetworks. What they come to is what each comes to
        alone (latents within 1e-4 in float32). LoRAs change the model's weights, so requests with
        different LoRAs follow one another, as do those that start from images.

        Args:
            requests: What to make.
            networks: ``own``, or ``first-prompt`` to let those of the first prompt act on all, as
                WebUI does within a batch.
            on_progress: As for :meth:`generate`; a batch counts as one whatever it holds.
            cancel: As for :meth:`generate`.
            interrupts: One for each request, or none; each ends its own request, and others in the same
                batch go on.
            on_interrupted: Called with the number of a request and its result as soon as that one was
                stopped while others of its batch go on.

        Returns:
            In the order of the requests; ``timings`` are those of all of them.

        Raises:
            PromptEngineError: As :meth:`generate`, before any image is made unless it is cancelled.
        """
        clock = StageTimer()
        journal = self.checkpoint.journal
        with self._busy, torch.no_grad(), translate_oom(self.device), journal.run():
            jobs = self._prepared(requests, None, clock)
            if networks == "first-prompt":
                jobs = [*jobs[:1], *(share_networks(jobs[0], job) for job in jobs[1:])]
            wishes = interrupts or [Interrupt() for _ in jobs]
            drafts = [Draft(job, wish) for job, wish in zip(jobs, wishes, strict=True)]
            groups: dict[Hashable, list[int]] = {}
            for index, job in enumerate(jobs):
                groups.setdefault(job.shared, []).append(index)
            results: dict[int, GenerationResult] = {}
            for members in groups.values():
                group = [drafts[index] for index in members]
                control = _Control(on_progress, cancel, on_interrupted, members)
                made = self._carried_out(group, clock, control)
                results.update(zip(members, made, strict=True))
        return [results[index] for index in range(len(requests))]

    def _prepared(
        self,
        requests: Sequence[GenerationRequest],
        encoder_noise: Tensor | None,
        clock: StageTimer,
    ) -> list[PreparedRequest]:
        with use_onednn(*self.checkpoint.text_encoders, journal=self.checkpoint.journal):
            return [prepare_request(self._parts, one, encoder_noise, clock) for one in requests]

    def _carried_out(
        self, drafts: Sequence[Draft], clock: StageTimer, control: _Control
    ) -> list[GenerationResult]:
        """Run jobs that may share batches."""
        lead = drafts[0].job
        vaes, journal = [self.checkpoint.vae] * lead.tiles, self.checkpoint.journal
        with self._quick(lead), vae_tiling(*vaes, journal=journal):
            for batch in range(lead.request.batch_count):
                live = [number for number, draft in enumerate(drafts) if draft.begin_batch()]
                if live:
                    self._make_batch(drafts, live, batch, clock, control)
        return [self._result(draft, clock) for draft in drafts]

    def _make_batch(
        self,
        drafts: Sequence[Draft],
        live: Sequence[int],
        batch: int,
        clock: StageTimer,
        control: _Control,
    ) -> None:
        """Sample and decode a batch of those drafts that go on."""
        jobs = [drafts[number].job for number in live]
        counts = [job.request.batch_images for job in jobs]

        def on_step(step: int, denoised: Tensor) -> None:
            control.tell(jobs[0], batch, step, denoised)
            rows = dict(zip(live, denoised.split(counts), strict=True))
            ending = [number for number in live if drafts[number].is_wanted_now(step)]
            for number in ending:
                drafts[number].end(self.checkpoint, rows[number], step)
            if all(drafts[number].ended for number in live):
                raise BatchEnded
            for number in ending:
                if drafts[number].interrupt.stopped:
                    result = self._result(drafts[number], clock)
                    control.tell_of_end(number, replace(result, timings=dict(clock.seconds)))

        sampled: Sequence[Tensor] = ()
        with clock.measuring("sample"), suppress(BatchEnded):
            sampled = sample_batch(self._parts, jobs, batch, on_step)
        with clock.measuring("decode"):
            for number, x in zip(live, sampled, strict=False):
                if not drafts[number].ended:
                    drafts[number].add(self.checkpoint, x)

    def _quick(self, job: PreparedRequest) -> AbstractContextManager[None]:
        """The UNet as quick as it gets."""
        if self.compiled:
            return use_compiled_regions()
        # Adaptive samplers magnify the last digits, and torch's own products have those of WebUI's.
        if job.adaptive:
            return nullcontext()
        unet, journal = self.checkpoint.unet, self.checkpoint.journal
        return use_onednn(unet, packed=self._packed, journal=journal)

    def _result(self, draft: Draft, clock: StageTimer) -> GenerationResult:
        job, made = draft.job, len(draft.images)
        latents = draft.latents
        return GenerationResult(
            images=tuple(draft.images),
            latents=latents,
            infotexts=build_infotexts(self._parts, job)[:made],
            seeds=tuple(job.seeds[:made]),
            networks=job.first.stack.reports,
            diagnostics=(*job.diagnostics, *draft.notes, *_finiteness(latents)),
            timings=clock.seconds,
            variation_seeds=tuple(job.variation_seeds[:made]),
            hires_networks=job.second.stack.reports if job.second else (),
            unfinished=tuple(draft.unfinished),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Control:
    """What a caller wants to know, and whether it still wants it.

    Attributes:
        on_progress: Called after every step.
        cancel: Set where nobody wants the result any more.
        on_interrupted: Called with the number and result of a request that was stopped.
        numbers: The caller's numbers of the drafts.
    """

    on_progress: OnProgress | None
    cancel: threading.Event | None
    on_interrupted: OnInterrupted | None = None
    numbers: Sequence[int] = (0,)

    def tell(self, job: PreparedRequest, batch: int, step: int, denoised: Tensor) -> None:
        """Tell of a step.

        Raises:
            GenerationCancelled: Nobody wants the result any more.
        """
        if self.on_progress is not None:
            self.on_progress(Progress(batch, job.request.batch_count, step, job.steps, denoised))
        if self.cancel is not None and self.cancel.is_set():
            raise GenerationCancelled(f"cancelled after step {step} of {job.steps}")

    def tell_of_end(self, number: int, result: GenerationResult) -> None:
        """Tell of a draft that was stopped."""
        if self.on_interrupted is not None:
            self.on_interrupted(self.numbers[number], result)


def _finiteness(latents: Tensor) -> list[Diagnostic]:
    if bool(latents.isfinite().all()):
        return []
    message = "the result holds values that are no numbers, so images are black in part or whole"
    hint = "lower the weights, multipliers or CFG scale, or use --dtype float32"
    return [Diagnostic("warning", message, None, hint)]
