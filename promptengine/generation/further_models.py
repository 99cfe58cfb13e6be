"""Models beside an engine's own: a second pass's checkpoint, or a refiner."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from promptengine.accel.compile import compile_regions
from promptengine.accel.memory import free_bytes, release_memory, translate_oom, vae_tiling
from promptengine.accel.offload import ModelSizes, find_offload, place_model
from promptengine.accel.offload_names import AUTO, OffloadName
from promptengine.accel.onednn import Packed, pack_conv_weights, use_onednn
from promptengine.accel.residence import Residence
from promptengine.checkpoints.load import Checkpoint, open_checkpoint
from promptengine.checkpoints.vae import find_vae
from promptengine.errors import OutOfMemoryError
from promptengine.generation.cfg_denoiser import CFGDenoiser
from promptengine.generation.conditioning import EngineContext, encoding_cache
from promptengine.networks.load import NetworkCache
from promptengine.registry.registry import Registry
from promptengine.registry.scan import measure
from promptengine.request.result import ModelUse

__all__ = ["FurtherModels", "ModelInUse", "Opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """How an engine opens checkpoints.

    Attributes:
        dtype: Of UNet and text encoders.
        config: A folder of configurations in diffusers' form, for what weights leave open.
        vae: By the words of WebUI's ``sd_vae``; it holds for every model.
        vae_overrides: Whether it goes before what a model prefers.
        compile: Whether UNets are compiled.
        offload: What leaves the device; see :meth:`promptengine.generation.engine.Engine.open`.
    """

    dtype: torch.dtype
    config: Path | None = None
    vae: str | Path | None = "Automatic"
    vae_overrides: bool = True
    compile: bool = False
    offload: OffloadName = AUTO

    def open(self, path: Path, registry: Registry, device: torch.device) -> Checkpoint:
        """Open a model.

        Args:
            path: A file or a diffusers folder.
            registry: Where VAEs are looked up.
            device: Where it shall live.

        Raises:
            CheckpointError: It cannot be loaded.
        """
        separate = find_vae(self.vae, path, registry, overrides=self.vae_overrides)
        parts = open_checkpoint(
            path, config=self.config, vae=separate, device=device, dtype=self.dtype
        )
        if self.compile:
            compile_regions(parts.unet)
        return parts

    def open_on(
        self, path: Path, registry: Registry, device: torch.device
    ) -> tuple[Checkpoint, Residence]:
        """Open a model and put its parts where they belong.

        Args:
            path: A file or a diffusers folder.
            registry: Where VAEs are looked up.
            device: Where it shall work.

        Raises:
            CheckpointError: It cannot be loaded.
            RequestError: ``offload`` is none, or cannot be had there.
        """
        asked = find_offload(self.offload, device, compiled=self.compile)
        # What may not fit is opened beside the device, and goes there once its size is known.
        first = torch.device("cpu") if asked is None else asked.residence(device).home
        model = self.open(path, registry, first)
        parts = *model.text_encoders, model.unet, model.vae
        sizes = ModelSizes.of(model.text_encoders, model.unet, model.vae, side=model.native_size)
        return model, place_model(asked, device, parts, sizes, compiled=self.compile)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A model that was opened.

    Attributes:
        path: As asked for.
        state: Of its file when it was opened.
        parts: The model.
        packed: What oneDNN reads of its UNet.
    """

    path: Path
    state: tuple[int, int] | None
    parts: EngineContext
    packed: Packed


