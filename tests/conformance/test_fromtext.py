"""Requests that hold an infotext, as WebUI 1.10.1's API takes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.registry.registry import Registry
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import device, difference, folder, rows, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, without_own_keys

TABLE = folder() / "webui-3" / "goldens" / "fromtext.jsonl"

ALL = rows(TABLE) if TABLE.is_file() else []
CASES = [pytest.param(case, id=case["id"]) for case in ALL if "error" not in case]
FAILED = [
    pytest.param(case, id=case["id"])
    for case in ALL
    if "error" in case and "init_images" not in case
]


@cache
def latents() -> dict[str, Tensor]:
    return tensors(TABLE.with_name("fromtext_latents.safetensors"))


@pytest.fixture(scope="module")
def engine(model_dir: Path, second_models: Registry) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models=second_models,
        config=model_dir / "diffusers_config",
        device=device(),
        dtype="float32",
    )


@pytest.mark.parametrize("case", CASES)
def test_generation(engine: Engine, model_dir: Path, case: dict[str, Any]) -> None:
    request = request_of(case, engine.registry, model_dir / "tiny-sd1.safetensors")
    result = engine.generate(request)
    assert difference(result.latents, latents()[case["id"]]) <= LATENT_TOLERANCE
    assert list(result.seeds) == case["seeds"]
    ours = [without_own_keys(api_infotext(text)) for text in result.infotexts]
    assert ours == [without_own_keys(text) for text in case["infotexts"]]


@pytest.mark.parametrize("case", FAILED)
def test_a_strength_alone_asks_for_no_second_pass(
    engine: Engine, model_dir: Path, case: dict[str, Any]
) -> None:
    """Deviation: WebUI begins a second pass for any denoising strength, and fails."""
    request = request_of(case, engine.registry, model_dir / "tiny-sd1.safetensors")
    assert request.hires is None
