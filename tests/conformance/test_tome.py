"""Token merging, as requests of WebUI 1.10.1's API."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine
from promptengine.request.request import merging_ratios_of
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import device, difference, folder, rows, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, without_own_keys

TABLE = folder() / "webui-3" / "goldens" / "tome.jsonl"
CASES = [pytest.param(case, id=case["id"]) for case in rows(TABLE)] if TABLE.is_file() else []


@cache
def latents() -> dict[str, Tensor]:
    return tensors(TABLE.with_name("tome_latents.safetensors"))


@pytest.fixture(scope="module")
def merging_engine(conformance_dir: Path, model_dir: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(
        model_dir / "tiny-sd1.safetensors",
        models={
            "hypernet": conformance_dir / "webui" / "hypernetworks",
            "lora": conformance_dir / "webui-2" / "loras",
        },
        config=model_dir / "diffusers_config",
        device=device(),
        dtype="float32",
    )


def encoder_noise(case: dict[str, Any]) -> Tensor | None:
    """What WebUI's encoder draws: the first numbers of the generator that was seeded before the case."""
    if "init_images" not in case:
        return None
    generator = torch.Generator().manual_seed(case["torch_global_seed"])
    return torch.randn(case["latents_shape"], generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_generation(merging_engine: Engine, model_dir: Path, case: dict[str, Any]) -> None:
    request = request_of(case, merging_engine.registry, model_dir / "tiny-sd1.safetensors")
    result = merging_engine.generate(request, encoder_noise=encoder_noise(case))
    assert difference(result.latents, latents()[case["id"]]) <= LATENT_TOLERANCE
    assert list(result.seeds) == case["seeds"]
    ours = [without_own_keys(api_infotext(text)) for text in result.infotexts]
    assert ours == [without_own_keys(text) for text in case["infotexts"]]


@pytest.mark.parametrize("number", [0, -1], ids=["txt2img", "img2img"])
def test_fields_of_a_request_go_before_settings(
    merging_engine: Engine, model_dir: Path, number: int
) -> None:
    case = rows(TABLE)[number]
    settings = {"token_merging_ratio": 0.3, "token_merging_ratio_img2img": 0.7}
    told = {"token_merging_ratio": 0.2, "token_merging_ratio_hr": 0.4, "enable_hr": True}
    request = request_of(
        {**case, **told, "opts": settings, "override_settings": {"token_merging_ratio": 0.6}},
        merging_engine.registry,
        model_dir / "tiny-sd1.safetensors",
    )
    assert merging_ratios_of(request) == (0.2, 0.4 if request.hires else 0)