class FurtherModels:
    """Opens models beside an engine's own where requests need them, and keeps the last one.

    There is never more than one: another takes its place, and it goes where memory is short.

    Args:
        own: The engine's model.
        opening: How others are opened.
    """

    def __init__(self, own: EngineContext, opening: Opening) -> None:
        self.own = own
        self._opening = opening
        self._held: _Held | None = None

    @property
    def held(self) -> Path | None:
        """Which model is held beside the engine's own."""
        return None if self._held is None else self._held.path

    def at(self, path: Path) -> EngineContext:
        """Return a model, opened if it is not here.

        Raises:
            CheckpointError: It cannot be loaded.
            OutOfMemoryError: The device has no room for it.
        """
        if self.is_own(path):
            return self.own
        return self._at(path).parts

    def is_own(self, path: Path) -> bool:
        """Return whether a file is that of the engine's own model."""
        own = self.own.checkpoint.path
        return path == own or path.resolve() == own.resolve()

    def forget(self) -> bool:
        """Let go of what is held; returns whether there was anything."""
        held, self._held = self._held, None
        if held is not None:
            held.parts.checkpoint.journal.restore()
            del held
            release_memory(self.own.device)
            return True
        return False

    @contextmanager
    def run(self) -> Generator[None]:
        """Leave what is held as it was loaded after a ``with`` block, whatever happens within."""
        self._restore()
        try:
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        if self._held is not None:
            self._held.parts.checkpoint.journal.restore()

    @contextmanager
    def ready(self, path: Path, *, quick: bool, tiles: bool) -> Generator[EngineContext]:
        """Have a model that is not the engine's own ready within a ``with`` block.

        Args:
            path: Its file or folder.
            quick: Whether sums may be made in another order, which is quicker.
            tiles: Whether its VAE works in tiles.
        """
        held = self._at(path)
        checkpoint = held.parts.checkpoint
        journal = checkpoint.journal
        with ExitStack() as blocks:
            if quick and not self._opening.compile:
                blocks.enter_context(
                    use_onednn(checkpoint.unet, packed=held.packed, journal=journal)
                )
            blocks.enter_context(vae_tiling(*[checkpoint.vae] * tiles, journal=journal))
            yield held.parts

    def _at(self, path: Path) -> _Held:
        state = measure(path)
        held = self._held
        if held is None or (held.path, held.state) != (path, state):
            del held
            self.forget()
            held = self._held = self._opened(path, state)
        return held

    def _opened(self, path: Path, state: tuple[int, int] | None) -> _Held:
        own, device = self.own, self.own.residence.home
        free = free_bytes(device)
        message = f"no room on {device} for {path.name} beside {own.checkpoint.path.name}"
        remedy = "free memory, or go without refiner and hires checkpoint"
        # Half of the file may be a VAE or weights of another precision, so this is what is hopeless.
        if free is not None and state is not None and state[1] // 2 > free:
            raise OutOfMemoryError(f"{message}; {remedy}")
        try:
            with translate_oom(device):
                checkpoint = self._opening.open(path, own.registry, device)
        except OutOfMemoryError:
            raise OutOfMemoryError(f"{message}; {remedy}") from None
        parts = EngineContext(
            checkpoint=checkpoint,
            registry=own.registry,
            networks=NetworkCache(checkpoint.unet, *checkpoint.text_encoders, home=device),
            embeddings=own.embeddings,
            encodings=encoding_cache(),
            upscalers=own.upscalers,
            residence=own.residence,
        )
        room = free_bytes(device) if own.stays and not self._opening.compile else None
        return _Held(
            path, state, parts, pack_conv_weights(checkpoint.unet, checkpoint.vae, room=room)
        )


class ModelInUse:
    """The model that a batch is at: the engine's own, or a further one in its place.

    As a context manager it goes back to the engine's own in the end.

    Args:
        further: The engine's.
        quick: See :meth:`FurtherModels.ready`.
        tiles: Likewise.

    Attributes:
        parts: The model.
    """

    def __init__(self, further: FurtherModels, *, quick: bool, tiles: bool) -> None:
        self._further = further
        self._how: Callable[[Path], AbstractContextManager[EngineContext]] = lambda path: (
            further.ready(path, quick=quick, tiles=tiles)
        )
        self._blocks = ExitStack()
        self._path: Path | None = None
        self.parts = further.own
        self._uses: list[ModelUse] = []
        self._running: Callable[[], ModelUse] | None = None

    @property
    def uses(self) -> tuple[ModelUse, ...]:
        """What each model did so far."""
        running = [] if self._running is None else [self._running()]
        return tuple(use for use in (*self._uses, *running) if use.calls)

    def begin(self, stage: Literal["first", "hires"], batch: int, model: CFGDenoiser) -> None:
        """Count what the model at work is asked from now on.

        Args:
            stage: The pass.
            batch: Of which batch, from 0.
            model: The denoiser, which counts its calls.
        """
        self._pause()
        path, before = self.path, model.calls
        self._running = lambda: ModelUse(path.stem, path, stage, batch, model.calls - before)

    def _pause(self) -> None:
        self._uses, self._running = list(self.uses), None

    @property
    def path(self) -> Path:
        """The file of the model."""
        return self.parts.checkpoint.path

    def is_at(self, path: Path) -> bool:
        """Return whether a file is that of the model at work."""
        return path == self._path or (self._path is None and self._further.is_own(path))

    def change_to(self, path: Path | None) -> None:
        """Let another model take the place of the one at work.

        The one before is given up first, so that no more than one is here beside the engine's own.

        Args:
            path: Its file or folder; None for the engine's own model.

        Raises:
            CheckpointError: It cannot be loaded.
            OutOfMemoryError: The device has no room for it.
        """
        if path is not None and self._further.is_own(path):
            path = None
        if path == self._path:
            return
        self._pause()
        self._path, self.parts = None, self._further.own
        self._blocks.close()
        if path is not None:
            self.parts = self._blocks.enter_context(self._how(path))
            self._path = path

    def __enter__(self) -> ModelInUse:
        return self

    def __exit__(self, *_: object) -> None:
        self.change_to(None)
