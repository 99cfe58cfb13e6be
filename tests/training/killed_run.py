"""Trains once without a stop, and once killed again and again.

``python -m tests.training.killed_run DIR SEED KILLS``. Each attempt is a fork of this process, so that
the libraries are loaded once. Prints at which step the state stands after each kill.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from promptengine import Engine
from promptengine.text.tokenizer import tokenize
from promptengine.training import step as lesson
from promptengine.training.snapshots import newest_snapshot
from tests.conftest import CHECKPOINT, CONFIG
from tests.training.builders import config, files, train

STEPS = 8


def attempt(engine: Engine, root: Path, name: str) -> int:
    """Start a training in a fork, and return the number of its process."""
    child = os.fork()
    if child == 0:
        # Whatever goes wrong, a fork must end here and not run on as a second parent.
        try:
            places = files(root, name, save_every=1, keep=2)
            train(engine, root, config=config(root, steps=STEPS, tag_dropout=0.2), files=places)
        finally:
            os._exit(0)
    return child


def reached(folder: Path) -> int:
    """The last step whose snapshot is on the disk, complete or not."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("*.pt")), default=0)


def main() -> None:
    """Run both trainings in the folder that is named."""
    root = Path(sys.argv[1])
    moments = random.Random(int(sys.argv[2]))
    torch.set_num_threads(1)
    config(root)
    lesson._PROBES = 2  # pyright: ignore[reportPrivateUsage]
    engine = Engine.open(CHECKPOINT, models=root / "models", config=CONFIG, device="cpu")
    # What forks would otherwise each build anew.
    tokenize(["a"])
    os.waitpid(attempt(engine, root, "whole"), 0)
    for step in sorted(moments.sample(range(STEPS - 1), int(sys.argv[3]))):
        child = attempt(engine, root, "killed")
        while reached(root / "killed" / "snapshots") < step:
            time.sleep(0.001)
        # Long enough for the next snapshot's files to be half there at times.
        time.sleep(moments.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = newest_snapshot(root / "killed" / "snapshots", "ink", ".pt")
        print(found.state.step if found else 0)
    os.waitpid(attempt(engine, root, "killed"), 0)


if __name__ == "__main__":
    main()
