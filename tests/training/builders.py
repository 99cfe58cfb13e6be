"""A small set of images, and trainings on the tiny checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promptengine import Engine, TrainingConfig, TrainingFiles, TrainingResult, train_hypernetwork
from promptengine.networks.hypernetwork.module import HypernetworkSettings

NETWORK = HypernetworkSettings(
    activation="relu", activate_output=False, use_dropout=True, dropout_structure=(0, 0.1, 0)
)


def make_images(folder: Path, size: tuple[int, int] = (80, 64)) -> Path:
    """Three images whose names are captions; one has its caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number, name in enumerate(("01-red cat, snow", "02-blue dog, night", "03-fox")):
        pixels = np.full((size[1], size[0], 3), [40 * number, 120, 200 - 60 * number], np.uint8)
        pixels[20:40] = random.integers(0, 255, (20, size[0], 3))
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "03-fox.txt").write_text("a green fox (in rain:1.2)", encoding="utf-8")
    return folder


def config(root: Path, **changes: Any) -> TrainingConfig:
    """A quick training: six steps of one image, with dropout."""
    data = root / "data" if (root / "data").is_dir() else make_images(root / "data")
    quick = TrainingConfig(
        data=data,
        network=NETWORK,
        steps=6,
        learning_rate="1e-3",
        width=64,
        height=64,
        seed=1,
    )
    return replace(quick, **changes)


def files(root: Path, name: str = "ink", **changes: Any) -> TrainingFiles:
    """Where a quick training writes: ``root/NAME.pt`` and ``root/NAME/``."""
    quick = TrainingFiles(output=root / f"{name}.pt", folder=root / name, save_every=2)
    return replace(quick, **{"name": "ink", **changes})


def train(engine: Engine, root: Path, name: str = "ink", **options: Any) -> TrainingResult:
    """Run a quick training; ``config`` and ``files`` may be given."""
    asked = options.pop("config", None) or config(root)
    places = options.pop("files", None) or files(root, name)
    return train_hypernetwork(engine, asked, places, **options)
