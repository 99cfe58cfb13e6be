"""The engine: a checkpoint, its folders of networks, and requests turned into pictures."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from promptengine.diffusion.checkpoint import Checkpoint, open_checkpoint
from promptengine.diffusion.denoiser import Guidance, GuidedUnet, skips_resized_like_webui
from promptengine.diffusion.embeddings import EmbeddingCache, misfit_diagnostics, with_bundled
from promptengine.diffusion.extras import (
    Extras,
    inpainting_channels,
    posterior_noise,
    size_conditioning,
    unconditional,
)
from promptengine.diffusion.noise import ImageNoise, Seeding
from promptengine.diffusion.opening import (
    Precision,
    checkpoint_path,
    usable_device,
    usable_dtype,
)
from promptengine.diffusion.passes import first_latents, noise_table, run_pass
from promptengine.diffusion.record import (
    level_entries,
    pass_entries,
    schedule_type_told,
    seed_delta_told,
    text_entries,
)
from promptengine.diffusion.samplers.shape import OnStep
from promptengine.diffusion.sampling import Sampler, SigmaSampler, find_sampler
from promptengine.diffusion.schedules import NoiseTable, find_scheduler
from promptengine.diffusion.stack import NetworkCache, NetworkStack, prepare_stack
from promptengine.diffusion.tiling import tiled
from promptengine.diffusion.vae import find_vae
from promptengine.digests import default_cache_file
from promptengine.errors import GenerationCancelled, RequestError
from promptengine.infotext import generation_entries, write_infotext
from promptengine.networks.inject import injected
from promptengine.options import Options
from promptengine.plan import Plan, make_plan, with_default_lora
from promptengine.registry import Kind, Registry
from promptengine.request import (
    GenerationRequest,
    GenerationResult,
    Progress,
    with_default_hypernetwork,
)
from promptengine.syntax import Diagnostic, Schedule, parse, schedule
from promptengine.text.encode import (
    Conditioning,
    embedding_hashes,
    encode_schedule,
)
from promptengine.text.model import text_widths
from promptengine.text.words import EmbeddingTable

__all__ = ["Engine", "Models", "OnProgress", "Precision", "refuse_unhonoured"]

OnProgress = Callable[[Progress], None]
Models = str | Path | Mapping[Kind, str | Path | Sequence[str | Path]]


_NOT_HONOURED = (
    "old_emphasis",
    "img2img_exact_steps",
    "overlay_original",
    "image_upscaler",
    "background_colour",
    "extra_noise",
    "initial_noise_multiplier",
)
"""Options that nothing here acts on; they are refused where they are changed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A request with everything worked out that does not change from batch to batch.

    Attributes:
        request: As it came, but for tags that an option appends to the prompt.
        sampler: With its schedule type.
        table: The noise levels in force.
        schedule: The levels to visit.
        stack: The networks.
        guidance: The encoded prompts.
        seeds: Of all images.
        variation_seeds: Likewise, or empty where there is no variation.
        width: Pixels.
        height: Likewise.
        entries: How prompts were read, for the infotext.
        diagnostics: Of prompts and files.
    """

    request: GenerationRequest
    sampler: Sampler
    table: NoiseTable
    schedule: Tensor
    stack: NetworkStack
    guidance: Guidance
    seeds: Sequence[int]
    variation_seeds: Sequence[int]
    width: int
    height: int
    entries: Mapping[str, object]
    diagnostics: tuple[Diagnostic, ...]


class Engine:
    """Makes pictures from WebUI prompts with one checkpoint.

    Engines share nothing: several may live in one process. One engine runs one request at a time;
    calls from other threads wait.

    Attributes:
        checkpoint: The model's parts. Between requests they are exactly as loaded.
        registry: Where tag names are looked up.
        device: Where the model lives.
    """

    def __init__(self, checkpoint: Checkpoint, registry: Registry, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.registry = registry
        self.device = device
        self._networks = NetworkCache(checkpoint.unet, checkpoint.text_encoder)
        self._embeddings = EmbeddingCache(registry)
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
    ) -> Engine:
        """Load a checkpoint and scan the folders of networks.

        Args:
            checkpoint: A file, a diffusers folder, or a name in ``models``; by default the first
                checkpoint there.
            models: WebUI's models folder, or a mapping of kinds to folders.
            config: A folder of configurations in diffusers' form, for what the weights and a
                ``.yaml`` beside them leave open, such as the number of text attention heads.
            device: As torch names it; ``auto`` takes CUDA, then Apple's MPS, then the CPU.
            dtype: Of UNet and text model; ``auto`` is float16 on CUDA and float32 elsewhere, as in
                WebUI.
            vae: ``Automatic`` takes one of the checkpoint's name from beside it or from ``models``,
                as WebUI does; else a file, a diffusers folder or a name, or None for the
                checkpoint's own.

        Raises:
            CheckpointError: No checkpoint or VAE found, or it cannot be loaded.
            RequestError: No such device or dtype.
        """
        registry = Registry.open(models, cache_file=default_cache_file())
        path = checkpoint_path(checkpoint, registry)
        place = usable_device(device)
        kind = dtype if isinstance(dtype, torch.dtype) else usable_dtype(dtype, place)
        configurations = None if config is None else Path(config)
        separate = find_vae(vae, path, registry)
        parts = open_checkpoint(path, config=configurations, vae=separate, device=place, dtype=kind)
        return cls(parts, registry, place)

    def generate(
        self,
        request: GenerationRequest,
        *,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> GenerationResult:
        """Make the pictures of a request.

        Whatever happens, the model is afterwards bit for bit what it was before.

        Args:
            request: What to make.
            on_progress: Called after every step. What it raises stops the generation and is passed
                on.
            cancel: Set it from anywhere to stop between two steps.

        Raises:
            GenerationCancelled: ``cancel`` was set.
            RequestError: An unknown sampler or schedule type, more steps than the sampler can take, or
                an option that cannot be honoured.
            PromptSyntaxError: ``strict``, and a tag's kind or multiplier cannot be used.
            UnknownNetworkError: ``strict``, and a network is in no folder.
            NetworkFormatError: ``strict``, and a network's file cannot be read.
            IncompatibleNetworkError: ``strict``, and a network does not fit the model.
        """
        clock = _Clock()
        with self._busy, torch.no_grad():
            job = self._prepare(request, clock)
            latents: list[Tensor] = []
            images: list[Image.Image] = []
            for batch in range(request.batch_count):
                on_step = _step_reporter(request, batch, on_progress, cancel)
                with clock.measuring("sample"):
                    latents.append(self._sample(job, batch, on_step))
                with clock.measuring("decode"):
                    images += [self._decode(one, tiling=request.tiling) for one in latents[-1]]
        result = torch.cat(latents).cpu()
        return GenerationResult(
            images=tuple(images),
            latents=result,
            infotexts=self._infotexts(job),
            seeds=tuple(job.seeds),
            networks=job.stack.reports,
            diagnostics=(*job.diagnostics, *_finiteness(result)),
            timings=clock.seconds,
            variation_seeds=tuple(job.variation_seeds),
        )

    def _prepare(self, request: GenerationRequest, clock: _Clock) -> _Job:
        options = request.options
        refuse_unhonoured(options)
        sampler = find_sampler(request.sampler, request.scheduler)
        request = self._with_default_networks(request)
        prompts = parse(request.prompt), parse(request.negative_prompt, negative=True)
        doubled = sampler.second_order and not options.undoubled_timelines
        calls = request.steps * 2 if doubled else request.steps
        with clock.measuring("plan"):
            plan = make_plan(
                *prompts,
                self.registry,
                steps=calls,
                policy=request.policy,
                old_timelines=options.old_timelines,
            )
        with clock.measuring("load"):
            stack = prepare_stack(plan, self.registry, self._networks, policy=request.policy)
            widths = text_widths(*self.checkpoint.text_encoders)
            words = with_bundled(self._embeddings.words(widths), stack.embeddings, widths)
        with clock.measuring("encode"), stack.merged():
            guidance = self._encode(plan, request, words.table)
        table = noise_table(self.checkpoint.noise_table, options)
        seeds, variation_seeds = _drawn_seeds(request)
        return _Job(
            request=request,
            sampler=sampler,
            table=table,
            schedule=sampler.schedule(table, request.steps, options),
            stack=stack,
            guidance=guidance,
            seeds=seeds,
            variation_seeds=variation_seeds,
            width=request.width or self.checkpoint.native_size,
            height=request.height or self.checkpoint.native_size,
            entries=text_entries(prompts, plan, calls, options),
            diagnostics=(
                *plan.diagnostics,
                *stack.diagnostics,
                *misfit_diagnostics(words, plan.texts),
                *_idle_scheduler(request, sampler),
            ),
        )

    def _with_default_networks(self, request: GenerationRequest) -> GenerationRequest:
        """Append the tags of the networks that the options name, as WebUI's settings do."""
        request, options = with_default_hypernetwork(request), request.options
        if self.registry.find("lora", options.lora) is None:
            return request
        prompt = with_default_lora(request.prompt, options.lora, options.default_multiplier)
        return replace(request, prompt=prompt)

    def _encode(self, plan: Plan, request: GenerationRequest, words: EmbeddingTable) -> Guidance:
        model = self.checkpoint.text_model(clip_skip=request.clip_skip)
        options = request.options

        def encode(timeline: Schedule) -> Conditioning:
            return encode_schedule(
                timeline,
                model,
                embeddings=words,
                emphasis=options.emphasis,
                comma_backtrack=options.comma_backtrack,
            )

        nothing = parse("", negative=True).parts[0]
        return Guidance(
            positive=[(encode(part.schedule), part.weight) for part in plan.positive],
            negative=unconditional(
                self.checkpoint,
                encode(plan.negative),
                [segment.text for segment in plan.negative.segments],
            ),
            scale=request.cfg_scale,
            empty=encode(schedule(nothing, 1)).at(0) if options.pad_with_empty else None,
        )

    def _sample(self, job: _Job, batch: int, on_step: OnStep) -> Tensor:
        request, options = job.request, job.request.options
        images = slice(batch * request.batch_size, (batch + 1) * request.batch_size)
        unet: Any = self.checkpoint.unet
        noise = ImageNoise(
            _seeding(request, job.seeds[images], job.variation_seeds[images]),
            (self.checkpoint.latent_channels, job.height // 8, job.width // 8),
            self.device,
        )
        with (
            job.stack.merged(),
            injected(unet, job.stack.uses),
            skips_resized_like_webui(unet),
            tiled(*[unet] * request.tiling),
        ):
            return run_pass(
                job.sampler,
                self._guided(job, noise),
                job.table,
                first_latents(job.sampler, job.schedule, noise, options),
                job.schedule,
                noise=noise,
                options=options,
                on_step=on_step,
            )

    def _guided(self, job: _Job, noise: ImageNoise) -> GuidedUnet:
        seeds, width, height = noise.seeding.seeds, job.width, job.height
        extras = Extras(
            sizes=size_conditioning(self.checkpoint, width=width, height=height),
            channels=inpainting_channels(
                self.checkpoint,
                images=len(seeds),
                width=width,
                height=height,
                noise=posterior_noise(seeds[-1], len(seeds), noise.shape),
            ),
        )
        return GuidedUnet(
            self.checkpoint.unet,
            job.guidance,
            job.request.options,
            extras,
            self.checkpoint.prediction,
        )

    def _decode(self, latents: Tensor, *, tiling: bool) -> Image.Image:
        with tiled(*[self.checkpoint.vae] * tiling):
            pixels = decode_latents(self.checkpoint, latents[None])[0]
        # WebUI truncates; rounding would differ by one level in half of all pixels.
        levels = (((pixels + 1) / 2).clamp(0, 1).nan_to_num(0) * 255).to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGB")

    def _infotexts(self, job: _Job) -> tuple[str, ...]:
        request, path, sampler = job.request, self.checkpoint.path, job.sampler
        options = request.options
        told = seed_delta_told(sampler, options)
        sampling = pass_entries(sampler, job.guidance, job.table, options)
        entries = partial(
            generation_entries,
            request,
            sampler=sampler.name,
            size=(job.width, job.height),
            model=path.stem,
            model_digest=None if path.is_dir() else self.registry.digests.of(path),
            networks=job.stack.reports,
            embedding_hashes=_embedding_hashes(job) if options.hash_embeddings else None,
            scheduler=schedule_type_told(sampler),
            seed_delta=(options.noise_seed_delta or None) if told else None,
            levels=level_entries(options),
            sampling={**job.entries, **sampling},
        )
        variations = job.variation_seeds or [None] * len(job.seeds)
        return tuple(
            write_infotext(
                request.prompt,
                request.negative_prompt,
                entries(seed=seed, variation_seed=variation),
            )
            for seed, variation in zip(job.seeds, variations, strict=True)
        )


def _embedding_hashes(job: _Job) -> str | None:
    positive = [conditioning for conditioning, _ in job.guidance.positive]
    return embedding_hashes(positive, job.guidance.negative)


def decode_latents(checkpoint: Checkpoint, latents: Tensor) -> Tensor:
    """Decode latents to pixels.

    Args:
        checkpoint: Whose VAE to use.
        latents: ``[batch, 4, height / 8, width / 8]``, scaled as the UNet has them.

    Returns:
        ``[batch, 3, height, width]``, float32, about -1 to 1, not clamped.
    """
    vae: Any = checkpoint.vae
    return vae.decode(latents.float() / checkpoint.scaling_factor, return_dict=False)[0]


def refuse_unhonoured(options: Options) -> None:
    """Raise RequestError where an option is changed that nothing here acts on."""
    for own, value in options.changed().items():
        if own in _NOT_HONOURED:
            name = Options.webui_name(own)
            message = f"option {name} cannot be {value!r}: this version does not honour it yet"
            raise RequestError(message, field=name)


def _drawn_seeds(request: GenerationRequest) -> tuple[Sequence[int], Sequence[int]]:
    """Seeds and variation seeds of all images, drawn where the request leaves them open."""
    images = request.batch_size * request.batch_count
    seed, variation = (
        value if value >= 0 else secrets.randbelow(2**32 - 1)
        for value in (request.seed, request.variation_seed)
    )
    if request.variation_strength > 0:
        return [seed] * images, range(variation, variation + images)
    return range(seed, seed + images), ()


def _seeding(
    request: GenerationRequest, seeds: Sequence[int], variation_seeds: Sequence[int]
) -> Seeding:
    width, height = request.seed_resize_from or (0, 0)
    return Seeding(
        seeds=tuple(seeds),
        variation_seeds=tuple(variation_seeds),
        strength=request.variation_strength,
        resize_from=(height // 8, width // 8) if request.seed_resize_from else None,
        delta=request.options.noise_seed_delta,
        source=request.options.noise_source,
    )


def _idle_scheduler(request: GenerationRequest, sampler: Sampler) -> list[Diagnostic]:
    if isinstance(sampler, SigmaSampler) or find_scheduler(request.scheduler) is None:
        return []
    message = (
        f"{sampler.name} has a schedule of its own; {request.scheduler!r} does nothing with it"
    )
    return [Diagnostic("warning", message, None, "leave the scheduler at automatic")]


def _step_reporter(
    request: GenerationRequest,
    batch: int,
    on_progress: OnProgress | None,
    cancel: threading.Event | None,
) -> OnStep:
    def on_step(step: int, _denoised: Tensor) -> None:
        if on_progress is not None:
            on_progress(Progress(batch, request.batch_count, step, request.steps))
        if cancel is not None and cancel.is_set():
            raise GenerationCancelled(f"cancelled after step {step} of {request.steps}")

    return on_step


def _finiteness(latents: Tensor) -> list[Diagnostic]:
    if bool(latents.isfinite().all()):
        return []
    message = "the result holds values that are no numbers, so pictures are black in part or whole"
    hint = "lower the weights, multipliers or CFG scale, or use --dtype float32"
    return [Diagnostic("warning", message, None, hint)]


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measuring(self, stage: str) -> Generator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
