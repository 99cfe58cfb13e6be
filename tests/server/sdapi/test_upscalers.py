"""Networks that enlarge images, as WebUI's clients list and use them."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from promptengine import GenerationCancelled
from promptengine.server.sdapi.requests import Upscaling
from promptengine.server.sdapi.upscale import upscale_images
from tests.server.conftest import Live
from tests.super_resolution.builders import nearest_compact, write


def encoded(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    image = Image.open(BytesIO(base64.b64decode(text)))
    image.load()
    return image


RED = encoded(Image.new("RGB", (24, 16), "red"))


@pytest.fixture(scope="module")
def twice(live: Live) -> Iterator[str]:
    path = write(Path(str(live.config.models)) / "ESRGAN" / "Twice.pth", nearest_compact(2))
    yield path.stem
    path.unlink()


def test_they_are_listed_with_their_files(live: Live, twice: str) -> None:
    listed = {one["name"]: one for one in live.http.get("/sdapi/v1/upscalers").json()}
    assert list(listed)[:3] == ["None", "Lanczos", "Nearest"]
    assert listed[twice]["model_name"] == twice
    assert listed[twice]["model_path"].endswith("Twice.pth")
    assert listed["Lanczos"]["model_path"] is None


def test_one_image_and_several_are_enlarged(live: Live, twice: str) -> None:
    told = "Postprocess upscale by: 2.0, Postprocess upscaler: Twice"
    fields: dict[str, Any] = {"upscaler_1": twice, "upscaling_resize": 2}
    answer = live.http.post("/sdapi/v1/extra-single-image", json={"image": RED, **fields})
    assert answer.status_code == 200
    assert answer.json()["html_info"] == f"<p>{told}</p>"
    image = decoded(answer.json()["image"])
    assert (image.size, image.getpixel((47, 31))) == ((48, 32), (255, 0, 0))
    assert image.info["postprocessing"] == told
    images = [{"data": RED, "name": "a"}, {"data": RED, "name": "b"}]
    answer = live.http.post("/sdapi/v1/extra-batch-images", json={"imageList": images, **fields})
    assert [decoded(one).size for one in answer.json()["images"]] == [(48, 32)] * 2


def test_settings_of_tiles_are_heeded(live: Live, twice: str) -> None:
    fields = {"image": RED, "upscaler_1": twice}
    live.http.post("/sdapi/v1/options", json={"ESRGAN_tile": 4})
    try:
        answer = live.http.post("/sdapi/v1/extra-single-image", json=fields)
        assert (answer.status_code, answer.json()["error"]) == (422, "RequestError")
        assert "ESRGAN_tile_overlap is 8" in answer.text
    finally:
        live.http.post("/sdapi/v1/options", json={"ESRGAN_tile": 192})


def test_a_second_pass_uses_them(live: Live, twice: str) -> None:
    fields: dict[str, Any] = {
        "prompt": "a cat",
        "steps": 1,
        "width": 64,
        "height": 64,
        "enable_hr": True,
        "hr_upscaler": twice,
        "hr_scale": 1.5,
        "denoising_strength": 0.5,
    }
    answer = live.http.post("/sdapi/v1/txt2img", json=fields)
    assert answer.status_code == 200
    assert decoded(answer.json()["images"][0]).size == (96, 96)
    assert "Hires upscaler: Twice" in answer.json()["info"]
    answer = live.http.post("/sdapi/v1/txt2img", json={**fields, "hr_upscaler": "Thrice"})
    assert answer.status_code == 404
    assert "Upscaler not found: 'Thrice'; there are Latent" in answer.text
    assert "Twice" in answer.text


@pytest.mark.parametrize("field", ["upscaler_1", "upscaler_2"])
def test_unknown_names_are_not_found(live: Live, twice: str, field: str) -> None:
    fields = {"image": RED, "upscaler_1": twice, field: "no-such"}
    answer = live.http.post("/sdapi/v1/extra-single-image", json=fields)
    assert answer.status_code == 404
    assert "there are None, Lanczos, Nearest, Twice" in answer.text


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("never",)


def test_a_file_that_would_run_code_is_refused(live: Live) -> None:
    import torch

    path = Path(str(live.config.models)) / "ESRGAN" / "hostile.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save({"params": Hostile()}, path)
    try:
        fields = {"image": RED, "upscaler_1": "hostile"}
        answer = live.http.post("/sdapi/v1/extra-single-image", json=fields)
        assert answer.status_code == 422
        assert "it asks to run 'posix.mkdir'" in answer.text
        assert not Path("never").exists()
    finally:
        path.unlink()


def test_a_client_that_goes_away_ends_the_work(live: Live, twice: str) -> None:
    cancel = threading.Event()
    cancel.set()
    fields = Upscaling(image=RED, upscaler_1=twice)
    with pytest.raises(GenerationCancelled, match="between two tiles"):
        upscale_images([RED], fields, live.service, cancel)
    assert upscale_images([RED], fields, live.service, threading.Event()).images
