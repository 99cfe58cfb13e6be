"""The engine: a checkpoint, its folders of networks, and requests turned into images."""

from __future__ import annotations

import threading
from collections.abc import Generator, Hashable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL.Image import Image
from torch import Tensor

from promptengine.accel.compile import use_compiled_regions
from promptengine.accel.memory import free_bytes, release_memory, translate_oom, vae_tiling
from promptengine.accel.offload_names import AUTO, OffloadName
from promptengine.accel.onednn import pack_conv_weights, use_onednn
from promptengine.accel.residence import Residence, Resident
from promptengine.checkpoints.latent_rgb import LatentToRGB, fit_latent_to_rgb, preview_images
from promptengine.checkpoints.load import Checkpoint
from promptengine.checkpoints.pipelines import (
    checkpoint_from_pipeline,
    pipeline_from_checkpoint,
    pipeline_prediction,
)
from promptengine.checkpoints.resolve import (
    Precision,
    resolve_checkpoint,
    resolve_device,
    resolve_dtype,
)
from promptengine.checkpoints.vae_codec import decode_latents
from promptengine.errors import EngineClosedError
from promptengine.generation.conditioning import EngineContext, encoding_cache
from promptengine.generation.control import OnInterrupted, OnProgress, RunControl
from promptengine.generation.draft import BatchEnded, Draft
from promptengine.generation.dynamic import generate_expanded
from promptengine.generation.further_models import FurtherModels, ModelInUse, Opening
from promptengine.generation.prepare import PreparedRequest, prepare_request, share_networks
from promptengine.generation.run_async import run_cancellable
from promptengine.generation.sample import sample_batch
from promptengine.generation.timing import StageTimer
from promptengine.images.upscaler_cache import UpscalerCache
from promptengine.interrupt import Interrupt
from promptengine.networks.load import NetworkCache
from promptengine.prompt.dialects import WEBUI
from promptengine.registry.open_models import Models, open_models
from promptengine.registry.registry import Registry
from promptengine.request.options import Options
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.text.count import TokenCount, count_tokens
from promptengine.text.encoder import text_widths
from promptengine.text.textual_inversion.loader import EmbeddingCache
from promptengine.validation import check_type

__all__ = ["Engine", "Models", "OnInterrupted", "OnProgress", "Precision", "decode_latents"]


