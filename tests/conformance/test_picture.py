"""What is done to images and masks before anything is sampled, against WebUI's own results."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from promptengine.images.inpaint import prepare_image, prepare_masks
from promptengine.images.latent_upscale import hires_size, upscale_latents
from promptengine.images.masks import latent_mask
from promptengine.images.upscalers import latent_upscalers
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import request_of

GOLDENS = folder() / "webui-2" / "goldens"


@cache
def golden(name: str) -> Any:
    return tensors(GOLDENS / f"{name}.safetensors")


def cases(kind: str) -> list[Any]:
    table = GOLDENS / f"{kind}.jsonl"
    found = rows(table) if table.is_file() else []
    return [pytest.param(case, id=case["id"]) for case in found]


@pytest.mark.parametrize("case", cases("img2img"))
def test_preparation(case: dict[str, Any]) -> None:
    request = request_of(case)
    assert request.start is not None
    size = case["width"], case["height"]
    masks = prepare_masks(request.start, size)
    pictures = [
        prepare_image(image, request.start, masks, size, request.options)
        for image in request.start.images
    ]
    expected = golden("img2img_images").get(f"{case['id']}/encoder_input")
    if expected is not None:
        # One image is repeated for the batch.
        repeats = len(expected) // len(pictures)
        ours = np.stack([np.array(picture.encoded) for picture in pictures] * repeats)
        assert np.array_equal(ours, expected.numpy())
    if masks is None:
        assert case["paste_to"] is None
        return
    overlay_mask = golden("img2img_images")[f"{case['id']}/overlay_mask"]
    # A resized mask of WebUI's has three channels, all the same.
    flat = overlay_mask if overlay_mask.ndim == 2 else overlay_mask[..., 0]
    assert np.array_equal(np.array(masks.overlay), flat.numpy())
    left, top, right, bottom = masks.box or (0, 0, *size)
    assert [left, top, right - left, bottom - top] == case["paste_to"] or masks.box is None
    cells = latent_mask(
        masks.painted, size[0] // 8, size[1] // 8, hard=case.get("mask_round", True)
    )
    assert difference(cells, golden("img2img_intermediate")[f"{case['id']}/latent_mask"]) <= 1e-6


@pytest.mark.parametrize("case", cases("hires"))
def test_enlargement(case: dict[str, Any]) -> None:
    request = request_of(case)
    assert request.hires is not None
    larger = hires_size(request.hires, case["width"], case["height"])
    assert [larger.width, larger.height] == case["hr_target"]
    # The data hold what is over in cells or, as WebUI names it, in the order of width and height.
    assert list(larger.cut) == case["hr_truncate"]
    upscaler = request.hires.upscaler or "Latent"
    if upscaler in latent_upscalers():
        first = golden("hires_intermediate")[f"{case['id']}/first_pass"]
        ours = larger.trimmed(upscale_latents(first, larger.cells, upscaler))
        assert difference(ours, golden("hires_intermediate")[f"{case['id']}/second_init"]) <= 1e-5
