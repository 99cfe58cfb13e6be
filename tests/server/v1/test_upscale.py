"""Finished images enlarged by our own route: kept like others, refused by the fields' own names."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from promptengine import GenerationCancelled
from promptengine.images.save import encode_image
from promptengine.images.upscalers import pixel_upscalers
from promptengine.server.base64_images import encode_base64
from promptengine.server.config import Limits
from promptengine.server.v1.upscale import UpscaleForm, _upscaled
from tests.server.conftest import Live
from tests.server.sdapi.test_rules import in_base64
from tests.server.sdapi.test_upscalers import decoded
from tests.server.v1.test_images import listed, server

UPSCALE = "/promptengine/v1/upscale"
RED = in_base64((24, 16))
TEXT = "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 24x16, Version: test"


def upscaled(http: httpx.Client, **form: Any) -> httpx.Response:
    return http.post(UPSCALE, json={"image": RED, **form})


def test_an_image_is_enlarged_and_kept(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as http:
        sent = encode_base64(encode_image(Image.new("RGB", (24, 16), "red"), "png", TEXT))
        told = upscaled(http, image=sent, scale=2).json()
        assert (told["width"], told["height"]) == (48, 32)
        assert told["infotext"] == TEXT
        assert (
            told["postprocessing"] == "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
        )
        assert told["saved"] == "extras-images/00000.png"
        (kept,) = http.get("/promptengine/v1/images").json()["images"]
        assert (kept["id"], kept["infotext"]) == (told["saved"], TEXT)
        file = http.get(f"/promptengine/v1/images/{told['saved']}").content
        image = Image.open(io.BytesIO(file))
        assert image.info["parameters"] == TEXT
        assert image.info["postprocessing"] == told["postprocessing"]
        assert decoded(told["image"]).size == image.size == (48, 32)
        assert upscaled(http).json()["saved"] == "extras-images/00001.png"


def test_a_size_is_covered_and_cropped(empty_models: Path, tmp_path: Path) -> None:
    size = {"mode": "scale to", "width": 40, "height": 40}
    with server(empty_models, tmp_path) as http:
        told = upscaled(http, **size).json()
        assert (told["width"], told["height"]) == (40, 40)
        whole = upscaled(http, **size, crop=False).json()
        assert whole["width"] > whole["height"] >= 40
        mixed = upscaled(http, upscaler_2="Nearest", visibility=0.5).json()
        assert mixed["postprocessing"].endswith("Postprocess upscaler 2: Nearest")


@pytest.mark.parametrize("save", [True, False])
def test_nothing_is_kept_where_somebody_says_so(
    empty_models: Path, tmp_path: Path, save: bool
) -> None:
    with server(empty_models, tmp_path / "out", save=save) as http:
        assert upscaled(http, save=not save).json()["saved"] is None
        assert listed(http) == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_costs_no_image(empty_models: Path, tmp_path: Path) -> None:
    (tmp_path / "extras-images").symlink_to(tmp_path.parent)
    with server(empty_models, tmp_path) as http:
        told = upscaled(http).json()
        assert told["image"]
        assert told["saved"] is None
        assert told["warnings"] == [
            "the image could not be saved: a link leads out of the output folder"
        ]


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"scale": 8.5}, "scale", "must be 0.01 to 8"),
        ({"scale": 0}, "scale", "must be 0.01 to 8"),
        ({"mode": "scale to", "width": 0}, "width", "must be 1 to 16384"),
        ({"visibility": 2}, "visibility", "must be 0 to 1"),
        ({"upscaler_1": "../x"}, "upscaler_1", "there are None, Lanczos, Nearest"),
        ({"upscaler_2": "Latent"}, "upscaler_2", "there are None, Lanczos, Nearest"),
        ({"scale": 6}, "scale", "ask for a smaller image"),
        ({"mode": "scale to", "width": 150, "height": 99}, "width", "ask for a smaller image"),
        ({"image": "AAAA"}, "image", "Invalid encoded image"),
        ({"image": "file:///etc/passwd"}, "image", "send the image itself"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    empty_models: Path, tmp_path: Path, form: dict[str, Any], field: str, words: str
) -> None:
    with server(empty_models, tmp_path, limits=Limits(pixels=100 * 100)) as http:
        answer = upscaled(http, **form)
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert words in answer.json()["detail"]
        assert listed(http) == []


def test_unknown_fields_are_refused(empty_models: Path, tmp_path: Path) -> None:
    with server(empty_models, tmp_path) as http:
        assert upscaled(http, gfpgan_visibility=1).status_code == 422
        assert http.post(UPSCALE, json={}).status_code == 422


def test_the_fields_are_told(live: Live) -> None:
    told = live.http.get(f"{UPSCALE}/fields").json()["properties"]
    first = told["upscaler_1"]
    assert (first["title"], first["x-api"]) == ("Upscaler 1", ["upscaler_1"])
    assert first["x-choices"] == pixel_upscalers(live.service.registry)
    assert told["mode"]["enum"] == ["scale by", "scale to"]


def test_a_client_that_goes_away_keeps_nothing(live: Live) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(GenerationCancelled):
        _upscaled(live.service, UpscaleForm(image=RED), cancel)
    assert live.service.outputs.find("extras-images/00000.png") is None
