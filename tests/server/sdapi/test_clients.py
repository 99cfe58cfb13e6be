"""WebUI's clients as people use them: webuiapi against a live server, and sd-parsers on its files."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from sd_parsers import ParserManager
from webuiapi import HiResUpscaler, Upscaler, WebUIApi

from tests.server.conftest import Live
from tests.server.live import until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SIZE = {"width": 64, "height": 64, "steps": 2, "seed": 7}


@pytest.fixture
def api(live: Live) -> Iterator[WebUIApi]:
    api = WebUIApi(host="127.0.0.1", port=live.port)
    yield api
    api.session.close()


def test_txt2img(api: WebUIApi) -> None:
    result = api.txt2img(prompt="a cat <hypernet:hn-relu:0.8>", negative_prompt="dull", **SIZE)
    assert [image.size for image in result.images] == [(64, 64)]
    assert result.info["all_seeds"] == [7]
    assert result.info["networks"][0]["applied"]
    assert result.parameters["prompt"] == "a cat <hypernet:hn-relu:0.8>"
    assert result.image.info["parameters"] == result.info["infotexts"][0]


def test_txt2img_with_a_second_pass(api: WebUIApi) -> None:
    result = api.txt2img(
        prompt="a cat",
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler=HiResUpscaler.Latent,
        hr_second_pass_steps=1,
        denoising_strength=0.5,
        **SIZE,
    )
    assert result.image.size == (96, 96)
    assert result.info["denoising_strength"] == 0.5


def test_img2img_and_inpainting(api: WebUIApi) -> None:
    start = Image.new("RGB", (64, 64), "red")
    plain = api.img2img(images=[start], prompt="a cat", denoising_strength=0.5, **SIZE)
    assert plain.image.size == (64, 64)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    painted = api.img2img(
        images=[start],
        mask_image=mask,
        mask_blur=0,
        inpainting_fill=1,
        inpaint_full_res=False,
        prompt="a cat",
        denoising_strength=0.9,
        **SIZE,
    )
    assert painted.info["is_using_inpainting_conditioning"]
    assert painted.image.getpixel((60, 32)) == (255, 0, 0)


def test_png_info_gives_the_infotext_back(api: WebUIApi) -> None:
    made = api.txt2img(prompt="a (cat:1.2)", **SIZE)
    found = api.png_info(made.image)
    assert found.info == made.info["infotexts"][0]
    raw = {"image": made.json["images"][0]}
    answer = api.session.post(f"{api.baseurl}/png-info", json=raw).json()
    assert answer["info"] == made.info["infotexts"][0]
    assert answer["items"]["parameters"] == answer["info"]
    assert answer["parameters"]["Seed"] == "7"
    assert answer["info"].split("\n")[-1].split(", ")[-1].startswith("Version: ")


def test_lists(api: WebUIApi) -> None:
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert {model["model_name"] for model in api.get_sd_models()} == {"tiny", "other"}
    assert "hn-relu" in [network["name"] for network in api.get_hypernetworks()]
    assert [upscaler["name"] for upscaler in api.get_upscalers()][:1] == ["None"]
    assert "Latent" in [mode["name"] for mode in api.get_latent_upscale_modes()]
    assert api.get_embeddings()["loaded"]["sketchy"]["vectors"] == 2
    assert api.get_embeddings()["loaded"]["sketchy"]["shape"] == 48
    assert [style["name"] for style in api.get_prompt_styles()] == ["ink", "plain"]
    assert "prompt matrix" in api.get_scripts()["txt2img"]
    assert "soft inpainting" in api.get_scripts()["img2img"]
    assert api.get_loras() == api.get_sd_vae() == api.get_face_restorers() == []
    assert api.get_realesrgan_models() == []
    assert api.get_cmd_flags()["api"]
    assert api.get_memory()["ram"]["total"] > 0
    assert api.refresh_checkpoints() is None


def test_options_and_the_model(api: WebUIApi) -> None:
    options = api.get_options()
    assert api.set_options(options) is None
    assert api.get_options() == options
    api.util_set_model("other")
    try:
        assert api.util_get_current_model().startswith("other.safetensors")
        assert api.txt2img(prompt="a cat", **SIZE).info["sd_model_name"] == "other"
    finally:
        api.util_set_model("tiny")
    assert api.txt2img(prompt="a cat", **SIZE).info["sd_model_name"] == "tiny"


def test_progress_and_idleness(api: WebUIApi) -> None:
    api.util_wait_for_ready(check_interval=0.05)
    progress = api.get_progress()
    assert progress["progress"] == 0
    assert progress["state"]["job_count"] == 0
    assert api.interrupt() == {}
    assert api.skip() is None


def test_interrupt_gives_the_image_so_far(api: WebUIApi, live: Live) -> None:
    with ThreadPoolExecutor() as pool:
        long = {**SIZE, "steps": 150, "width": 128, "height": 128}
        asked = pool.submit(api.txt2img, prompt="a cat", n_iter=3, **long)
        until(lambda: live.service.queue.running and live.service.queue.running[0].step > 1)
        assert api.interrupt() == {}
        result = asked.result()
    assert [image.size for image in result.images] == [(128, 128)]
    assert result.info["all_seeds"] == [7]
    assert result.image.info["parameters"] == result.info["infotexts"][0]
    unfinished, stopped = result.info["warnings"]
    assert re.fullmatch(r"unfinished: ended after step \d+ of 150 \(seed 7\)", unfinished)
    assert stopped == "stopped after 1 of 3 batches"


def test_skip_goes_on_with_the_next_image(api: WebUIApi, live: Live) -> None:
    with ThreadPoolExecutor() as pool:
        long = {**SIZE, "steps": 100, "width": 128, "height": 128}
        asked = pool.submit(api.txt2img, prompt="a cat", n_iter=2, **long)
        until(lambda: live.service.queue.running and live.service.queue.running[0].step > 1)
        assert api.skip() is None
        result = asked.result()
    assert result.info["all_seeds"] == [7, 8]
    (unfinished,) = result.info["warnings"]
    assert unfinished.endswith("(seed 7)")


def test_enlarging(api: WebUIApi) -> None:
    start = Image.new("RGB", (20, 10), "red")
    larger = api.extra_single_image(start, upscaler_1=Upscaler.Lanczos, upscaling_resize=2)
    assert larger.image.size == (40, 16), "sides are multiples of 8, as in WebUI"
    several = api.extra_batch_images([start, start], upscaler_1=Upscaler.Nearest)
    assert [image.size for image in several.images] == [(40, 16)] * 2
    with pytest.raises(RuntimeError) as refused:
        api.extra_single_image(start, upscaler_1=Upscaler.ESRGAN_4x)
    assert refused.value.args[0] == 404


def test_enlarging_tells_what_was_done(api: WebUIApi) -> None:
    made = api.txt2img(prompt="a cat", **SIZE)
    larger = api.extra_single_image(made.image, upscaler_1=Upscaler.Lanczos, upscaling_resize=2)
    told = "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
    assert larger.info == f"<p>{told}</p>"
    assert larger.image.info["postprocessing"] == told
    assert larger.image.info["parameters"] == made.info["infotexts"][0]
    sized = api.extra_batch_images(
        [made.image],
        resize_mode=1,
        upscaling_resize_w=48,
        upscaling_resize_h=32,
        upscaler_1=Upscaler.Nearest,
        upscaler_2=Upscaler.Lanczos,
        extras_upscaler_2_visibility=0.5,
    )
    assert sized.images[0].info["postprocessing"] == (
        "Postprocess upscale to: 48x32, Postprocess crop to: 48x32, "
        "Postprocess upscaler: Nearest, Postprocess upscaler 2: Lanczos"
    )


def test_no_upscaler_leaves_the_image_as_it_is(api: WebUIApi) -> None:
    start = Image.new("RGBA", (20, 10), (255, 0, 0, 128))
    same = api.extra_single_image(
        start,
        upscaler_1=Upscaler.none,
        upscaler_2=Upscaler.Lanczos,
        extras_upscaler_2_visibility=1,
        upscaling_resize=4,
        gfpgan_visibility=0.5,
        codeformer_visibility=1,
    )
    assert (same.image.mode, same.image.tobytes()) == (start.mode, start.tobytes())
    warned = ["gfpgan_visibility is not honored", "codeformer_visibility is not honored"]
    assert same.json["warnings"] == warned
    assert all(text in same.info for text in warned)
    assert "Postprocess" not in same.info


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_sd_parsers_reads_the_files(live: Live, form: str) -> None:
    request = {"prompt": "a (cat:1.2)", "negative_prompt": "dull", **SIZE}
    request["override_settings"] = {"samples_format": form}
    data = base64.b64decode(live.http.post("/sdapi/v1/txt2img", json=request).json()["images"][0])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == form.upper()
        told = ParserManager().parse(image)
    assert told is not None
    assert [prompt.value for prompt in told.prompts] == ["a (cat:1.2)"]
    assert [prompt.value for prompt in told.negative_prompts] == ["dull"]
    (sampler,) = told.samplers
    assert sampler.parameters["seed"] == "7"
