"""What the page's controls come to: forms of the server's, or one line that says what is missing."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from promptengine import GenerationRequest, HiresPass
from promptengine.errors import RequestError
from promptengine.ui.form_values import axes_of, job_form, mask_of
from promptengine.ui.tabs.png_info import not_shown, values_of

CONTROLS: dict[str, Any] = {
    "mode": "text",
    "prompt": "a cat",
    "negative_prompt": "",
    "seed": 7,
    "steps": 3,
    "sampler": "Euler",
    "scheduler": "karras",
    "cfg_scale": 5,
    "width": 64,
    "height": 72,
    "batch_size": 2,
    "batch_count": 1,
    "clip_skip": 2,
    "checkpoint": "",
    "dialect": "webui",
    "options": "eta_ancestral = 0.5\n",
    "hires": False,
    "hires_scale": 2,
    "hires_upscaler": "Latent",
    "hires_steps": 0,
    "hires_denoising_strength": 0.7,
    "image": None,
    "drawing": None,
    "denoising_strength": 0.6,
    "resize_mode": "crop",
    "mask_blur": 3,
    "mask_content": "fill",
    "mask_inverted": True,
    "only_masked": True,
    "mask_padding": 8,
    **{f"{letter}_kind": "none" for letter in "xyz"},
    **{f"{letter}_values": "" for letter in "xyz"},
}


def test_text_to_image() -> None:
    form = job_form(CONTROLS)
    assert (form.prompt, form.seed, form.sampler, form.scheduler) == ("a cat", 7, "Euler", "karras")
    assert (form.width, form.height, form.batch_size, form.clip_skip) == (64, 72, 2, 2)
    assert form.options == {"eta_ancestral": 0.5}
    assert form.hires is None
    assert form.policy == "warn"


def test_an_empty_number_is_the_default() -> None:
    form = job_form({**CONTROLS, "seed": None, "steps": None})
    assert (form.seed, form.steps) == (-1, 20)


def test_the_second_pass() -> None:
    form = job_form({**CONTROLS, "hires": True})
    assert form.hires is not None
    assert (form.hires.scale, form.hires.denoising_strength) == (2, 0.7)


def test_a_picture_to_start_from_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)
    start = job_form({**CONTROLS, "mode": "image", "image": str(path), "hires": True}).start
    assert start is not None
    assert base64.b64decode(start.images[0]) == path.read_bytes()
    assert (start.denoising_strength, start.resize_mode, start.inpainting) == (0.6, "crop", None)


def test_what_is_painted_over_becomes_a_mask() -> None:
    layer = Image.new("RGBA", (16, 16))
    ImageDraw.Draw(layer).rectangle((4, 4, 7, 7), "black")
    drawing = {"background": Image.new("RGB", (16, 16), "blue"), "layers": [layer]}
    start = job_form({**CONTROLS, "mode": "inpaint", "drawing": drawing}).start
    assert start is not None
    assert start.inpainting is not None
    mask = Image.open(BytesIO(base64.b64decode(start.inpainting.mask)))
    assert mask.getbbox() == (4, 4, 8, 8)
    assert mask.getpixel((5, 5)) == 255
    assert start.inpainting.blur == (3, 3)
    assert start.inpainting.inverted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "image"}, "choose a picture to start from"),
        ({"mode": "inpaint"}, "choose a picture to paint in"),
        ({"options": "eta"}, "write NAME = VALUE"),
        ({"options": "nonsense = 1"}, "nonsense"),
        ({"steps": "many"}, "steps: input should be a valid integer"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        job_form({**CONTROLS, **changes})
    assert "\n" not in str(caught.value)


def test_a_mask_needs_a_stroke() -> None:
    with pytest.raises(RequestError, match="paint over"):
        mask_of((8, 8), [Image.new("RGBA", (8, 8))])


def test_axes() -> None:
    x, y, z = axes_of(
        {**CONTROLS, "x_kind": "steps", "x_values": "1-3", "z_kind": "seed", "z_values": "1"}
    )
    assert x.values == (1, 2, 3)
    assert y is None
    assert z is not None
    with pytest.raises(RequestError, match="X axis"):
        axes_of(CONTROLS)


def test_what_a_picture_says_fits_the_controls() -> None:
    hires = HiresPass(sampler="Euler SGM Uniform", upscaler="Latent")
    request = GenerationRequest(
        prompt="a", sampler="DPM++ 2M", scheduler="SGM Uniform", hires=hires
    )
    told = values_of(request)
    assert (told["sampler"], told["scheduler"]) == ("DPM++ 2M", "sgm_uniform")
    assert values_of(GenerationRequest(prompt="a"))["scheduler"] == "automatic"
    (said,) = not_shown(request)
    assert said.message == "this page has no control for hires sampler, so it is left out"
    assert not_shown(GenerationRequest(prompt="a")) == []
