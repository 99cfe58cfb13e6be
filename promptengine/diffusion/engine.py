"""The engine: a checkpoint, its folders of networks, and requests turned into pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from promptengine.diffusion.checkpoint import Checkpoint, open_checkpoint
from promptengine.diffusion.clock import StageClock
from promptengine.diffusion.embeddings import EmbeddingCache
from promptengine.diffusion.opening import (
    Precision,
    checkpoint_path,
    usable_device,
    usable_dtype,
)
from promptengine.diffusion.picture.pixels import decode_latents
from promptengine.diffusion.preparing import Job, Parts, prepare_job
from promptengine.diffusion.running import decode_batch, sample_batch
from promptengine.diffusion.samplers.shape import OnStep
from promptengine.diffusion.stack import NetworkCache
from promptengine.diffusion.telling import infotexts
from promptengine.diffusion.vae import find_vae
from promptengine.digests import default_cache_file
from promptengine.errors import GenerationCancelled
from promptengine.registry import Kind, Registry
from promptengine.request import GenerationRequest, GenerationResult, Progress
from promptengine.syntax import Diagnostic

__all__ = ["Engine", "Models", "OnProgress", "Precision", "decode_latents"]

OnProgress = Callable[[Progress], None]
Models = str | Path | Mapping[Kind, str | Path | Sequence[str | Path]]


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
        networks = NetworkCache(checkpoint.unet, checkpoint.text_encoder)
        self._parts = Parts(checkpoint, registry, networks, EmbeddingCache(registry), device)
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
        encoder_noise: Tensor | None = None,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> GenerationResult:
        """Make the pictures of a request.

        Whatever happens, the model is afterwards bit for bit what it was before.

        Args:
            request: What to make.
            encoder_noise: Standard normal numbers ``[images, 4, height / 8, width / 8]`` for encoding
                the images to start from, one for each picture of a batch; by default they come from
                the pictures' seeds.
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
        clock = StageClock()
        with self._busy, torch.no_grad():
            job = prepare_job(self._parts, request, encoder_noise, clock)
            latents: list[Tensor] = []
            images: list[Image.Image] = []
            for batch in range(request.batch_count):
                on_step = _step_reporter(job, batch, on_progress, cancel)
                with clock.measuring("sample"):
                    latents.append(sample_batch(self._parts, job, batch, on_step))
                with clock.measuring("decode"):
                    images += decode_batch(self.checkpoint, job, latents[-1])
        result = torch.cat(latents).cpu()
        return GenerationResult(
            images=tuple(images),
            latents=result,
            infotexts=infotexts(self._parts, job),
            seeds=tuple(job.seeds),
            networks=job.first.stack.reports,
            diagnostics=(*job.diagnostics, *_finiteness(result)),
            timings=clock.seconds,
            variation_seeds=tuple(job.variation_seeds),
            hires_networks=job.second.stack.reports if job.second else (),
        )


def _step_reporter(
    job: Job,
    batch: int,
    on_progress: OnProgress | None,
    cancel: threading.Event | None,
) -> OnStep:
    def on_step(step: int, _denoised: Tensor) -> None:
        if on_progress is not None:
            on_progress(Progress(batch, job.request.batch_count, step, job.steps))
        if cancel is not None and cancel.is_set():
            raise GenerationCancelled(f"cancelled after step {step} of {job.steps}")

    return on_step


def _finiteness(latents: Tensor) -> list[Diagnostic]:
    if bool(latents.isfinite().all()):
        return []
    message = "the result holds values that are no numbers, so pictures are black in part or whole"
    hint = "lower the weights, multipliers or CFG scale, or use --dtype float32"
    return [Diagnostic("warning", message, None, hint)]