class Engine:
    """Makes images from WebUI prompts with one checkpoint.

    Engines share nothing: several may live in one process. One engine runs one request at a time;
    calls from other threads wait. As a context manager it is closed at the end of its block.

    Attributes:
        registry: Where tag names are looked up.
        device: Where the model lives.
        compiled: Whether regions of the UNet are compiled.
        requested_offload: What it was opened with.
        residence: Where the model's parts are, and when.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        registry: Registry,
        device: torch.device,
        *,
        compiled: bool = False,
        shared: bool = False,
        opening: Opening | None = None,
        residence: Residence | None = None,
    ) -> None:
        self.registry = registry
        self.device = device
        self.compiled = compiled
        self.residence = residence or Resident(device)
        home = self.residence.home
        networks = NetworkCache(checkpoint.unet, *checkpoint.text_encoders, home=home)
        words = EmbeddingCache(registry)
        # What others hold too they may change, so nothing that was made of it can be kept.
        texts = encoding_cache(room=0) if shared else encoding_cache()
        upscalers = UpscalerCache(registry, device)
        place = self.residence
        parts = EngineContext(checkpoint, registry, networks, words, texts, upscalers, place)
        opening = opening or Opening(next(checkpoint.unet.parameters()).dtype)
        self.requested_offload: OffloadName = opening.offload
        self._models: FurtherModels | None = FurtherModels(parts, opening)
        room = None if compiled or shared or not parts.stays else free_bytes(device)
        self._packed = pack_conv_weights(checkpoint.unet, checkpoint.vae, room=room)
        self._colors: LatentToRGB | None = None
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
        vae_overrides: bool = True,
        compile: bool = False,
        offload: OffloadName = AUTO,
    ) -> Engine:
        """Load a checkpoint and scan the folders of networks.

        Args:
            checkpoint: A file, a diffusers folder, or a name in ``models``; by default the first
                checkpoint there.
            models: WebUI's models folder, several of them, a mapping of kinds to folders, or a registry of
                them, which engines may share.
            config: A folder of configurations in diffusers' form, for what the weights and a
                ``.yaml`` beside them leave open, such as the number of text attention heads.
            device: As torch names it; ``auto`` takes CUDA, then Apple's MPS, then the CPU.
            dtype: Of UNet and text model; ``auto`` is float16 on CUDA and float32 elsewhere, as in
                WebUI.
            vae: ``Automatic`` takes the one that the checkpoint's side-car names, or one of its name from beside
                it or from ``models``, as WebUI does; else a file, a diffusers folder or a name, or None
                for the checkpoint's own.
            vae_overrides: Whether that goes before what the checkpoint prefers: WebUI's setting
                ``sd_vae_overrides_per_model_preferences``. It holds for a second pass's checkpoint too.
            compile: Let ``torch.compile`` make the UNet faster. The first image of a size takes a
                minute or more for that, and results move within the rounding of the dtype.
            offload: What leaves a device with little memory: ``none``; ``model``, text encoders, UNet and VAE are there
                one at a time (WebUI's ``--medvram``); ``layers``, the UNet's layers too (``--lowvram``). ``auto``
                takes the first that the free memory allows, and says so in the log where anything leaves.

        Raises:
            ModelNotFoundError: No checkpoint or VAE of that name.
            CheckpointError: It cannot be loaded.
            RequestError: No such device, dtype or ``offload``, one that cannot be had there, or an argument of
                another type.
        """
        check_type("checkpoint", checkpoint, str, Path, type(None))
        check_type("config", config, str, Path, type(None))
        check_type("device", device, str)
        check_type("dtype", dtype, str, torch.dtype)
        check_type("offload", offload, str)
        check_type("vae", vae, str, Path, type(None))
        registry = open_models(models)
        path = resolve_checkpoint(checkpoint, registry)
        place = resolve_device(device)
        kind = dtype if isinstance(dtype, torch.dtype) else resolve_dtype(dtype, place)
        configurations = None if config is None else Path(config)
        opening = Opening(
            kind, configurations, vae, vae_overrides=vae_overrides, compile=compile, offload=offload
        )
        parts, residence = opening.open_on(path, registry, place)
        return cls(parts, registry, place, compiled=compile, opening=opening, residence=residence)

    @classmethod
    def from_pipeline(cls, pipe: Any, models: Models = "models") -> Engine:
        """Return an engine on the modules of a pipeline of diffusers, of which nothing is copied.

        Both can be used, one at a time: between generations the modules are as the pipeline had them.

        Args:
            pipe: Of Stable Diffusion 1, 2 or XL.
            models: As for :meth:`open`.

        Raises:
            PromptEngineError: It is no such pipeline.
            RequestError: ``models`` has another type.
        """
        checkpoint = checkpoint_from_pipeline(pipe)
        checkpoint = replace(checkpoint, prediction=pipeline_prediction(pipe))
        registry = open_models(models)
        return cls(checkpoint, registry, next(checkpoint.unet.parameters()).device, shared=True)

    def to_pipeline(self) -> Any:
        """Return a ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` on this engine's modules.

        Nothing is copied, and closing the engine leaves the pipeline whole. Where parts leave the engine's device, the
        pipeline is on the CPU at first. A checkpoint for inpainting
        gives the inpainting pipeline of its family. :func:`promptengine.attach` teaches it WebUI's
        prompts.

        Raises:
            EngineClosedError: The engine is closed.
        """
        return pipeline_from_checkpoint(self.checkpoint)

    @property
    def checkpoint(self) -> Checkpoint:
        """The model's parts. Between requests they are exactly as loaded."""
        return self._parts.checkpoint

    @property
    def offload(self) -> OffloadName:
        """What leaves the device: ``none``, ``model`` or ``layers``; see :meth:`open`."""
        return self.residence.name

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._models is None

    @property
    def _further(self) -> FurtherModels:
        if self._models is None:
            raise EngineClosedError
        return self._models

    @property
    def _parts(self) -> EngineContext:
        return self._further.own

    def close(self) -> None:
        """Let go of the model and all networks; waits for a generation at hand. May be repeated."""
        with self._busy:
            self._models, self._packed = None, {}
            release_memory(self.device)

    def __enter__(self) -> Engine:
        _ = self._parts
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._models is None:
            return "<Engine: closed>"
        checkpoint = self.checkpoint
        dtype = str(next(checkpoint.unet.parameters()).dtype).removeprefix("torch.")
        what = f"{checkpoint.family}{' inpainting' if checkpoint.inpainting else ''}"
        more = ", compiled" if self.compiled else ""
        more += "" if self._parts.stays else f", offload {self.offload}"
        return f"<Engine: {checkpoint.path.name} ({what}) on {self.device}, {dtype}{more}>"

    def count_tokens(
        self,
        prompt: str,
        *,
        steps: int = 20,
        options: Options | None = None,
        dialect: str = WEBUI,
    ) -> TokenCount:
        """Count a prompt's tokens; words of this engine's embeddings take as many as they have vectors.

        Args:
            prompt: WebUI's syntax.
            steps: As for :func:`promptengine.count_tokens`.
            options: Likewise.
            dialect: Likewise.

        Raises:
            RequestError: An argument of another type, steps out of range, or no such dialect.
        """
        parts = self._parts
        words = parts.embeddings.words(text_widths(*parts.checkpoint.text_encoders))
        return count_tokens(
            prompt, steps=steps, options=options, embeddings=words.table, dialect=dialect
        )

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
            RequestError: More steps than the sampler can take, an option that cannot be honored, a refiner or
                hires checkpoint that is not here or does not fit, or a UNet that cannot be compiled here.
            CheckpointError: A refiner or hires checkpoint cannot be loaded.
            PromptSyntaxError: ``strict``, and a tag's kind or multiplier cannot be used.
            UnknownNetworkError: ``strict``, and a network is in no folder.
            NetworkFormatError: ``strict``, and a network's file cannot be read.
            IncompatibleNetworkError: ``strict``, and a network does not fit the model.
            OutOfMemoryError: The device has no room for the images.
            EngineClosedError: The engine is closed.
        """
        check_type("request", request, GenerationRequest, words="a GenerationRequest")
        if request.dynamic and encoder_noise is None:
            make, files = self.generate_batch, self.registry.wildcards()
            return generate_expanded(make, request, files, on_progress, cancel, interrupt=interrupt)
        clock = StageTimer()
        control = self._control(on_progress, cancel)
        with self._running(control):
            (job,) = self._prepared([request], encoder_noise, clock)
            draft = Draft(job, interrupt or Interrupt())
            return self._carried_out([draft], clock, control)[0]

    async def generate_async(
        self, request: GenerationRequest, *, on_progress: OnProgress | None = None
    ) -> GenerationResult:
        """Make the images of a request in a thread, while the event loop goes on.

        Cancelling the task stops the generation between two steps; the task ends once the model is what
        it was before. Several tasks on one engine take turns.

        Args:
            request: What to make.
            on_progress: Called after every step in the thread of the generation, not in the event
                loop's; hand things over with ``loop.call_soon_threadsafe``.

        Raises:
            PromptEngineError: As :meth:`generate`.
            asyncio.CancelledError: The task was cancelled.
        """

        def make(cancel: threading.Event) -> GenerationResult:
            return self.generate(request, on_progress=on_progress, cancel=cancel)

        return await run_cancellable(make)

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
        sampled together; each row has its own hypernetworks and LoRAs. What they come to is what each comes to
        alone (latents within 1e-4 in float32). Those that start from images follow one another.

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
        for request in requests:
            check_type("requests", request, GenerationRequest, words="GenerationRequests")
        clock = StageTimer()
        with self._running(self._control(on_progress, cancel)):
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
                control = self._control(on_progress, cancel, on_interrupted, members)
                made = self._carried_out(group, clock, control)
                results.update(zip(members, made, strict=True))
        return [results[index] for index in range(len(requests))]

    @contextmanager
    def _running(self, control: RunControl) -> Generator[None]:
        """Hold the engine; whatever happens within, the model is afterwards what it was."""
        with (
            self._busy,
            torch.no_grad(),
            translate_oom(self.device),
            self.checkpoint.journal.run(),
            self._further.run(),
            self._parts.upscalers.watching(lambda _done, _total: control.check_tile()),
        ):
            yield

    def _control(
        self,
        on_progress: OnProgress | None,
        cancel: threading.Event | None,
        on_interrupted: OnInterrupted | None = None,
        numbers: Sequence[int] = (0,),
    ) -> RunControl:
        return RunControl(self._drawn, on_progress, cancel, on_interrupted, numbers)

    def _drawn(self, latents: Tensor) -> list[Image]:
        """Small images of latents without noise."""
        if self._colors is None:
            self._colors = fit_latent_to_rgb(self.checkpoint)
        return preview_images(latents, self._colors)

    def _prepared(
        self,
        requests: Sequence[GenerationRequest],
        encoder_noise: Tensor | None,
        clock: StageTimer,
    ) -> list[PreparedRequest]:
        with use_onednn(*self.checkpoint.text_encoders, journal=self.checkpoint.journal):
            return [prepare_request(self._further, one, encoder_noise, clock) for one in requests]

    def _carried_out(
        self, drafts: Sequence[Draft], clock: StageTimer, control: RunControl
    ) -> list[GenerationResult]:
        """Run jobs that may share batches."""
        lead = drafts[0].job
        vaes, journal = [self.checkpoint.vae] * lead.tiles, self.checkpoint.journal
        models = ModelInUse(self._further, quick=not lead.adaptive, tiles=lead.tiles)
        with self._quick(lead), vae_tiling(*vaes, journal=journal), models:
            for batch in range(lead.request.batch_count):
                self._make_batch(models, drafts, batch, clock, control)
        return [draft.result(self._parts, clock.seconds) for draft in drafts]

    def _make_batch(
        self,
        models: ModelInUse,
        drafts: Sequence[Draft],
        batch: int,
        clock: StageTimer,
        control: RunControl,
    ) -> None:
        """Sample and decode a batch of those drafts that go on, if any do."""
        live = [number for number, draft in enumerate(drafts) if draft.begin_batch()]
        if not live:
            return
        models.change_to(None)
        jobs = [drafts[number].job for number in live]
        counts = [job.request.batch_images for job in jobs]

        def on_step(step: int, denoised: Tensor) -> None:
            control.tell(jobs[0], batch, step, denoised)
            end_wanted(step, denoised)

        def end_wanted(step: int, denoised: Tensor) -> None:
            rows = dict(zip(live, denoised.split(counts), strict=True))
            ending = [number for number in live if drafts[number].is_wanted_now(step)]
            for number in ending:
                drafts[number].end(models, rows[number], step)
            if all(drafts[number].ended for number in live):
                raise BatchEnded
            for number in ending:
                if drafts[number].interrupt.stopped:
                    result = drafts[number].result(self._parts, dict(clock.seconds))
                    control.tell_of_end(number, result)

        sampled: Sequence[Tensor] = ()
        with clock.measuring("sample"), suppress(BatchEnded):
            sampled = sample_batch(
                models, jobs, batch, on_step, lambda x: end_wanted(jobs[0].first_steps, x)
            )
        with clock.measuring("decode"):
            for number, x in zip(live, sampled, strict=False):
                if not drafts[number].ended:
                    drafts[number].add(models, x)

    def _quick(self, job: PreparedRequest) -> AbstractContextManager[None]:
        """Return the UNet and the VAE as quick as they get."""
        if self.compiled:
            return use_compiled_regions()
        # Adaptive samplers magnify the last digits, and torch's own products have those of WebUI's.
        if job.adaptive:
            return nullcontext()
        unet, journal = self.checkpoint.unet, self.checkpoint.journal
        return use_onednn(unet, packed=self._packed, journal=journal)
