"""An interrupt at any line where the model changes leaves it as it was, bit for bit."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from promptengine import Engine, GenerationRequest, Options
from promptengine.accel.onednn import _knows
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI
from tests.ctrl_c import ends_of_changes, interrupted, lines_around, modules_of, state_of

REQUEST = GenerationRequest(
    prompt="a cat <lora:lo-kohya:1><hypernet:hn-relu:1>",
    seed=1,
    steps=1,
    width=64,
    height=64,
    sampler="Euler",
    tiling=True,
    options=Options(token_merging=0.5),
)
KINDS = {"weights", "forward", "padding_mode"} | (
    {"class", "packing"} if _knows(torch.float32) else set()
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(NETWORKS, folder / "hypernetworks")
    shutil.copytree(WEBUI.parent / "webui-2" / "loras", folder / "Lora")
    return Engine.open(CHECKPOINT, models=folder, config=CONFIG, device="cpu")


def ends_within(engine: Engine, modules: dict[int, nn.Module]) -> dict[str, list[int]]:
    before, within = state_of(modules), []
    engine.generate(REQUEST, on_progress=lambda _: within.append(state_of(modules)))
    return ends_of_changes(before, within[0])


def test_a_run_interrupted_where_the_model_changes_leaves_it_as_it_was(engine: Engine) -> None:
    parts = engine.checkpoint
    modules = modules_of(parts.unet, parts.vae, *parts.text_encoders)
    expected = engine.generate(REQUEST).latents
    clean = state_of(modules)
    ends = ends_within(engine, modules)
    assert ends.keys() >= KINDS
    lines = lines_around(lambda: engine.generate(REQUEST), modules, ends)
    assert len(lines) >= 4 * len(KINDS)
    for line in lines:
        assert interrupted(lambda: engine.generate(REQUEST), line), line
        assert state_of(modules) == clean, line
    assert torch.equal(engine.generate(REQUEST).latents, expected)
