"""A compiled UNet: the same images, and graphs that outlive prompts and networks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from promptengine import Engine, GenerationRequest, RequestError
from promptengine.accel.compile import compile_regions
from promptengine.checkpoints.load import open_checkpoint
from promptengine.registry.registry import Registry
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

pytestmark = pytest.mark.slow

BASE = GenerationRequest(
    prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler", policy="strict"
)
NETWORK_TAGS = (
    "",
    " <hypernet:hn-relu:1>",
    " <hypernet:hn-relu:0.4>",
    " <hypernet:hn-linear:0.7><hypernet:hn-relu:1.2>",
    " <lora:lo-kohya:0.8>",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(NETWORKS, folder / "hypernetworks")
    shutil.copytree(WEBUI.parent / "webui-2" / "loras", folder / "Lora")
    return folder


@pytest.fixture
def compiled(models: Path) -> Iterator[Engine]:
    torch._dynamo.reset()
    yield opened(models, compiled=True)
    torch._dynamo.reset()


def opened(models: Path, *, compiled: bool, backend: Any = "eager") -> Engine:
    torch.set_num_threads(1)
    parts = open_checkpoint(CHECKPOINT, config=CONFIG)
    if compiled:
        compile_regions(parts.unet, backend=backend)
    return Engine(parts, Registry.open(models), torch.device("cpu"), compiled=compiled)


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_no_prompt_stack_or_multiplier_compiles_anew(
    compiled: Engine, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = opened(models, compiled=False)
    monkeypatch.setattr(plain, "_quick", lambda _: nullcontext())  # to compare to the last digit
    before = graphs()
    compiled.generate(BASE)
    made = graphs()
    assert made > before
    for tags in NETWORK_TAGS:
        for prompt in ("a cat", "a (dog:1.3) [in:on:0.5] snow AND a tree"):
            request = replace(BASE, prompt=prompt + tags, seed=8)
            expected = plain.generate(request).latents
            assert torch.equal(compiled.generate(request).latents, expected)
    assert graphs() - made <= made - before, "only the rows of AND are a new size"
    made = graphs()
    for tags in NETWORK_TAGS:
        compiled.generate(replace(BASE, prompt="a bird" + tags, seed=9, cfg_scale=3.0))
    assert graphs() == made


def test_further_sizes_share_graphs(compiled: Engine) -> None:
    for width in (64, 128):
        compiled.generate(replace(BASE, width=width))
    made = graphs()
    compiled.generate(replace(BASE, width=192))
    assert graphs() == made


def test_what_cannot_be_compiled_is_said_in_one_line(models: Path) -> None:
    def without_compiler(graph: object, inputs: object) -> None:
        raise RuntimeError("no C++ compiler found")

    torch._dynamo.reset()
    engine = opened(models, compiled=True, backend=without_compiler)
    with pytest.raises(RequestError, match=r"\(no C\+\+ compiler found\); go without --compile"):
        engine.generate(BASE)
    torch._dynamo.reset()
