"""WebUI's Extras on the page: an image is enlarged, shown beside what it was, kept, and sent on."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import httpx
import pytest
from PIL import Image

from promptengine.errors import GenerationCancelled
from promptengine.images.save import save_image
from promptengine.server.v1 import upscale
from tests.ui.studio.conftest import Studio, StudioPage
from tests.ui.studio.test_img2img import Starting

TEXT = "a fox\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 40x24, Version: test"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save_image(Image.new("RGB", (40, 24), "red"), tmp_path / "small.png", TEXT)
    return tmp_path / "small.png"


@pytest.fixture
def extras(page: StudioPage, studio: Studio) -> Starting:
    starting = Starting(page, studio)
    starting.view("extras")
    page.one("[data-field='extras.upscaler_1']")
    return starting


def test_an_image_is_enlarged_kept_and_sent_on(
    extras: Starting, studio: Studio, small: Path
) -> None:
    page = extras.page
    page.one(".generate").click()
    assert "no image to enlarge" in page.one("[data-slot=extras] .fault").text
    extras.hand_in(small, "extras")
    page.type_into("extras.scale", "3")
    page.one(".generate").click()
    after = page.one(".compared img[alt=after]")
    page.until(lambda: after.get_property("naturalWidth") == 120)
    told = page.one(".infotext").text
    assert told.startswith("a fox\n")
    assert told.endswith("Postprocess upscale by: 3.0, Postprocess upscaler: Lanczos")
    name = page.one(".extras-told b").text
    root = studio.url.removesuffix("studio/")
    kept = httpx.get(f"{root}promptengine/v1/images/{name}")
    assert Image.open(io.BytesIO(kept.content)).size == (120, 72)
    page.one("[data-target=inpaint]").click()
    page.one(".mask-editor")
    assert "120 × 72" in page.text("[data-slot=img2img] .count")
    # What was made, and what it was made from, are there when one comes back.
    extras.view("extras")
    assert page.one(".compared")
    page.driver.refresh()
    assert "40 × 24" in page.one("[data-slot=extras][data-filled=true]").text


def test_only_what_counts_is_shown_and_sent(extras: Starting, small: Path) -> None:
    page = extras.page
    extras.hand_in(small, "extras")
    assert not page.all("[data-field='extras.width']")
    assert not page.all("[data-field='extras.visibility']")
    page.type_into("extras.scale", "100")
    page.one(".generate").click()
    assert "0.01 to 8" in page.one("[data-field='extras.scale'] .fault").text
    extras.choose("field-extras.mode", "scale to")
    page.type_into("extras.width", "50")
    page.type_into("extras.height", "50")
    page.control("extras.upscaler_2").send_keys("Nearest")
    page.type_into("extras.visibility", "0.5")
    page.one(".generate").click()
    page.until(lambda: "50 × 50" in page.text(".extras-told"))
    assert "Postprocess upscaler 2: Nearest" in page.one(".infotext").text


def test_what_the_server_refuses_is_told_at_its_place(extras: Starting, tmp_path: Path) -> None:
    page, path = extras.page, tmp_path / "wide.png"
    Image.new("RGB", (2000, 1000)).save(path)
    extras.hand_in(path, "extras")
    page.type_into("extras.scale", "8")
    page.one(".generate").click()
    assert "ask for a smaller image" in page.one("[data-field='extras.scale'] .fault").text


def test_it_is_cancelled(extras: Starting, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[threading.Event] = []
    ended: list[bool] = []

    def slow(_images: object, _wish: object, _service: object, cancel: threading.Event) -> None:
        asked.append(cancel)
        ended.append(cancel.wait(20))
        raise GenerationCancelled("cancelled")

    monkeypatch.setattr(upscale, "enlarge_images", slow)
    page = extras.page
    extras.hand_in(small, "extras")
    page.one(".generate").click()
    page.until(lambda: asked)
    page.one(".extras-actions .quiet").click()
    page.until(lambda: ended == [True])
    page.until(lambda: page.one(".generate").is_enabled())
    assert not page.all(".extras .fault")
