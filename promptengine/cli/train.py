"""The command behind ``promptengine train hypernetwork``: options in, progress and files out."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar

from promptengine.cli.generate import open_engine
from promptengine.cli.render import printable
from promptengine.errors import RequestError
from promptengine.generation.engine import Precision
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.registry.open_models import Models
from promptengine.request.request import GenerationRequest
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import TrainingProgress, train_hypernetwork

__all__ = ["run"]


def run(options: argparse.Namespace, folders: Models) -> int:
    """Train as the options say.

    The first interrupt lets the step end and saves the state; a second one ends at once.

    Returns:
        0 when all steps are done, 130 where the user interrupted.

    Raises:
        PromptEngineError: As :func:`promptengine.training.loop.train_hypernetwork` does.
        OSError: A file cannot be read or written.
    """
    config = _config(options)
    files = _files(options)
    engine = open_engine(options, folders, dtype=_dtype(options))
    with _interruptible() as cancel, _shown(config.steps) as (on_step, on_file):
        result = train_hypernetwork(
            engine,
            config,
            files,
            restart=options.restart,
            on_step=on_step,
            on_file=on_file,
            on_warning=lambda told: print(printable(f"warning: {told}"), file=sys.stderr),
            cancel=cancel,
        )
    if result.finished:
        print(f"trained for {result.step} steps, smoothed loss {result.smoothed_loss:.4g}")
        return 0
    saved = f", saved as {result.path}" if result.path else ""
    told = f"interrupted at step {result.step}{saved}; the same command goes on from there"
    print(printable(told), file=sys.stderr)
    return 130


def _config(options: argparse.Namespace) -> TrainingConfig:
    return TrainingConfig(
        data=options.data,
        network=_network(options),
        widths=None if options.widths is None else _widths(options.widths),
        steps=options.steps,
        learning_rate=options.learning_rate,
        clipping=options.clipping,
        clip_at=options.clip_at,
        batch_size=options.batch_size,
        accumulation=options.accumulation,
        width=options.width,
        height=options.height,
        resize=not options.no_resize,
        template=options.template,
        word_pattern=options.word_pattern,
        word_join=options.word_join,
        shuffle_tags=options.shuffle_tags,
        tag_dropout=options.tag_dropout,
        latent_sampling=options.latent_sampling,
        alpha_weights=options.alpha_weights,
        clip_skip=options.clip_skip,
        seed=options.seed,
        gradient_checkpointing=options.gradient_checkpointing,
        strict_data=options.strict_data,
    )


def _network(options: argparse.Namespace) -> HypernetworkSettings:
    structure = _numbers("--layer-structure", options.layer_structure)
    dropout: tuple[float, ...] = (0,) * len(structure)
    if options.dropout_structure is not None:
        dropout = _numbers("--dropout-structure", options.dropout_structure)
    try:
        return HypernetworkSettings(
            structure=structure,
            activation=options.activation,
            weight_init=options.init,
            layer_norm=options.layer_norm,
            activate_output=options.activate_output,
            use_dropout=any(dropout),
            dropout_structure=dropout,
            transform=options.transform,
        )
    except ValueError as error:
        raise RequestError(f"no network can be built: {error}", field="network") from None


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = [float(piece) for piece in text.split(",")]
    except ValueError:
        message = f"{option} {text!r} is no list of numbers such as '1, 2, 1'"
        raise RequestError(message, field=option) from None
    # Whole numbers are written as such, which is how WebUI's files have them.
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def _widths(text: str) -> tuple[int, ...]:
    widths = _numbers("--widths", text)
    if not all(isinstance(width, int) for width in widths) or len({*widths}) < len(widths):
        message = f"--widths {text!r} is no list of different whole numbers such as '320,768'"
        raise RequestError(message, field="widths")
    return tuple(int(width) for width in widths)


def _files(options: argparse.Namespace) -> TrainingFiles:
    folder = options.hypernetwork_dir or options.models / "hypernetworks"
    suffix = ".pt" if options.transform == "key,value" else ".safetensors"
    preview = GenerationRequest(
        prompt=options.preview_prompt,
        seed=options.seed,
        steps=options.preview_steps,
        width=options.width,
        height=options.height,
        batch_size=max(options.preview_count, 1),
        clip_skip=options.clip_skip,
    )
    return TrainingFiles(
        output=options.output or folder / f"{options.name}{suffix}",
        folder=options.log_dir or Path("outputs") / "training" / options.name,
        name=options.name,
        save_every=options.save_every,
        keep=options.keep,
        preview=None if options.preview_count == 0 else preview,
        preview_every=options.preview_every,
    )


def _dtype(options: argparse.Namespace) -> Precision:
    """float16, which inference takes on CUDA, is too coarse for gradients."""
    if options.dtype != "auto":
        return options.dtype
    on_cuda = options.device.startswith("cuda") or options.device == "auto"
    if on_cuda and torch.cuda.is_available() and torch.cuda.is_bf16_supported(False):
        return "bfloat16"
    return "float32"


@contextmanager
def _interruptible() -> Generator[threading.Event]:
    """Give an event that the first interrupt sets; the next one is Python's own."""
    cancel = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, before)

    # Only the main thread may set handlers; elsewhere there is nobody to press a key.
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    signal.signal(signal.SIGINT, on_signal)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _shown(
    steps: int,
) -> Generator[tuple[Callable[[TrainingProgress], None], Callable[[Path], None]]]:
    """A bar over all steps on standard error, and a line on standard output for each file."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    console = Console(stderr=True)
    output = Console(highlight=False)
    with ProgressBar(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("training", total=steps, left="")

        def on_step(progress: TrainingProgress) -> None:
            left = f"{timedelta(seconds=round(progress.seconds_left))} left"
            loss = f"loss {progress.smoothed_loss:.4f}"
            bar.update(task, completed=progress.step, description=loss, left=left)

        def on_file(path: Path) -> None:
            output.print(printable(str(path)), markup=False, soft_wrap=True)

        yield on_step, on_file
