"""Trainings at the request of the page: one at a time, shown as they go on, stopped on request."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from promptengine.errors import RequestError, TrainingError
from promptengine.server.jobs.worker import Model
from promptengine.server.redact import PathRedactor
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.loop import TrainingProgress, TrainingResult
from promptengine.ui import training_job as module
from promptengine.ui.tabs.train import training_html
from promptengine.ui.training_job import Trainer, TrainingView, keep_pictures

MODEL = Model(Path("m.safetensors"), "Automatic")
STEP = TrainingProgress(3, 10, 1, 0.2, 0.25, 1e-5, 61.0)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """One that loads no model."""
    monkeypatch.setattr(Trainer, "_engine", lambda _self, _model: None)
    return Trainer(SimpleNamespace(shown=PathRedactor(())))  # type: ignore[arg-type]


def begin(trainer: Trainer, folder: Path) -> None:
    files = TrainingFiles(output=folder / "ink.pt", folder=folder)
    trainer.start(TrainingConfig(data=folder), files, MODEL)


def over(trainer: Trainer) -> TrainingView:
    deadline = time.monotonic() + 30
    while trainer.view.goes_on:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return trainer.view


def test_a_training_goes_on_until_it_is_stopped(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def train(
        *_arguments: object, on_step: Any, on_file: Any, on_warning: Any, cancel: Any, restart: bool
    ) -> Any:
        on_warning("1 of 4 pictures cannot be read")
        on_step(STEP)
        on_file(tmp_path / "ink-3.png")
        on_file(tmp_path / "ink-3.pt")
        begun.set()
        assert cancel.wait(30)
        return TrainingResult(tmp_path / "ink-3.pt", 3, 0.25, finished=False)

    monkeypatch.setattr(module, "train_hypernetwork", train)
    begin(trainer, tmp_path)
    assert begun.wait(30)
    assert trainer.view.state == "training"
    assert trainer.view.points == ((3, 0.2, 0.25),)
    assert trainer.view.preview == tmp_path / "ink-3.png"
    with pytest.raises(RequestError, match="'ink' is being trained; stop it first"):
        begin(trainer, tmp_path)
    trainer.stop()
    view = over(trainer)
    assert view.state == "stopped"
    assert "stopped after 3 steps" in view.told
    assert "1 of 4 pictures cannot be read" in view.told


def test_a_fault_is_told(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise TrainingError("no pictures <here>")

    monkeypatch.setattr(module, "train_hypernetwork", fail)
    begin(trainer, tmp_path)
    view = over(trainer)
    assert view.state == "failed"
    assert "no pictures &lt;here&gt;" in training_html(view)


def test_where_it_is_is_drawn() -> None:
    html = training_html(TrainingView("training", "ink", STEP, ((3, 0.2, 0.25),)))
    assert "Step 3 of 10 · epoch 1 · 0:01:01 left" in html
    assert "<polyline" in html
    assert "will be drawn here" in training_html(TrainingView())


def test_pictures_are_kept_with_their_captions(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    Image.new("RGB", (8, 8)).save(sent / "a.png")
    for name in ("a.txt", "a.exe"):
        (sent / name).write_text("a cat", encoding="utf-8")
    folder = tmp_path / "kept"
    assert keep_pictures([str(path) for path in sent.iterdir()], folder) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "a.txt"]
    assert keep_pictures([], folder) == 1
    with pytest.raises(RequestError, match="choose the pictures"):
        keep_pictures([], tmp_path / "none")
