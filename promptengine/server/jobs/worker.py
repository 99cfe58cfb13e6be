"""Which model a device holds, and batches made with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptengine.accel.memory import release_memory
from promptengine.checkpoints.latent_rgb import LatentToRGB, fit_latent_to_rgb, preview_images
from promptengine.checkpoints.resolve import resolve_device
from promptengine.generation.engine import Engine
from promptengine.registry.registry import Registry
from promptengine.request.request import one_batch
from promptengine.request.result import GenerationResult, Progress
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.job import Control, Made, Run, Work
from promptengine.server.jobs.script_job import run_script_job
from promptengine.text.encoder import text_widths

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["Device", "Model", "runner"]


@dataclass(frozen=True, slots=True)
class Model:
    """What a job is made with.

    Attributes:
        checkpoint: Its file or folder.
        vae: ``Automatic``, ``None``, a name or a path.
    """

    checkpoint: Path
    vae: str


class Device:
    """A device and the engine on it. One thread at a time uses it, others wait.

    Args:
        name: As torch names it.
        config: The server's.
        registry: Shared by all devices.

    Attributes:
        name: As given.
        limits: Of what clients may ask for.
    """

    def __init__(self, name: str, config: ServerConfig, registry: Registry) -> None:
        self.name, self.limits = name, config.limits
        self._config, self._registry = config, registry
        self._model: Model | None = None
        self._engine: Engine | None = None
        self._colors: LatentToRGB | None = None
        self._widths: tuple[int, ...] | None = None
        self._busy = threading.Lock()

    @contextmanager
    def using(self, model: Model) -> Generator[Engine]:
        """The engine of a model within a ``with`` block; one that is not here takes the place of the one that is.

        Raises:
            CheckpointError: It cannot be loaded; the device is then empty.
            RequestError: There is no such device.
        """
        with self.reserved() as engine_with:
            yield engine_with(model)

    @contextmanager
    def reserved(self) -> Generator[Callable[[Model], Engine]]:
        """What returns the engine of a model, and of another one after it, within a ``with`` block.

        It raises what :meth:`using` does.
        """
        with self._busy:
            yield self._loaded

    def load(self, model: Model) -> None:
        """Have a model ready; raises what :meth:`using` does."""
        with self.using(model):
            pass

    def unload(self) -> None:
        """Give the model's memory back, after the job that uses it; the next job loads it again."""
        with self._busy:
            self._engine = self._model = self._colors = None
            release_memory(resolve_device(self.name))

    def _loaded(self, model: Model) -> Engine:
        if self._engine is None or model != self._model:
            # Two models may be more than a device has room for.
            self._engine = self._model = self._colors = None
            self._engine = Engine.open(
                model.checkpoint,
                self._registry,
                config=self._config.model_config,
                device=self.name,
                dtype=self._config.dtype,
                vae=model.vae,
                vae_overrides=self._config.vae_overrides,
                compile=self._config.compile,
                offload=self._config.offload,
            )
            self._widths = text_widths(*self._engine.checkpoint.text_encoders)
            self._model = model
        return self._engine

    @property
    def text_widths(self) -> tuple[int, ...] | None:
        """Widths of the vectors that the text encoders of its last model read; None before there was one."""
        return self._widths

    def previews(self, latents: Tensor) -> list[Image.Image]:
        """Small images of latents of the model that is held."""
        assert self._engine is not None
        if self._colors is None:
            self._colors = fit_latent_to_rgb(self._engine.checkpoint)
        return preview_images(latents, self._colors)


def runner(device: Device) -> Run:
    """Return what a queue runs jobs with on a device."""

    def run(works: Sequence[Work], batch: int, control: Control) -> Sequence[Made]:
        model = works[0].model
        assert isinstance(model, Model)
        if works[0].script is not None:
            return [run_script_job(device, works[0], model, control)]
        owners = [number for number, work in enumerate(works) for _ in work.requests]
        requests = [one_batch(request, batch) for work in works for request in work.requests]
        counts = [work.batch_images for work in works]
        stopped: dict[int, GenerationResult] = {}

        def on_progress(progress: Progress) -> None:
            control.on_step(progress.step, progress.steps, _previews(device, progress, counts))

        def on_interrupted(index: int, result: GenerationResult) -> None:
            stopped[index] = _light(result)
            own = [stopped[one] for one in sorted(stopped) if owners[one] == owners[index]]
            if len(own) == owners.count(owners[index]):
                control.on_interrupted(owners[index], own)

        with device.using(model) as engine:
            made = iter(
                engine.generate_batch(
                    requests,
                    on_progress=on_progress,
                    cancel=control.cancel,
                    interrupts=[control.interrupts[number] for number in owners],
                    on_interrupted=on_interrupted,
                )
            )
        return [[_light(next(made)) for _ in work.requests] for work in works]

    return run


def _previews(device: Device, progress: Progress, counts: Sequence[int]) -> Sequence[Image.Image]:
    """Return the first image of each work, unless the engine has split what it was given."""
    x = progress.denoised
    if x is None or len(x) != sum(counts):
        return ()
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    return device.previews(x[firsts])


def _light(result: GenerationResult) -> GenerationResult:
    """Return a result without its latents, which nobody asks a server for."""
    return replace(result, latents=result.latents.new_empty(0))
