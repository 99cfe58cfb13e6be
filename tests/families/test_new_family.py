"""A family is one object: a checkpoint of one that is added opens and makes images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptengine import Engine, GenerationRequest
from promptengine.families import FAMILIES
from promptengine.inspection import inspect_file
from tests.checkpoints.original import tiny, write

PREFIX = "another_stage_model.clip."


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> str:
    own = FAMILIES["SD1"]
    encoder = replace(own.encoders[0], prefix=PREFIX)
    spec = replace(own, name="SD9", title="Stable Diffusion 9", encoders=(encoder,))  # type: ignore[arg-type]
    monkeypatch.setitem(FAMILIES, "SD9", spec)  # type: ignore[misc,arg-type]
    return "SD9"


@pytest.mark.slow
def test_a_checkpoint_of_a_new_family_opens(other: str, tmp_path: Path) -> None:
    weights = tiny("SD1").weights()
    old = FAMILIES["SD1"].encoders[0].prefix
    moved = {name.replace(old, PREFIX): weight for name, weight in weights.items()}
    assert moved.keys() != weights.keys()
    request = GenerationRequest(prompt="a (cat:1.2)", seed=3, steps=2, width=64, height=64)
    results = []
    for name, content in (("known", weights), ("new", moved)):
        path = write(content, tmp_path / f"{name}.safetensors")
        with Engine.open(path, tmp_path, dtype="float32") as engine:
            results.append(engine.generate(request))
            family = engine.checkpoint.family
    assert family == other
    assert torch.equal(results[0].latents, results[1].latents)
    assert inspect_file(tmp_path / "new.safetensors").family == other
