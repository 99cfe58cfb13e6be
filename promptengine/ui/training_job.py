"""The training that a server does at the request of its page, one at a time, in the background."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from promptengine.errors import PromptEngineError, RequestError
from promptengine.generation.engine import Engine
from promptengine.server.jobs.worker import Model
from promptengine.server.state import Service
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import TrainingProgress, train_hypernetwork
from promptengine.ui.html.loss_plot import LossPoint, thinned

__all__ = ["Trainer", "TrainingView", "keep_pictures"]

State = Literal["none", "preparing", "training", "stopping", "finished", "stopped", "failed"]

_log = logging.getLogger("promptengine.ui")

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".txt"})


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Where the training is.

    Attributes:
        state: What it does.
        name: Of the network.
        progress: Of the last step, or None before the first.
        points: Losses, thinned.
        preview: The last preview's file, or None.
        told: One line about its end.
    """

    state: State = "none"
    name: str = ""
    progress: TrainingProgress | None = None
    points: tuple[LossPoint, ...] = ()
    preview: Path | None = None
    told: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether more will come."""
        return self.state in ("preparing", "training", "stopping")


@dataclass(slots=True, eq=False)
class Trainer:
    """Trains in a thread of its own, with an engine of its own, so that pictures can be made meanwhile.

    Attributes:
        service: The server's parts.
    """

    service: Service
    _view: TrainingView = field(default_factory=TrainingView)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def view(self) -> TrainingView:
        """Where the training is."""
        return self._view

    def start(
        self, config: TrainingConfig, files: TrainingFiles, model: Model, *, anew: bool = False
    ) -> None:
        """Begin a training, or go on with one of that name unless it shall begin anew.

        Raises:
            RequestError: Another one goes on.
        """
        with self._lock:
            if self._view.goes_on:
                message = f"{self._view.name!r} is being trained; stop it first"
                raise RequestError(message, field="train")
            self._view = TrainingView("preparing", files.name)
            self._stop = threading.Event()
        work = partial(self._train, config, files, model, self._stop, anew=anew)
        threading.Thread(target=work, name="trainer", daemon=True).start()

    def stop(self) -> None:
        """Let the step end, save the state and stop; the same settings go on from there."""
        with self._lock:
            if self._view.goes_on:
                self._view = replace(self._view, state="stopping")
                self._stop.set()

    def _train(
        self,
        config: TrainingConfig,
        files: TrainingFiles,
        model: Model,
        stop: threading.Event,
        *,
        anew: bool,
    ) -> None:
        warned: list[str] = []
        try:
            engine = self._engine(model)
            result = train_hypernetwork(
                engine,
                config,
                files,
                restart=anew,
                on_step=self._on_step,
                on_file=self._on_file,
                on_warning=warned.append,
                cancel=stop,
            )
        except PromptEngineError as error:
            self._change(state="failed", told=self.service.shown.text(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever ends the thread must not end in silence
            _log.error("training failed", exc_info=error)
            self._change(state="failed", told="it failed inside the server, whose log says why")
        else:
            loss = f"smoothed loss {result.smoothed_loss:.4g}"
            told = f"{result.step} steps, {loss}"
            if not result.finished:
                told = f"stopped after {told}; the same settings go on from there"
            told = "; ".join([told, *map(self.service.shown.text, warned)])
            self._change(state="finished" if result.finished else "stopped", told=told)

    def _engine(self, model: Model) -> Engine:
        config = self.service.config
        device = config.devices[-1]
        # float16 is too coarse for gradients, and not every device knows bfloat16.
        dtype = "bfloat16" if config.dtype == "bfloat16" else "float32"
        return Engine.open(
            model.checkpoint,
            self.service.registry,
            config=config.model_config,
            device=device,
            dtype=dtype,
            vae=model.vae,
        )

    def _change(self, **facts: object) -> None:
        with self._lock:
            self._view = replace(self._view, **facts)  # type: ignore[arg-type]

    def _on_step(self, progress: TrainingProgress) -> None:
        point = (progress.step, progress.loss, progress.smoothed_loss)
        with self._lock:
            points = tuple(thinned([*self._view.points, point]))
            state: State = "stopping" if self._stop.is_set() else "training"
            self._view = replace(self._view, state=state, progress=progress, points=points)

    def _on_file(self, path: Path) -> None:
        if path.suffix == ".png":
            self._change(preview=path)


def keep_pictures(uploaded: Sequence[str], folder: Path) -> int:
    """Copy pictures and captions into the folder of a training, which outlives the visit.

    Args:
        uploaded: Files as they were sent.
        folder: Where to; made if it is missing.

    Returns:
        How many pictures there are now.

    Raises:
        RequestError: There is none.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in map(Path, uploaded):
        if path.suffix.lower() in _PICTURES:
            shutil.copyfile(path, folder / path.name)
    count = sum(1 for path in folder.iterdir() if path.suffix.lower() in _PICTURES - {".txt"})
    if not count:
        raise RequestError("choose the pictures to train with", field="data")
    return count
