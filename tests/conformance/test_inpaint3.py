"""Inpainting of WebUI 1.10.1: soft masks and soft inpainting, color correction, masks returned, extra noise."""

from __future__ import annotations

from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from promptengine import Engine, GenerationResult
from promptengine.images.color_correction import match_colors
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import LATENT_TOLERANCE, without_own_keys
from tests.conformance.upscaler_folders import golden_image, share_off, source_image, worst_level

TABLE = folder() / "webui-3" / "goldens" / "inpaint3.jsonl"
CASES = rows(TABLE) if TABLE.is_file() else []
MAGNIFIED = 5
"""Levels by which corrected colors may differ. Histograms are matched level by level, so that a pixel that
decoding rounds to the other side moves all pixels of a level; from the same pixels all is within one level."""


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(TABLE.with_name(f"inpaint3_{name}.safetensors"))


@pytest.fixture
def checkpoint(model_dir: Path) -> Path:
    return model_dir / "tiny-sd1.safetensors"


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_generation(engine: Engine, checkpoint: Path, case: dict[str, Any]) -> None:
    name = case["id"]
    request = request_of(case, engine.registry, checkpoint)
    result = engine.generate(
        request, encoder_noise=golden("intermediate").get(f"{name}/encode_eps")
    )
    assert difference(result.latents, golden("latents")[name]) <= LATENT_TOLERANCE
    assert list(result.seeds) == case["seeds"]
    if "infotexts" in case:
        ours = [without_own_keys(api_infotext(text)) for text in result.infotexts]
        assert ours == [without_own_keys(text) for text in case["infotexts"]]
    most = MAGNIFIED if request.options.color_correction else 1
    for number, image in enumerate(returned(result)):
        if (expected := golden_image("inpaint3", name, number)) is not None:
            assert worst_level(image, expected) <= most
            assert share_off(image, expected) < 0.02


def returned(result: GenerationResult) -> list[Image.Image]:
    """All images in WebUI's order, which appends masks to each."""
    each_row = zip_longest(result.images, result.masks, result.mask_composites)
    return [image for row in each_row for image in row if image is not None]


def test_corrected_colors_of_the_same_pixels() -> None:
    """Two cases differ in nothing but the setting."""
    plain, corrected = (golden_image("inpaint3", name, 0) for name in ("si-no-mask", "cc-plain"))
    if plain is None or corrected is None:
        pytest.skip("these images were not recorded")
    ours = match_colors(plain, source_image("init-64x64.png"))
    assert worst_level(ours, corrected) <= 1
    assert share_off(ours, corrected) < 0.001
