"""The training of a hypernetwork from its first step, or from where an earlier run stopped."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor

from promptengine.accel.offload import require_resident
from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import RequestError, TrainingError
from promptengine.files.atomic import remove_parts
from promptengine.generation.engine import Engine
from promptengine.images import draw_sheet, save_png
from promptengine.networks.attention import attention_widths
from promptengine.networks.hypernetwork.files import load_hypernetwork, require_writable
from promptengine.networks.hypernetwork.init import init_weights
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.request.ranges import drawn_seed
from promptengine.request.request import GenerationRequest
from promptengine.training.captions import fill_template, template_lines
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.dataset import Batch, TrainingImage, batches, find_images
from promptengine.training.latent_cache import prepare_examples
from promptengine.training.metrics import append_losses, cut_losses, draw_losses
from promptengine.training.resume_check import check_resumable, resume_fingerprint
from promptengine.training.rng import derived_seed
from promptengine.training.snapshots import (
    RunState,
    Snapshot,
    discard,
    newest_snapshot,
    restore,
    save_named,
    save_snapshot,
    thin_out,
    write_json,
)
from promptengine.training.step import TrainStep
from promptengine.undo import UndoLog
from promptengine.validation import check_type
from promptengine.version import __version__

__all__ = ["TrainingProgress", "TrainingResult", "train_hypernetwork"]

_MEMORY: Final = 50
"""Steps over which the smoothed loss forgets."""
_JUDGED_FROM: Final = 25
"""Steps after which the smoothed loss is sure enough to stop a run."""
_EXPLODED: Final = 2.0
_GOOD: Final = 1.5
"""Smoothed loss over the initial one: from the first on a run is stopped, up to the second its
weights count as good."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        step: Steps done, earlier runs' included.
        steps: Steps asked for.
        epoch: How often all images were seen.
        loss: Of this step.
        smoothed_loss: Mean loss, recent steps counting more.
        learning_rate: Of this step.
        seconds_left: An estimate.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    smoothed_loss: float
    learning_rate: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The results of a training.

    Attributes:
        path: The finished network, or the newest snapshot of a cancelled run (None where it was
            cancelled before its first step).
        step: Steps done.
        smoothed_loss: At the end; NaN before the first step.
        finished: Whether all steps were done. If not, the same call goes on from here.
    """

    path: Path | None
    step: int
    smoothed_loss: float
    finished: bool


OnTrainingStep = Callable[[TrainingProgress], None]
OnTrainingFile = Callable[[Path], None]
OnTrainingWarning = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Run:
    """A training under way.

    Attributes:
        engine: Makes previews.
        lesson: Takes the steps.
        files: Where to write.
        state: Where the run stands.
        good: Copies of the last weights that were measured to be good.
        good_step: Their step.
        snapshot: The newest one.
        bare: Previews without the network, once drawn.
    """

    engine: Engine
    lesson: TrainStep
    files: TrainingFiles
    state: RunState
    good: dict[str, Tensor]
    good_step: int
    snapshot: Snapshot | None
    on_file: OnTrainingFile | None
    bare: tuple[Image.Image, ...] = ()


def train_hypernetwork(
    engine: Engine,
    config: TrainingConfig,
    files: TrainingFiles,
    *,
    restart: bool = False,
    on_step: OnTrainingStep | None = None,
    on_file: OnTrainingFile | None = None,
    on_warning: OnTrainingWarning | None = None,
    cancel: threading.Event | None = None,
) -> TrainingResult:
    """Train a hypernetwork, or go on with its training.

    A run whose folder holds snapshots goes on from the newest complete one. However often it was
    stopped, killed included, the result is that of a run without a stop: on a CPU, with the same
    libraries and number of threads, bit for bit. The base model is left as it is; until this
    returns, nothing else may use the engine.

    Args:
        engine: With the model to train on, its UNet in float32 or bfloat16.
        config: What decides the result.
        files: Where to write.
        restart: Start over, and replace what is there under this name.
        on_step: Called after every step. What it raises stops the training and is passed on.
        on_file: Called with each snapshot, preview and finished network once it is written.
        on_warning: Called with one line about images that cannot be read and are left out; by default it
            is a Python warning.
        cancel: Set it from anywhere to stop between two steps; the state is then saved.

    Returns:
        Where the network is, and whether it is finished.

    Raises:
        TrainingError: The data cannot be used; the run to go on with had other settings; there is
            a network of that name which is not this run's; or the loss, the gradients or the
            weights exploded, in which case the last good weights are in ``files.output``.
        RequestError: A setting that does not fit the model, or parts of it leave its device.
        NetworkFormatError: ``files.output`` is a ``.pt``, which has no place for the transform.
        OSError: A file cannot be read or written.
    """
    check_type("engine", engine, Engine)
    check_type("config", config, TrainingConfig)
    check_type("files", files, TrainingFiles)
    require_resident(engine.residence, "training")
    images = find_images(config, on_warning=on_warning)
    run = _opened(engine, config, files, images, restart=restart, on_file=on_file)
    lesson, state = run.lesson, run.state
    order = batches(
        lesson.material.buckets,
        lesson.config.batch_size,
        seed=lesson.config.seed,
        start=state.batches,
    )
    begun, first = time.monotonic(), state.step
    with _checkpointing(engine.checkpoint.unet, enabled=config.gradient_checkpointing):
        while run.state.step < config.steps:
            if cancel is not None and cancel.is_set():
                return _stopped(run)
            epoch, loss = _take_step(run, order)
            state = run.state
            rate = lesson.config.rates.at(state.step)
            row = (state.step, epoch, loss, state.smoothed_loss, rate)
            append_losses(files.folder / "loss.csv", [row])
            if on_step is not None:
                pace = (time.monotonic() - begun) / (state.step - first)
                left = pace * (config.steps - state.step)
                on_step(TrainingProgress(state.step, config.steps, *row[1:], left))
            _write_what_is_due(run)
    return _finished(run)


def _opened(
    engine: Engine,
    config: TrainingConfig,
    files: TrainingFiles,
    images: Sequence[TrainingImage],
    *,
    restart: bool,
    on_file: OnTrainingFile | None,
) -> _Run:
    """Prepare everything up to the first step of this call."""
    dtype = next(engine.checkpoint.unet.parameters()).dtype
    if dtype == torch.float16:
        raise TrainingError("float16 loses small gradients; open the model in bfloat16 or float32")
    require_writable(config.network, files.output)
    snapshots, suffix = files.folder / "snapshots", files.output.suffix
    found = None if restart else newest_snapshot(snapshots, files.name, suffix)
    if found is None and files.output.exists() and not restart:
        message = f"{files.output} exists, and no run that could go on left it; restart replaces it"
        raise TrainingError(message)
    config = _resolved(config, engine.checkpoint, found)
    digest = engine.registry.digests.of(engine.checkpoint.path)
    name = str(dtype).removeprefix("torch.")
    settings = resume_fingerprint(config, images, name=files.name, checkpoint=digest, dtype=name)
    files = _with_prompt(files, config, images[0].caption)
    if found is not None:
        check_resumable(found.state.settings, settings, step=found.state.step)
    network = _new_network(config, engine.checkpoint, digest, files.name)
    network = network.to(engine.device).train()
    lesson = TrainStep(
        engine.checkpoint,
        config,
        prepare_examples(engine.checkpoint, config, images, name=files.name),
        network,
        torch.optim.AdamW(network.parameters()),
    )
    if restart:
        discard(snapshots, files.name, suffix)
    for folder in (snapshots, files.folder / "previews", files.output.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (snapshots, files.folder / "previews", files.folder):
        remove_parts(folder, older_than=0)
    cut_losses(files.folder / "loss.csv", found.state.step if found else 0)
    write_json(files.folder / "settings.json", _told(config, engine.checkpoint, settings))
    if found is None:
        state = RunState(0, 0, math.nan, lesson.probe(), 0, math.nan, settings)
    else:
        restore(found, network, lesson.optimizer)
        state = replace(found.state, settings=settings)
    good = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    return _Run(engine, lesson, files, state, good, state.step, found, on_file)


def _with_prompt(files: TrainingFiles, config: TrainingConfig, caption: str) -> TrainingFiles:
    """Work out prompt and seed of the previews where the caller left them open."""
    request = files.preview
    if request is None:
        return files
    prompt = fill_template(template_lines(config.template)[0], name=files.name, caption=caption)
    seed = config.seed if request.seed == -1 else request.seed
    return replace(files, preview=replace(request, prompt=request.prompt or prompt, seed=seed))


def _resolved(
    config: TrainingConfig, checkpoint: Checkpoint, found: Snapshot | None
) -> TrainingConfig:
    """Work out what the caller left to the checkpoint, to chance, or to the run to go on with."""
    seed = config.seed
    if seed == -1:
        seed = found.state.settings["seed"] if found else drawn_seed(seed)
    read = attention_widths(checkpoint.unet)
    ordered = ([] if read.text is None else [read.text]) + sorted(read.image - {read.text})
    widths = config.widths or tuple(ordered)
    for width in widths:
        if width not in read.all:
            known = ", ".join(map(str, ordered))
            message = f"width {width} is none that this model reads; it reads {known}"
            raise RequestError(message, field="widths")
    size = checkpoint.native_size
    width, height = (config.width or size, config.height or size) if config.resize else (None, None)
    return replace(config, seed=seed, widths=widths, width=width, height=height)


def _new_network(
    config: TrainingConfig, checkpoint: Checkpoint, digest: str, name: str
) -> Hypernetwork:
    try:
        network = Hypernetwork(
            config.widths or (),
            name=name,
            settings=config.network,
            sd_checkpoint=digest[:10],
            sd_checkpoint_name=checkpoint.path.stem,
        )
    except ValueError as failure:
        raise RequestError(f"no network can be built: {failure}", field="network") from None
    return init_weights(network, derived_seed(config.seed, "weights", 0))


def _take_step(run: _Run, order: Iterator[Batch]) -> tuple[int, float]:
    """Take a step, or raise where the numbers have exploded; return its epoch and loss."""
    lesson, before = run.lesson, run.state
    step = before.step + 1
    taken = list(islice(order, lesson.config.accumulation))
    loss, norm = lesson.differentiate(taken)
    share = 1.0 if step == 1 else max(1 / step, 1 / _MEMORY)
    smoothed = loss if step == 1 else before.smoothed_loss + share * (loss - before.smoothed_loss)
    if not math.isfinite(loss):
        raise _exploded(run, step, f"the loss became {loss}")
    if not math.isfinite(norm):
        raise _exploded(run, step, f"the norm of the gradients became {norm}")
    if step >= _JUDGED_FROM and smoothed > _EXPLODED * before.initial_loss:
        change = f"from {before.initial_loss:.3g} before the first step to {smoothed:.3g}"
        raise _exploded(run, step, f"the smoothed loss rose {change}")
    if smoothed <= _GOOD * before.initial_loss:
        for key, tensor in lesson.network.state_dict().items():
            run.good[key].copy_(tensor)
        run.good_step = before.step
    lesson.update(step)
    run.state = replace(
        before, step=step, batches=before.batches + len(taken), smoothed_loss=smoothed
    )
    return taken[0].epoch, loss


def _write_what_is_due(run: _Run) -> None:
    """Write preview and snapshot; the snapshot last, so that a killed run leaves no gap."""
    step, files = run.state.step, run.files
    last = step == run.lesson.config.steps
    if files.preview is not None and (last or _is_due(step, files.preview_every)):
        _preview(run, files.preview)
    if last or _is_due(step, files.save_every):
        _snapshot(run)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _snapshot(run: _Run) -> None:
    lesson, files, state = run.lesson, run.files, run.state
    if not lesson.is_finite():
        raise _exploded(run, state.step, "the weights became infinite")
    if state.best_step == 0 or state.smoothed_loss < state.best_loss:
        state = replace(state, best_step=state.step, best_loss=state.smoothed_loss)
    folder, suffix = files.folder / "snapshots", files.output.suffix
    path = folder / f"{files.name}-{state.step}{suffix}"
    run.state = state
    run.snapshot = save_snapshot(lesson.network, lesson.optimizer, state, path)
    thin_out(run.snapshot, files.name, keep=files.keep)
    _plot(files)
    _tell(run, path)


def _plot(files: TrainingFiles) -> None:
    save_png(draw_losses(files.folder / "loss.csv", files.name), files.folder / "loss.png")


def _preview(run: _Run, request: GenerationRequest) -> None:
    """Draw the same noise with and without the network."""
    files, network, step = run.files, run.lesson.network, run.state.step
    if not run.bare:
        run.bare = run.engine.generate(request).images
    network.eval()
    with inject_hypernetworks(run.engine.checkpoint.unet, [(network, 1.0)]):
        result = run.engine.generate(request)
    network.train()
    grid = draw_sheet(
        [run.bare, result.images],
        [f"without {files.name}", f"with {files.name}, step {step}"],
        [f"seed {seed}" for seed in result.seeds],
    )
    path = files.folder / "previews" / f"{files.name}-{step}.png"
    save_png(grid, path)
    _tell(run, path)


def _stopped(run: _Run) -> TrainingResult:
    if run.state.step and (run.snapshot is None or run.snapshot.state.step < run.state.step):
        _snapshot(run)
    path = run.snapshot.path if run.snapshot else None
    return TrainingResult(path, run.state.step, run.state.smoothed_loss, finished=False)


def _finished(run: _Run) -> TrainingResult:
    _write_output(run, run.state.step)
    step, loss = run.state.step, run.state.smoothed_loss
    return TrainingResult(run.files.output, step, loss, finished=True)


def _write_output(run: _Run, step: int) -> None:
    output, lesson = run.files.output, run.lesson
    told = _told(lesson.config, lesson.checkpoint, run.state.settings)
    save_named(lesson.network, output, step)
    write_json(output.with_name(f"{output.stem}.training.json"), {**told, "step": step})
    _tell(run, output)


def _exploded(run: _Run, step: int, reason: str) -> TrainingError:
    """Write the last good weights, and make the error that says so."""
    good = _rescued(run)
    _write_output(run, good)
    _plot(run.files)
    rate = run.lesson.config.rates.at(step)
    return TrainingError(
        f"stopped at step {step} (learning rate {rate:g}): {reason}; the last good weights, of "
        f"step {good}, are in {run.files.output}; lower the learning rate, and restart",
        path=run.files.output,
        step=good,
    )


def _rescued(run: _Run) -> int:
    """Give the network the newest weights that measure up to the initial loss; return their step."""
    for step, weights in _candidates(run):
        run.lesson.network.load_state_dict(weights)
        if step == 0 or run.lesson.probe() <= _GOOD * run.state.initial_loss:
            return step
    raise AssertionError("the initial weights are always good")


def _candidates(run: _Run) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield weights that may be good with their steps, the initial ones last."""
    yield run.good_step, run.good
    lesson, files, best = run.lesson, run.files, run.state.best_step
    path = files.folder / "snapshots" / f"{files.name}-{best}{files.output.suffix}"
    if best and path.exists():
        yield best, load_hypernetwork(path).state_dict()
    digest = run.state.settings["checkpoint"]
    yield 0, _new_network(lesson.config, lesson.checkpoint, digest, files.name).state_dict()


def _told(
    config: TrainingConfig, checkpoint: Checkpoint, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything worth knowing about a run, for its JSON file."""
    asked = dataclasses.asdict(config)
    asked |= {"data": str(config.data), "template": str(config.template)}
    inputs = ("name", "checkpoint", "dtype", "images", "template")
    return {
        "promptengine": __version__,
        "torch": torch.__version__,
        "checkpoint": str(checkpoint.path),
        "settings": asked,
        "inputs": {key: settings[key] for key in inputs},
    }


def _tell(run: _Run, path: Path) -> None:
    if run.on_file is not None:
        run.on_file(path)


@contextmanager
def _checkpointing(unet: Any, *, enabled: bool) -> Generator[None]:
    """Let the UNet forget activations and compute them again in the backward pass."""
    # Previews are runs of their own within this block, so it stands alone.
    with UndoLog().block() as changes:
        if enabled:
            for module in unet.modules():
                changes.note(module, "gradient_checkpointing", "_gradient_checkpointing_func")
            unet.enable_gradient_checkpointing()
        yield
