"""Whole generations against WebUI's: the same string gives the same image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image
from torch import Tensor

from promptengine import Engine, GenerationRequest, GenerationResult
from promptengine.infotext.read import read_infotext
from promptengine.prompt import parse
from promptengine.request.edit import apply_settings
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting, MaskedContent, ResizeMode
from promptengine.request.samplers import split_sampler
from promptengine.request.schedulers import AUTOMATIC
from tests.conformance.golden import difference, folder, rows, tensors

LATENT_TOLERANCE = 1e-3
ADAPTIVE_TOLERANCE = 0.5
"""DPM adaptive picks its steps by differences in the last digits: noise that differs by one part in
ten million ends in latents that differ by 0.3. Its steps are compared instead (test_trajectories)."""


def mixed_multipliers(case: dict[str, Any]) -> bool:
    """Whether a hypernetwork's multiplier is no number and another one's is."""
    tags = [tag for tag in parse(case["prompt"]).tags if tag.kind == "hypernet"]
    readable = {is_number(tag.arguments[1]) for tag in tags if len(tag.arguments) > 1}
    return readable == {True, False} or (False in readable and len(tags) > 1)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


RULES: list[tuple[str, Any]] = [
    ("LoRA", lambda case: "Lora hashes" in case["infotexts"][0]),
    ("deviation: a network keeps its own multiplier", lambda case: case.get("keep_state")),
    ("deviation: good tags beside a bad one apply", mixed_multipliers),
]
"""Which cases are expected to fail, by their fields."""


def marked(case: dict[str, Any]) -> Any:
    reasons = [reason for reason, applies in RULES if applies(case)]
    # What a request cannot express is not run: the image would be another one's.
    marks = [pytest.mark.xfail(reason=", ".join(reasons), run=False)] if reasons else []
    return pytest.param(case, id=case["id"], marks=marks)


TABLE = folder() / "webui" / "goldens" / "txt2img.jsonl"
CASES = [marked(case) for case in rows(TABLE)] if TABLE.is_file() else []


@cache
def golden(name: str) -> dict[str, Tensor]:
    return tensors(folder() / "webui" / "goldens" / f"{name}.safetensors")


NAMES = (
    "prompt",
    "negative_prompt",
    "sampler",
    "steps",
    "cfg_scale",
    "seed",
    "width",
    "height",
)


def bare_name(name: str | None) -> str | None:
    """The schedule type that a sampler's name stood for alone before WebUI 1.9; None of a joined name."""
    if name is None:
        return None
    sampler, ending = split_sampler(name)
    if ending is not None:
        return None
    # Restart meant Karras then as well.
    return "Automatic" if sampler.scheduler == AUTOMATIC or name == "Restart" else "Uniform"


def request_of(case: dict[str, Any]) -> GenerationRequest:
    """The request of a case of February 2024, in the words of WebUI 1.10.1."""
    resized = "seed_resize_from_w" in case
    settings = dict(case.get("opts", {}))
    kind = settings.pop("k_sched_type", None) or bare_name(case["sampler"])
    request = GenerationRequest(
        **{name: case[name] for name in NAMES},
        scheduler=kind or "Automatic",
        batch_size=case.get("batch_size", 1),
        batch_count=case.get("n_iter", 1),
        variation_seed=case.get("subseed", -1),
        variation_strength=case.get("subseed_strength", 0),
        seed_resize_from=(case["seed_resize_from_w"], case["seed_resize_from_h"])
        if resized
        else None,
        tiling=case.get("tiling", False),
        hires=hires_of(case) if case.get("enable_hr") else None,
        start=start_of(case) if case.get("init_images") else None,
    )
    if "initial_noise_multiplier" in case:
        settings["initial_noise_multiplier"] = case["initial_noise_multiplier"]
    return apply_settings(request, settings)


def hires_of(case: dict[str, Any]) -> HiresPass:
    return HiresPass(
        scale=case.get("hr_scale", 2.0),
        resize_x=case.get("hr_resize_x", 0),
        resize_y=case.get("hr_resize_y", 0),
        upscaler=case["hr_upscaler"],
        steps=case.get("hr_second_pass_steps", 0),
        sampler=case.get("hr_sampler_name"),
        scheduler=bare_name(case.get("hr_sampler_name")),
        prompt=case.get("hr_prompt", ""),
        negative_prompt=case.get("hr_negative_prompt", ""),
        denoising_strength=case["denoising_strength"],
    )


