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
from promptengine.request.samplers import split_sampler
from tests.conformance.golden import folder, present, rows, table
from tests.conformance.test_txt2img import bare_name

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


def in_1_10_1(parsed: dict[str, Any]) -> dict[str, Any]:
    """What WebUI of February 2024 read, as 1.10.1 reads it."""
    fields = dict(parsed)
    fields.setdefault("Hires schedule type", "Use same scheduler")
    old = str(fields.get("Version", "v1.8")).startswith(("v1.7", "1.7", "v1.6", "1.6"))
    fields.setdefault("Refiner switch by sampling steps", "Refiner" in fields and old)
    # The mode of emphasis is named only where the prompts have some.
    if not any(mark in fields["Prompt"] + fields["Negative prompt"] for mark in "()[]"):
        del fields["Emphasis"]
    return fields


@pytest.mark.parametrize("path", PARSED)
def test_reading_as_webui_does(path: str) -> None:
    cases = rows(folder() / path)
    assert len(cases) >= 10
    for case in cases:
        assert webui_fields(case["infotext"]) == in_1_10_1(case["parsed"]), case["infotext"]


PARSED_3 = folder() / "webui-3" / "goldens" / "infotext_parse3.jsonl"
CASES_3 = rows(PARSED_3) if PARSED_3.is_file() else []
NOT_READ = {"beta_dist_alpha", "beta_dist_beta"}
"""Settings that WebUI writes into infotexts under one name and reads under another."""

NOT_OVERRIDDEN = {"fp8_storage", "cache_fp16_weight"}
"""Settings that WebUI reads and does nothing with."""


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES_3])
def test_reading_as_webui_1_10_1_does(case: dict[str, Any]) -> None:
    settings = case.get("opts", {})
    assert case["parsed"] == webui_fields(
        case["infotext"],
        backward_compatible=settings.get("auto_backcompat", True),
        left_out=settings.get("infotext_skip_pasting", ()),
    )


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in CASES_3 if "opts" not in case]
)
def test_the_settings_that_an_infotext_brings(case: dict[str, Any], tmp_path: Path) -> None:
    read = read_infotext(case["infotext"])
    if not read.entries:
        # A prompt alone says nothing about its noise; WebUI takes it for a GPU's.
        assert [name for _, name, _ in case["override_settings"]] == ["randn_source"]
        return
    usual = table(PARSED_3.with_name("options.json"))["webui_default"] | {"randn_source": "CPU"}
    expected = {name: value for _, name, value in case["override_settings"] if name != "sd_vae"}
    if expected.get("randn_source") == "GPU":
        # What NVIDIA's hardware draws can be drawn anywhere.
        expected["randn_source"] = "NV"
    options = recipe_from_infotext(read, Registry.open(tmp_path)).options
    ours = {name: value for name, value in options.items() if value != usual.get(name)}
    more = NOT_OVERRIDDEN | (NOT_READ if "Beta schedule alpha" in read.entries else set())
    assert {name: value for name, value in ours.items() if name not in more} == expected


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
    settings = case.get("opts", {})
    sampler = (
        split_sampler(case["sampler"])[0].name if "k_sched_type" in settings else case["sampler"]
    )
    asked = (
        *(case["seeds"][0], case["steps"], sampler, case["cfg_scale"]),
        *(case["width"], case["height"], case["negative_prompt"]),
    )
    assert (
        *(request.seed, request.steps, request.sampler, request.cfg_scale),
        *(request.width, request.height, request.negative_prompt),
    ) == asked, name
    assert request.prompt.startswith(case["prompt"].strip()), name
    options = dict(settings)
    kind = options.pop("k_sched_type", bare_name(case["sampler"]))
    assert request.scheduler == ("automatic" if kind in (None, "Automatic") else kind), name
    assert request.clip_skip == options.pop("CLIP_stop_at_last_layers", 1), name
    for found, value in recipe.options.items():
        known = options.pop(found, case.get(found, "CPU"))
        assert value == known, (name, found)
    assert set(options) <= UNWRITTEN | SOMETIMES, name
    for field in FIELDS:
        if field in recipe.fields and case.get(field) is not None:
            assert recipe.fields[field] == case[field], (name, field)
    expected = ("made from another", "alone meant the plain list")
    said = [d.message for d in recipe.diagnostics]
    assert not [text for text in said if not any(words in text for words in expected)], name
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
