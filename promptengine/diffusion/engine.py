"""The engine: a checkpoint, its folders of networks, and requests turned into pictures."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from promptengine.diffusion.checkpoint import Checkpoint, open_checkpoint
from promptengine.diffusion.denoiser import (
    Guidance,
    GuidedUnet,
    sample,
    skips_resized_like_webui,
)
from promptengine.diffusion.embeddings import EmbeddingCache, misfit_diagnostics
from promptengine.diffusion.extras import (
    Extras,
    inpainting_channels,
    posterior_noise,
    size_conditioning,
    unconditional,
)
from promptengine.diffusion.noise import ImageNoise
from promptengine.diffusion.sampling import OnStep, Sampler, find_sampler
from promptengine.diffusion.stack import NetworkCache, NetworkStack, prepare_stack
from promptengine.diffusion.vae import find_vae
from promptengine.digests import default_cache_file
from promptengine.errors import CheckpointError, GenerationCancelled, RequestError
from promptengine.infotext import generation_entries, write_infotext
from promptengine.networks.inject import injected
from promptengine.plan import make_plan
from promptengine.registry import Kind, Registry
from promptengine.request import GenerationRequest, GenerationResult, Progress
from promptengine.syntax import Diagnostic, parse
from promptengine.text.encode import embedding_hashes, encode_schedule
from promptengine.text.model import text_widths

__all__ = ["Engine", "Models", "OnProgress", "Precision"]

OnProgress = Callable[[Progress], None]
Precision = Literal["auto", "float32", "float16", "bfloat16"]
Models = str | Path | Mapping[Kind, str | Path | Sequence[str | Path]]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A request with everything worked out that does not change from batch to batch."""

    request: GenerationRequest
    sampler: Sampler
    stack: NetworkStack
    guidance: Guidance
    seeds: range
    width: int
    height: int
    diagnostics: tuple[Diagnostic, ...]
    embedding_hashes: str | None


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
        self._networks = NetworkCache(checkpoint.unet)
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
        path = _checkpoint_path(checkpoint, registry)
        place = _device(device)
        kind = dtype if isinstance(dtype, torch.dtype) else _dtype(dtype, place)
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
            RequestError: An unknown sampler, or more steps than the sampler can take.
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
                    images += [self._decode(one) for one in latents[-1]]
        result = torch.cat(latents).cpu()
        return GenerationResult(
            images=tuple(images),
            latents=result,
            infotexts=self._infotexts(job),
            seeds=tuple(job.seeds),
            networks=job.stack.reports,
            diagnostics=(*job.diagnostics, *_finiteness(result)),
            timings=clock.seconds,
        )

    def _prepare(self, request: GenerationRequest, clock: _Clock) -> _Job:
        sampler = find_sampler(request.sampler)
        with clock.measuring("plan"):
            plan = make_plan(
                parse(request.prompt),
                parse(request.negative_prompt, negative=True),
                self.registry,
                steps=request.steps,
                policy=request.policy,
            )
        with clock.measuring("load"):
            stack = prepare_stack(
                plan, self.checkpoint.unet, self.registry, self._networks, policy=request.policy
            )
            words = self._embeddings.words(text_widths(*self.checkpoint.text_encoders))
        with clock.measuring("encode"):
            model = self.checkpoint.text_model(clip_skip=request.clip_skip)
            encode = partial(encode_schedule, model=model, embeddings=words.table)
            guidance = Guidance(
                positive=[(encode(part.schedule), part.weight) for part in plan.positive],
                negative=unconditional(
                    self.checkpoint,
                    encode(plan.negative),
                    [segment.text for segment in plan.negative.segments],
                ),
                scale=request.cfg_scale,
            )
        seed = request.seed if request.seed >= 0 else secrets.randbelow(2**32 - 1)
        return _Job(
            request=request,
            sampler=sampler,
            stack=stack,
            guidance=guidance,
            seeds=range(seed, seed + request.batch_size * request.batch_count),
            width=request.width or self.checkpoint.native_size,
            height=request.height or self.checkpoint.native_size,
            diagnostics=(
                *plan.diagnostics,
                *stack.diagnostics,
                *misfit_diagnostics(words, plan.texts),
            ),
            embedding_hashes=embedding_hashes(
                [conditioning for conditioning, _ in guidance.positive], guidance.negative
            ),
        )

    def _sample(self, job: _Job, batch: int, on_step: OnStep) -> Tensor:
        size = job.request.batch_size
        seeds = job.seeds[batch * size : (batch + 1) * size]
        unet = self.checkpoint.unet
        shape = (self.checkpoint.latent_channels, job.height // 8, job.width // 8)
        extras = self._extras(job, seeds, shape)
        with injected(unet, job.stack.uses), skips_resized_like_webui(unet):
            return sample(
                job.sampler,
                GuidedUnet(unet, job.guidance, extras, self.checkpoint.prediction),
                self.checkpoint.noise_table,
                ImageNoise.seeded(seeds, shape, self.device),
                steps=job.request.steps,
                on_step=on_step,
            )

    def _extras(self, job: _Job, seeds: Sequence[int], shape: tuple[int, int, int]) -> Extras:
        images, width, height = len(seeds), job.width, job.height
        return Extras(
            sizes=size_conditioning(self.checkpoint, width=width, height=height),
            channels=inpainting_channels(
                self.checkpoint,
                images=images,
                width=width,
                height=height,
                noise=posterior_noise(seeds[-1], images, shape),
            ),
        )

    def _decode(self, latents: Tensor) -> Image.Image:
        pixels = decode_latents(self.checkpoint, latents[None])[0]
        # WebUI truncates; rounding would differ by one level in half of all pixels.
        levels = (((pixels + 1) / 2).clamp(0, 1).nan_to_num(0) * 255).to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGB")

    def _infotexts(self, job: _Job) -> tuple[str, ...]:
        request, path = job.request, self.checkpoint.path
        digest = None if path.is_dir() else self.registry.digests.of(path)
        return tuple(
            write_infotext(
                request.prompt,
                request.negative_prompt,
                generation_entries(
                    request,
                    sampler=job.sampler.name,
                    seed=seed,
                    size=(job.width, job.height),
                    model=path.stem,
                    model_digest=digest,
                    networks=job.stack.reports,
                    embedding_hashes=job.embedding_hashes,
                ),
            )
            for seed in job.seeds
        )


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


def _checkpoint_path(checkpoint: str | Path | None, registry: Registry) -> Path:
    """The file or folder meant: a path that exists, or a name among the scanned ones."""
    known = registry.entries("checkpoint")
    if checkpoint is None:
        if known:
            return known[0].path
        message = "no checkpoint found; put one into models/Stable-diffusion or name a file"
        raise CheckpointError(message)
    path = Path(checkpoint)
    if path.exists():
        return path
    entry = registry.find("checkpoint", str(checkpoint))
    if entry is not None:
        return entry.path
    near = registry.near("checkpoint", path.stem)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise CheckpointError(f"no such file, and no checkpoint of that name{hint}", path=path)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        detail = str(error).splitlines()[0]
        raise RequestError(f"device {name!r} cannot be used: {detail}", field="device") from None
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in get_args(Precision):
        choices = ", ".join(get_args(Precision))
        raise RequestError(f"dtype {name!r} is none of {choices}", field="dtype")
    return getattr(torch, name)


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
