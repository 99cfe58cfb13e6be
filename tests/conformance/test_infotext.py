"""Infotexts against WebUI's own reader, and against the requests they were made by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from promptengine.images import read_image_info
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext
from promptengine.infotext.webui import webui_fields
from promptengine.registry.registry import Registry
from tests.conformance.golden import folder, present, rows

PARSED = ("webui/goldens/infotext_parse.jsonl", "webui-2/goldens/infotext_parse2.jsonl")
MADE = ("webui/goldens/txt2img", *(f"webui-2/goldens/{k}" for k in ("hires", "img2img", "lora")))

UNWRITTEN = {
    *("batch_cond_uncond", "use_old_karras_scheduler_sigmas", "enable_quantization"),
    *("comma_padding_backtrack", "img2img_fix_steps", "upscaler_for_img2img", "lora_functional"),
    *("img2img_background_color", "overlay_inpaint", "sd_lora", "sd_hypernetwork"),
    *("extra_networks_default_multiplier", "uni_pc_variant", "uni_pc_order"),
}
"""Settings that WebUI leaves out of its infotexts, those of UniPC by a defect."""

SOMETIMES = {"eta_noise_seed_delta", "use_old_scheduling"}
"""Settings that are written only where they had an effect."""

FIELDS = (
    *("denoising_strength", "enable_hr", "hr_scale", "hr_resize_x", "hr_resize_y", "hr_prompt"),
    *("hr_second_pass_steps", "hr_sampler_name", "hr_negative_prompt", "subseed_strength"),
    *("inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding", "inpainting_mask_invert"),
)


@pytest.mark.parametrize("path", PARSED)
def test_reading_as_webui_does(path: str) -> None:
    cases = rows(folder() / path)
    assert len(cases) >= 10
    for case in cases:
        assert webui_fields(case["infotext"]) == case["parsed"], case["infotext"]


@pytest.mark.parametrize("path", MADE)
def test_infotexts_give_the_requests_they_were_made_by(path: str, model_dir: Path) -> None:
    data = folder()
    registry = Registry.open(
        {
            "hypernet": data / "webui" / "hypernetworks",
            "lora": data / "webui-2" / "loras",
            "embedding": data / "webui" / "embeddings",
            "checkpoint": model_dir,
        }
    )
    for case in rows(data / f"{path}.jsonl"):
        read = read_infotext(case["infotexts"][0])
        assert str(read) == case["infotexts"][0]
        # The goldens' version is a fallback of theirs and implies what was not so.
        entries = {key: value for key, value in read.entries.items() if key != "Version"}
        check(recipe_from_infotext(replace(read, entries=entries), registry), case)


def check(recipe: Recipe, case: dict[str, Any]) -> None:
    request, name = recipe.request, case["id"]
    asked = (
        *(case["seeds"][0], case["steps"], case["sampler"], case["cfg_scale"]),
        *(case["width"], case["height"], case["negative_prompt"]),
    )
    assert (
        *(request.seed, request.steps, request.sampler, request.cfg_scale),
        *(request.width, request.height, request.negative_prompt),
    ) == asked, name
    assert request.prompt.startswith(case["prompt"].strip()), name
    options = dict(case.get("opts", {}))
    assert request.clip_skip == options.pop("CLIP_stop_at_last_layers", 1), name
    for found, value in recipe.options.items():
        known = options.pop(found, case.get(found, "CPU"))
        assert value == known, (name, found)
    assert set(options) <= UNWRITTEN | SOMETIMES, name
    for field in FIELDS:
        if field in recipe.fields and case.get(field) is not None:
            assert recipe.fields[field] == case[field], (name, field)
    assert not [d for d in recipe.diagnostics if "made from another" not in d.message], name
    # The checkpoint is the one file of the data: found by hash.
    assert recipe.checkpoint is not None and recipe.checkpoint.name == "tiny-sd1", name


def test_golden_images_hold_what_their_cases_say(goldens: Path) -> None:
    infotexts = {text for case in rows(goldens / "txt2img.jsonl") for text in case["infotexts"]}
    paths = sorted((present(goldens / "txt2img.jsonl").parent / "png").glob("*.png"))
    assert paths
    for path in paths:
        found = read_image_info(path)
        assert found.source == "parameters" and found.texts == {}
        assert str(found.infotext) in infotexts
        with Image.open(path) as image:
            assert image.info["parameters"] == str(found.infotext)
