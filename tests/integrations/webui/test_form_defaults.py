"""What the controls of WebUI's page show at first, as fields of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptengine import GenerationRequest, HiresPass, ImageStart, Inpainting, RequestError
from promptengine.integrations.webui.form_defaults import IMG2IMG, TXT2IMG, FormDefaults

PAGE: dict[str, Any] = {
    "txt2img/Prompt/value": "a masterpiece",
    "txt2img/Negative prompt/value": "blurry",
    "customscript/sampler.py/txt2img/Sampling method/value": "DPM++ 2M",
    "customscript/sampler.py/txt2img/Schedule type/value": "SGM Uniform",
    "customscript/sampler.py/txt2img/Sampling steps/value": 28.0,
    "txt2img/Sampling steps/value": 99,
    "txt2img/Width/value": 640,
    "txt2img/Width/maximum": 2048,
    "txt2img/Batch count/value": 2,
    "txt2img/CFG Scale/value": 5,
    "txt2img/Hires. fix/value": False,
    "txt2img/Upscaler/value": "Latent (nearest)",
    "txt2img/Denoising strength/value": 0.7,
    "txt2img/Hires sampling method/value": "Use same sampler",
    "txt2img/Hires schedule type/value": "Use same scheduler",
    "txt2img/Hires checkpoint/value": "Use same checkpoint",
    "customscript/seed.py/txt2img/Seed/value": -1.0,
    "customscript/seed.py/txt2img/Variation seed/value": -1.0,
    "customscript/seed.py/txt2img/Variation strength/value": 0.5,
    "customscript/seed.py/txt2img/Extra/value": False,
    "customscript/refiner.py/txt2img/Refiner/value": False,
    "customscript/refiner.py/txt2img/Checkpoint/value": "other",
    "customscript/refiner.py/txt2img/Switch at/value": 0.8,
    "img2img/Width/value": 512,
    "img2img/Resize mode/value": "Crop and resize",
    "img2img/Mask blur/value": 6,
    "img2img/Mask mode/value": "Inpaint not masked",
    "img2img/Masked content/value": "latent noise",
    "img2img/Inpaint area/value": "Only masked",
    "img2img/Only masked padding, pixels/value": 48,
    "img2img/Denoising strength/value": 0.4,
    "customscript/soft_inpainting.py/img2img/Soft inpainting/value": True,
    "customscript/soft_inpainting.py/img2img/Schedule bias/value": 2,
    "customscript/some_extension.py/txt2img/CFG Scale/value": 30,
}


def page(**changes: Any) -> FormDefaults:
    return FormDefaults(Path("ui-config.json"), PAGE | changes)


def changed(key: str, value: Any) -> FormDefaults:
    return FormDefaults(Path("ui-config.json"), PAGE | {key: value})


def test_text_to_image() -> None:
    assert page().of(GenerationRequest, TXT2IMG) == {
        "negative_prompt": "blurry",
        "sampler": "DPM++ 2M",
        "scheduler": "sgm_uniform",
        "steps": 28,
        "width": 640,
        "batch_count": 2,
        "cfg_scale": 5,
        "seed": -1,
    }


def test_the_second_pass() -> None:
    wanted = {"upscaler": "Latent (nearest)", "denoising_strength": 0.7}
    assert page().of(HiresPass, TXT2IMG) == wanted
    assert not page().hires_is_on()
    assert changed("txt2img/Hires. fix/value", True).hires_is_on()


def test_image_to_image() -> None:
    assert "width" not in page().of(GenerationRequest, IMG2IMG)
    start = page().of(ImageStart, IMG2IMG)
    assert start == {"denoising_strength": 0.4, "resize_mode": "crop"}
    assert page().of(Inpainting, IMG2IMG) == {
        "inverted": True,
        "blur": (6, 6),
        "content": "latent noise",
        "only_masked": True,
        "padding": 48,
        "soft": True,
        "soft_bias": 2,
    }


def test_controls_count_where_their_box_is_checked() -> None:
    more = {
        "customscript/seed.py/txt2img/Extra/value": True,
        "customscript/refiner.py/txt2img/Refiner/value": True,
    }
    found = page(**more).of(GenerationRequest, TXT2IMG)
    assert (found["variation_strength"], found["refiner"]) == (0.5, "other")
    assert found["refiner_switch_at"] == 0.8


def test_what_older_versions_wrote_counts_where_nothing_newer_stands() -> None:
    old = {key: value for key, value in PAGE.items() if not key.startswith("customscript")}
    found = FormDefaults(Path("ui-config.json"), old).of(GenerationRequest, TXT2IMG)
    assert found["steps"] == 99


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("customscript/sampler.py/txt2img/Sampling steps/value", 0, "steps is 0; it must be 1"),
        ("customscript/sampler.py/txt2img/Sampling steps/value", 1.5, "steps is 1.5"),
        ("customscript/sampler.py/txt2img/Sampling steps/value", 1e400, "steps is inf"),
        ("customscript/sampler.py/txt2img/Sampling steps/value", {"a": []}, "steps is"),
        ("customscript/sampler.py/txt2img/Sampling method/value", "Flux", "Flux"),
        ("customscript/sampler.py/txt2img/Schedule type/value", "karas", "unknown scheduler"),
        ("customscript/sampler.py/txt2img/Schedule type/value", 7, "scheduler is 7"),
        ("txt2img/Width/value", 70, "width is 70"),
        ("txt2img/Negative prompt/value", 5, "negative_prompt is 5"),
        ("customscript/seed.py/txt2img/Extra/value", "yes", "neither true nor false"),
    ],
)
def test_wrong_values_are_told_with_file_and_key(key: str, value: Any, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        changed(key, value).of(GenerationRequest, TXT2IMG)
    assert str(caught.value).startswith(f"ui-config.json: {key}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("img2img/Mask mode/value", "Inpaint sideways", "none of 'Inpaint masked'"),
        ("img2img/Masked content/value", 3, "content is 3"),
        ("img2img/Mask blur/value", [1, 2, 3], "blur"),
        ("img2img/Mask blur/value", 1e9, "blur"),
    ],
)
def test_wrong_values_of_masks(key: str, value: Any, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        changed(key, value).of(Inpainting, IMG2IMG)
    assert str(caught.value).startswith(f"ui-config.json: {key}: ")
    assert words in str(caught.value)


def test_what_is_given_is_not_looked_at() -> None:
    wrong = changed("txt2img/Width/value", "wide")
    assert "width" not in wrong.of(GenerationRequest, TXT2IMG, given=("width",))


def test_styles() -> None:
    assert changed("txt2img/Styles/value", ["ink", "None", ""]).styles(TXT2IMG) == ("ink",)
    assert page().styles(TXT2IMG) == ()
    for wrong in ("ink", ["ink", 5]):
        with pytest.raises(RequestError, match=r"txt2img/Styles/value: .* is no list of names"):
            changed("txt2img/Styles/value", wrong).styles(TXT2IMG)
