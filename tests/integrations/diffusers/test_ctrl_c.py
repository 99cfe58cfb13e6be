"""An interrupt at any line where a pipeline's UNet or transformer changes leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from promptengine import PromptProcessor, attach, detach
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import tiny
from tests.checkpoints.transformer_pipelines import sd3_pipeline
from tests.ctrl_c import ends_of_changes, interrupted, lines_around, modules_of, state_of
from tests.networks.builders import random_network

PROMPT = "a cat <hypernet:ink:0.8>"


@pytest.fixture(scope="module")
def pipe() -> Any:
    torch.set_num_threads(1)
    return pipeline(tiny("SD1"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "hypernetworks").mkdir()
    save_hypernetwork(random_network([64, 128, 192]), tmp_path / "hypernetworks" / "ink.pt")
    return tmp_path


def check(
    model: nn.Module, run: Callable[[], object], within: Callable[[Callable[[], None]], None]
) -> None:
    """Interrupt a run wherever it changes the model; ``within`` calls back amid one."""
    modules, seen = modules_of(model), []
    clean = state_of(modules)
    within(lambda: seen.append(state_of(modules)))
    ends = ends_of_changes(clean, seen[0])
    assert "forward" in ends
    lines = lines_around(run, modules, ends)
    assert len(lines) >= 4 * len(ends)
    for line in lines:
        assert interrupted(run, line), line
        assert state_of(modules) == clean, line


def attached(pipe: Any, model: nn.Module, prompt: str, side: int, models: Path) -> None:
    """Interrupt the calls of an attached pipeline."""
    asked = {"num_inference_steps": 1, "height": side, "width": side, "output_type": "latent"}

    def run(**more: Any) -> None:
        pipe(prompt, **asked, **more)

    def within(look: Callable[[], None]) -> None:
        def on_step(_pipe: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            look()
            return values

        run(callback_on_step_end=on_step)

    attach(pipe, models)
    try:
        check(model, run, within)
    finally:
        detach(pipe)


def test_an_attached_pipeline_is_left_as_it_was(pipe: Any, models: Path) -> None:
    attached(pipe, pipe.unet, PROMPT, 64, models)


def test_an_attached_transformer_is_left_as_it_was(models: Path) -> None:
    pipe = sd3_pipeline()
    attached(pipe, pipe.transformer, "a [cat|dog]", 16, models)
    assert "step" not in vars(pipe.scheduler)


def test_networks_held_by_hand_are_taken_out(pipe: Any, models: Path) -> None:
    processor = PromptProcessor(pipe, models)

    def run(look: Callable[[], None] = lambda: None) -> None:
        with processor.networks(PROMPT):
            look()

    check(pipe.unet, run, run)
