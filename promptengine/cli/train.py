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

from promptengine.cli.field_options import given_fields
from promptengine.cli.generate import open_engine
from promptengine.cli.model_folders import folders_of
from promptengine.cli.terminal import printable
from promptengine.generation.engine import Precision
from promptengine.kinds import HYPERNETWORK
from promptengine.training.config import TrainingFiles
from promptengine.training.loop import TrainingProgress, train_hypernetwork
from promptengine.training.options import TrainingOptions

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Train as the options say.

    The first interrupt lets the step end and saves the state; a second one ends at once.

    Returns:
        0 when all steps are done, 130 where the user interrupted.

    Raises:
        PromptEngineError: As :func:`promptengine.training.loop.train_hypernetwork` does.
        OSError: A file cannot be read or written.
    """
    asked = TrainingOptions(**given_fields(options, TrainingOptions))
    config = asked.config(options.data)
    folders = folders_of(options, new=True)
    files = _files(options, asked, _in_short(folders[HYPERNETWORK.name][0]))
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


def _files(options: argparse.Namespace, asked: TrainingOptions, folder: Path) -> TrainingFiles:
    return asked.files(
        options.output or folder / f"{options.name}{asked.suffix}",
        options.log_dir or Path("outputs") / "training" / options.name,
        options.name,
    )


def _in_short(folder: Path) -> Path:
    """Return a folder as people write it who are above it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


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