def start_of(case: dict[str, Any]) -> ImageStart:
    return ImageStart(
        images=tuple(init_image(name) for name in case["init_images"]),
        denoising_strength=case["denoising_strength"],
        resize_mode=get_args(ResizeMode)[case["resize_mode"]],
        inpainting=inpainting_of(case) if "mask" in case else None,
    )


def inpainting_of(case: dict[str, Any]) -> Inpainting:
    return Inpainting(
        mask=init_image(case["mask"]),
        inverted=bool(case["inpainting_mask_invert"]),
        blur=(case["mask_blur_x"], case["mask_blur_y"]),
        content=get_args(MaskedContent)[case["inpainting_fill"]],
        only_masked=case["inpaint_full_res"],
        padding=case["inpaint_full_res_padding"],
        hard=case.get("mask_round", True),
    )


def init_image(name: str) -> Image.Image:
    with Image.open(folder() / "webui-2" / "images" / name) as image:
        image.load()
        return image


OWN_KEYS = re.compile(
    r", (Hires use first pass networks|Hires hypernet hashes|Hires hypernet skipped|Hires lora skipped|Old emphasis|"
    r'Hypernet hashes|Hypernet skipped|Lora skipped): ("(?:[^"\\]|\\.)*"|[^,]*)'
)


def without_own_keys(infotext: str) -> str:
    """An infotext less what WebUI does not write, and less the version's value."""
    return re.sub(r", Version: .*", "", OWN_KEYS.sub("", infotext))


def assert_tells_the_same(infotext: str, golden: str) -> None:
    """Compare with an infotext of February 2024.

    WebUI 1.10.1 writes some keys at other places, takes joined names of samplers apart, always names the
    schedule type, and lists the LoRAs of a first pass before those of a second with others.
    """
    ours, theirs = (read_infotext(without_own_keys(text)) for text in (infotext, golden))
    entries, expected = dict(ours.entries), dict(theirs.entries)
    for name, kind in (("Sampler", "Schedule type"), ("Hires sampler", "Hires schedule type")):
        found, told = entries.pop(kind, "").lower(), expected.pop(kind, "")
        if name in expected:
            sampler, ending = split_sampler(expected[name])
            expected[name] = sampler.name
            told = told or ("" if ending is None else ending.name)
        assert found in (told, "") or (name == "Sampler" and not told)
    listed, second = entries.get("Lora hashes", ""), expected.get("Lora hashes", "")
    if "Hires prompt" in expected and listed.endswith(f", {second}"):
        entries["Lora hashes"] = second
    assert entries == expected
    assert (ours.prompt, ours.negative_prompt) == (theirs.prompt, theirs.negative_prompt)


@pytest.mark.parametrize("case", CASES)
def test_generation(engine: Engine, case: dict[str, Any]) -> None:
    result = engine.generate(request_of(case))
    tolerance = ADAPTIVE_TOLERANCE if case["sampler"] == "DPM adaptive" else LATENT_TOLERANCE
    assert difference(result.latents, golden("txt2img_latents")[case["id"]]) <= tolerance
    assert list(result.seeds) == case["seeds"]
    assert list(result.variation_seeds) == (case["subseeds"] or [])
    for ours, theirs in zip(result.infotexts, case["infotexts"], strict=True):
        assert_tells_the_same(ours, theirs)
    compare_pixels(case["id"], result)


def compare_pixels(
    name: str, result: GenerationResult, pictures: Mapping[str, Tensor] | None = None
) -> None:
    """Compare 8-bit images, where the data has them: one level off on rare pixels is rounding."""
    import numpy as np

    if pictures is None:
        has_images = TABLE.with_name("txt2img_images.safetensors").is_file()
        pictures = golden("txt2img_images") if has_images else {}
    for index, image in enumerate(result.images):
        expected = pictures.get(f"{name}/uint8/{index}")
        if expected is not None:
            off = (torch.from_numpy(np.array(image)).int() - expected.int()).abs()
            assert off.max() <= 1
            assert (off > 0).float().mean() < 0.02


def test_images_carry_webuis_text(engine: Engine, tmp_path: Path) -> None:
    """The golden PNGs' text is what ours hold for the same request."""
    from PIL import Image

    from promptengine.images import save_png

    cases = {param.values[0]["id"]: param for param in CASES}
    for path in (folder() / "webui" / "goldens" / "png").glob("*.png"):
        param = cases.get(path.stem)
        if param is None or param.marks:
            continue
        result = engine.generate(request_of(param.values[0]))
        save_png(result.images[0], tmp_path / path.name, result.infotexts[0])
        with Image.open(tmp_path / path.name) as ours, Image.open(path) as theirs:
            assert_tells_the_same(ours.info["parameters"], theirs.info["parameters"])
