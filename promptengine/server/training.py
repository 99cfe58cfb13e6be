"""The training that a server does at the request of its clients, one at a time, in the background."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from promptengine.accel.memory import release_memory, translate_oom
from promptengine.checkpoints.resolve import resolve_device
from promptengine.errors import PromptEngineError, RequestError
from promptengine.files.atomic import write_new
from promptengine.generation.engine import Engine
from promptengine.kinds import HYPERNETWORK
from promptengine.registry.registry import Registry, folders_below
from promptengine.server.config import ServerConfig
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.worker import Model
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import TrainingProgress, train_hypernetwork
from promptengine.training.metrics import read_losses
from promptengine.training.options import TrainingOptions
from promptengine.training.snapshots import newest_snapshot

__all__ = [
    "DataFolder",
    "LossPoint",
    "Trainer",
    "TrainingImage",
    "TrainingOrder",
    "TrainingState",
    "TrainingView",
]

TrainingState = Literal[
    "none", "preparing", "training", "stopping", "finished", "stopped", "failed"
]

LossPoint = tuple[int, float, float]
"""Step, loss and smoothed loss."""

_MOST_POINTS: Final = 400
_MOST_PREVIEWS: Final = 8
_LONGEST_NAME: Final = 100
"""Bytes of a name, to which files add numbers and suffixes."""

_IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_PREVIEW: Final = re.compile(r"-(\d+)\.png\Z")

_log = logging.getLogger("promptengine.server")


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """An image that a client sent to train with.

    Attributes:
        data: Its file.
        suffix: What fits the file, with its dot.
        caption: What it shows.
    """

    data: bytes
    suffix: str
    caption: str


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What is to be trained.

    Attributes:
        name: Of the network.
        options: How.
        model: What it is trained on.
        folder: The name of a folder of images below the server's, or None.
        images: Those that were sent; empty where there is a folder, or a run goes on with its own.
        resume: Whether a run of this name goes on.
        overwrite: Whether what is there under this name may be replaced.
    """

    name: str
    options: TrainingOptions
    model: Model
    folder: str | None = None
    images: tuple[TrainingImage, ...] = ()
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Where the training is.

    Attributes:
        state: What it does.
        name: Of the network; empty where there was no training yet.
        steps: Asked for.
        progress: Of the last step, or None before the first.
        points: Losses, thinned out where they are many.
        previews: Steps of the last previews.
        notes: What else is to be said, such as images that are left out.
        error: Why it failed; empty where it did not.
    """

    state: TrainingState = "none"
    name: str = ""
    steps: int = 0
    progress: TrainingProgress | None = None
    points: tuple[LossPoint, ...] = ()
    previews: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether more will come."""
        return self.state in ("preparing", "training", "stopping")


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A folder of images that lies on the server.

    Attributes:
        name: As an order has it.
        images: How many it holds.
    """

    name: str
    images: int


@dataclass(slots=True, eq=False)
class Trainer:
    """Trains in a thread of its own, with an engine of its own, so that images can be made meanwhile.

    Data sets lie in ``data/NAME`` of the server's folder of trainings, and what a run leaves in ``runs/NAME``.
    Threads may share it.

    Attributes:
        config: The server's settings.
        registry: Where networks are found.
    """

    config: ServerConfig
    registry: Registry
    _view: TrainingView = field(default_factory=TrainingView)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listeners: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    @property
    def view(self) -> TrainingView:
        """Where the training is."""
        return self._view

    def start(self, order: TrainingOrder) -> None:
        """Begin a training, or go on with one.

        Raises:
            RequestError: It cannot be done so; names the field.
            Refusal: 409, where another training goes on or the name is taken.
            OSError: The images cannot be written.
        """
        before = self._reserved(order)
        try:
            config, files = self._prepared(order)
        except BaseException:
            self._change(lambda _: before)
            raise
        points = _earlier_points(files.folder) if order.resume else ()
        self._change(lambda view: replace(view, points=points))
        with self._lock:
            self._thread = threading.Thread(
                target=self._train,
                args=(order, config, files, self._stop),
                name="trainer",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Let the step end and save the state; the training can go on from there."""

        def stopping(view: TrainingView) -> TrainingView:
            if not view.goes_on:
                return view
            self._stop.set()
            return replace(view, state="stopping")

        self._change(stopping)

    def close(self, grace_s: float) -> None:
        """Stop for good; wait some seconds for the state to be saved."""
        with self._lock:
            self._closed = True
        self.stop()
        if self._thread is not None:
            self._thread.join(grace_s)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, on some thread, after every change."""
        with self._lock:
            self._listeners.append(listener)

    def ignore(self, listener: Callable[[], None]) -> None:
        """Have a function called no longer."""
        with self._lock:
            self._listeners.remove(listener)

    def data_folders(self) -> list[DataFolder]:
        """List the folders of images, by name; what a link leads to elsewhere is none."""
        root = self.config.training / "data"
        try:
            home, found = root.resolve(), sorted(root.iterdir())
        except OSError:
            return []
        return [
            DataFolder(path.name, _image_count(path))
            for path in found
            if not path.name.startswith(".")
            and path.is_dir()
            and path.resolve() == home / path.name
        ]

    def preview(self, step: int) -> Path | None:
        """Return the file of a preview that the view names; None where it names none."""
        view = self._view
        return (
            self._run_folder(view.name) / "previews" / f"{view.name}-{step}.png"
            if step in view.previews
            else None
        )

    def _reserved(self, order: TrainingOrder) -> TrainingView:
        """Take the place of the one training; return the view before it."""
        with self._lock:
            if self._closed:
                raise HTTPRefusal("the server is stopping", status=503, retry_after_s=30)
            before = self._view
            if before.goes_on:
                message = f"{before.name!r} is being trained; stop it, or wait until it is finished"
                raise HTTPRefusal(message, status=409)
            self._view = TrainingView("preparing", order.name, order.options.steps)
            self._stop = threading.Event()
        self._tell()
        return before

    def _prepared(self, order: TrainingOrder) -> tuple[TrainingConfig, TrainingFiles]:
        """Check an order and write the images that came with it."""
        length = len(order.name.encode())
        if not 1 <= length <= _LONGEST_NAME:
            message = f"name has {length} bytes; it must have 1 to {_LONGEST_NAME}"
            raise RequestError(message, field="name")
        options, run = order.options, self._run_folder(order.name)
        output = self._network_folder() / f"{order.name}{options.suffix}"
        # Names are checked where files are named, so this comes before any path is used.
        files = options.files(output, run, order.name)
        if not run.resolve().is_relative_to(self.config.training.resolve()):
            raise RequestError("a link leads out of the folder of trainings", field="name")
        own = run / "images"
        config = options.config(own if order.folder is None else self._data(order.folder))
        self._check_name(order, files)
        if order.images:
            _keep_images(order.images, own)
        elif order.folder is None and not _image_count(own):
            raise RequestError("images is empty; send some, or name a folder", field="images")
        return config, files

    def _check_name(self, order: TrainingOrder, files: TrainingFiles) -> None:
        """Refuse to replace what is there, or to go on with what is not."""
        name, output = order.name, files.output
        other = self.registry.find(HYPERNETWORK.name, name)
        if other is not None and other.path.absolute() != output.absolute():
            message = f"{name!r} is a network of another file; choose another name"
            raise _taken(message)
        snapshot = newest_snapshot(files.folder / "snapshots", name, output.suffix)
        if order.resume and snapshot is None:
            raise RequestError(f"no training of {name!r} can go on; start one", field="resume")
        if order.resume or order.overwrite:
            return
        if snapshot is not None:
            message = f"a training of {name!r} is there; resume it, or overwrite it"
            raise _taken(message)
        if output.exists():
            raise _taken(f"a network {name!r} is there; choose another name, or overwrite it")

    def _data(self, folder: str) -> Path:
        """Return the place of a folder; only names of the list have one."""
        if folder not in {one.name for one in self.data_folders()}:
            raise RequestError(f"no folder of images {folder[:100]!r}", field="folder")
        return self.config.training / "data" / folder

    def _run_folder(self, name: str) -> Path:
        return self.config.training / "runs" / name

    def _network_folder(self) -> Path:
        models = self.config.models
        below = models if isinstance(models, Mapping) else folders_below(models)
        folders = below.get(HYPERNETWORK.name)
        if not folders:
            raise RequestError("no folder is set for hypernetworks", field="name")
        return Path(folders[0])

    def _train(
        self,
        order: TrainingOrder,
        config: TrainingConfig,
        files: TrainingFiles,
        stop: threading.Event,
    ) -> None:
        device = resolve_device(self.config.devices[-1])
        try:
            with translate_oom(device):
                result = train_hypernetwork(
                    self._engine(order.model),
                    config,
                    files,
                    restart=order.overwrite,
                    on_step=self._on_step,
                    on_file=self._on_file,
                    on_warning=self._note,
                    cancel=stop,
                )
        except PromptEngineError as error:
            self._end("failed", str(error))
        except OSError as error:
            self._end("failed", error.strerror or "a file cannot be read or written")
        except Exception as error:  # noqa: BLE001 - whatever ends the thread must not end in silence
            _log.error("training failed", exc_info=error)
            self._end("failed", "the training failed inside the server; its log says why")
        else:
            self._end("finished" if result.finished else "stopped")
        finally:
            release_memory(device)

    def _engine(self, model: Model) -> Engine:
        config = self.config
        # float16 is too coarse for gradients, and not every device knows bfloat16.
        return Engine.open(
            model.checkpoint,
            self.registry,
            config=config.model_config,
            device=config.devices[-1],
            dtype="bfloat16" if config.dtype == "bfloat16" else "float32",
            vae=model.vae,
            offload="none",
        )

    def _end(self, state: TrainingState, error: str = "") -> None:
        # The new network is to be found by the next prompt that names it.
        self.registry.refresh()
        self._change(lambda view: replace(view, state=state, error=error))

    def _on_step(self, progress: TrainingProgress) -> None:
        point = (progress.step, progress.loss, progress.smoothed_loss)

        def stepped(view: TrainingView) -> TrainingView:
            state = "training" if view.state == "preparing" else view.state
            # A run that was killed goes on before its last steps.
            earlier = [one for one in view.points if one[0] < progress.step]
            points = _thinned([*earlier, point])
            return replace(view, state=state, progress=progress, points=points)

        self._change(stepped)

    def _on_file(self, path: Path) -> None:
        if found := _PREVIEW.search(path.name):
            step = int(found[1])
            self._change(
                lambda view: replace(view, previews=(*view.previews, step)[-_MOST_PREVIEWS:])
            )

    def _note(self, text: str) -> None:
        self._change(lambda view: replace(view, notes=(*view.notes, text)))

    def _change(self, change: Callable[[TrainingView], TrainingView]) -> None:
        with self._lock:
            self._view = change(self._view)
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener()
            except RuntimeError:
                # The event loop of whoever listened has been closed since.
                _log.debug("nobody listens to the training any more")


def _taken(message: str) -> HTTPRefusal:
    refusal = HTTPRefusal(message, status=409)
    refusal.field = "name"
    return refusal


def _thinned(points: Sequence[LossPoint]) -> tuple[LossPoint, ...]:
    """Leave every second point out where there are too many; the last one stays."""
    while len(points) > _MOST_POINTS:
        points = [*points[:-1][::2], points[-1]]
    return tuple(points)


def _earlier_points(folder: Path) -> tuple[LossPoint, ...]:
    """Return the losses of a run that goes on, as far as they can be read."""
    try:
        rows = read_losses(folder / "loss.csv")
    except (OSError, ValueError):
        return ()
    return _thinned([(step, loss, smoothed) for step, _, loss, smoothed, _ in rows])


def _image_count(folder: Path) -> int:
    try:
        return sum(path.suffix.lower() in _IMAGES for path in folder.iterdir())
    except OSError:
        return 0


def _keep_images(images: Sequence[TrainingImage], folder: Path) -> None:
    """Write images with captions under names of our own, in place of those of an earlier run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, image in enumerate(images, 1):
        write_new(folder / f"{number:04}{image.suffix}", image.data)
        write_new(folder / f"{number:04}.txt", image.caption.encode())
