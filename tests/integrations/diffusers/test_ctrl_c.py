"""An interrupt at any line where a pipeline's UNet changes leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from promptengine import PromptProcessor, attach, detach
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import tiny
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
    pipe: Any, run: Callable[[], object], within: Callable[[Callable[[], None]], None]
) -> None:
    """Interrupt a run wherever it changes the UNet; ``within`` calls back amid one."""
    modules, seen = modules_of(pipe.unet), []
    clean = state_of(modules)
    within(lambda: seen.append(state_of(modules)))
    ends = ends_of_changes(clean, seen[0])
    assert "forward" in ends
    lines = lines_around(run, modules, ends)
    assert len(lines) >= 4 * len(ends)
    for line in lines:
        assert interrupted(run, line), line
        assert state_of(modules) == clean, line


def test_an_attached_pipeline_is_left_as_it_was(pipe: Any, models: Path) -> None:
    asked = {"num_inference_steps": 1, "height": 64, "width": 64, "output_type": "latent"}

    def run(**more: Any) -> None:
        pipe(PROMPT, **asked, **more)

    def within(look: Callable[[], None]) -> None:
        def on_step(_pipe: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            look()
            return values

        run(callback_on_step_end=on_step)

    attach(pipe, models)
    try:
        check(pipe, run, within)
    finally:
        detach(pipe)


def test_networks_held_by_hand_are_taken_out(pipe: Any, models: Path) -> None:
    processor = PromptProcessor(pipe, models)

    def run(look: Callable[[], None] = lambda: None) -> None:
        with processor.networks(PROMPT):
            look()

    check(pipe, run, run)
