"""High-resolution passes against WebUI's."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from torch import Tensor

from promptengine import Engine
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import (
    LATENT_TOLERANCE,
    assert_tells_the_same,
    compare_pixels,
    request_of,
)

TABLE = folder() / "webui-2" / "goldens" / "hires.jsonl"
CASES = [pytest.param(case, id=case["id"]) for case in rows(TABLE)] if TABLE.is_file() else []


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"{name}.safetensors"))


@pytest.mark.parametrize("case", CASES)
def test_generation(engine: Engine, case: dict[str, Any]) -> None:
    result = engine.generate(request_of(case))
    through_pixels = f"{case['id']}/encoder_input" in golden("hires_images")
    tolerance = 2 * LATENT_TOLERANCE if through_pixels else LATENT_TOLERANCE
    assert difference(result.latents, golden("hires_latents")[case["id"]]) <= tolerance
    assert list(result.seeds) == case["seeds"]
    for ours, theirs in zip(result.infotexts, case["infotexts"], strict=True):
        assert_tells_the_same(ours, theirs)
    compare_pixels(case["id"], result, golden("hires_images"))
    for reports, key in ((result.networks, "networks"), (result.hires_networks, "hr_networks")):
        applied = [[one.name, one.multiplier] for one in reports if one.applied]
        assert applied == case[key]["hypernetworks"]
