"""Images made from images, and inpainting, against WebUI's."""

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

TABLE = folder() / "webui-2" / "goldens" / "img2img.jsonl"
CASES = [pytest.param(case, id=case["id"]) for case in rows(TABLE)] if TABLE.is_file() else []


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"{name}.safetensors"))


@pytest.mark.parametrize("case", CASES)
def test_generation(engine: Engine, case: dict[str, Any]) -> None:
    name, count = case["id"], case["batch_size_after"] * case.get("n_iter", 1)
    noise = golden("img2img_intermediate")[f"{name}/encode_eps"]
    result = engine.generate(request_of(case), encoder_noise=noise)
    through_pixels = f"{name}/encoder_input" in golden("img2img_images")
    tolerance = 2 * LATENT_TOLERANCE if through_pixels else LATENT_TOLERANCE
    assert difference(result.latents, golden("img2img_latents")[name]) <= tolerance
    # WebUI lists seeds also of images that a smaller batch leaves out.
    assert list(result.seeds) == case["seeds"][:count]
    for ours, theirs in zip(result.infotexts, case["infotexts"][:count], strict=True):
        assert_tells_the_same(ours, theirs)
    assert len(result.images) == count
    compare_pixels(name, result, golden("img2img_images"))
