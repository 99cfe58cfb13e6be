"""What images and texts say: read, shown, put into the form, and sent to where images are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from promptengine.images.save import save_image
from tests.ui.studio.conftest import HOSTILE, Studio, StudioPage
from tests.ui.studio.galleries import INFOTEXT, put

HIRES = f"{INFOTEXT}, Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 3, ENSD: 31337"


@pytest.fixture
def info(page: StudioPage) -> Iterator[StudioPage]:
    page.one("nav a[href='#/png-info']").click()
    page.one(".png-info")
    page.complaints()
    yield page
    assert not [message for message in page.complaints() if "Content Security" in message]


def give(page: StudioPage, path: Path) -> None:
    page.driver.find_element(By.CSS_SELECTOR, ".drop input").send_keys(str(path))


def rows(page: StudioPage) -> dict[str, str]:
    page.one(".parameters")
    script = (
        "return Object.fromEntries([...document.querySelectorAll('.parameters tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent)))"
    )
    return page.driver.execute_script(script)


def paste(page: StudioPage, text: str) -> None:
    script = (
        "const data = new DataTransfer(); data.setData('text/plain', arguments[0]);"
        "document.body.dispatchEvent("
        "new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"
    )
    page.driver.execute_script(script, text)


def shown(page: StudioPage, *paths: str) -> list[str]:
    return [page.control(path).get_property("value") for path in paths]


def test_an_image_is_read_and_sent_to_txt2img(
    info: StudioPage, studio: Studio, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    save_image(Image.new("RGB", (64, 72), "red"), path, HIRES.format(prompt="a cat"))
    give(info, path)
    told = rows(info)
    assert (told["Steps"], told["Size-1"], told["Hires upscale"]) == ("9", "64", "1.5")
    assert info.one(".read .infotext").text == HIRES.format(prompt="a cat")
    assert info.one(".given img").get_property("naturalHeight") == 72
    info.one("[data-target=txt2img]").click()
    info.read()
    assert info.prompt_text == "a cat"
    assert shown(info, "steps", "seed", "width") == ["9", "18446744073709551615", "64"]
    assert info.control("hires").is_selected()
    assert shown(info, "hires.scale", "hires.denoising_strength") == ["1.5", "0.4"]
    assert {one.text for one in info.all(".overrides li")} == {
        "randn_source: NV",
        "eta_noise_seed_delta: 31337",
    }
    info.one("[aria-label='Drop randn_source']").click()
    info.one(".generate").click()
    info.wait_for_images()
    (request,) = studio.made.requests
    assert (request.prompt, request.negative_prompt, request.steps) == ("a cat", "fog", 9)
    assert request.seed == 18446744073709551615
    assert request.hires is not None
    assert (request.hires.scale, request.hires.steps) == (1.5, 3)
    assert request.options.to_webui()["eta_noise_seed_delta"] == 31337
    assert request.options.to_webui()["randn_source"] == "CPU"


INPAINTED = (
    f"{INFOTEXT}, Denoising strength: 0.6, Mask blur: 7, Inpaint area: Only masked, "
    "Masked content: latent noise"
)


@pytest.mark.parametrize("target", ["img2img", "inpaint"])
def test_an_image_is_read_and_sent_to_be_changed(
    info: StudioPage, studio: Studio, tmp_path: Path, target: str
) -> None:
    save_image(Image.new("RGB", (64, 72)), tmp_path / "a.png", INPAINTED.format(prompt="a cat"))
    give(info, tmp_path / "a.png")
    info.one(f"[data-target={target}]:enabled").click()
    info.one("[data-slot=img2img][data-filled=true]")
    info.read()
    assert info.prompt_text == "a cat"
    assert shown(info, "steps", "start.denoising_strength") == ["9", "0.6"]
    chosen = info.all("input[name=img2img-mode]:checked")
    assert [one.get_property("value") for one in chosen] == [target]
    if target == "img2img":
        info.one(".generate").click()
        info.until(lambda: studio.made.requests)
        (request,) = studio.made.requests
        assert request.start is not None
        assert (request.start.denoising_strength, request.start.inpainting) == (0.6, None)
        assert request.start.images[0].size == (64, 72)
    else:
        values = info.driver.execute_script(
            "return JSON.parse(localStorage.getItem('promptengine.studio.values'))"
        )
        started = {name: value for name, value in values.items() if "inpainting" in name}
        assert started["start.inpainting.blur"] == "7×7"
        assert started["start.inpainting.only_masked"] is True
        assert started["start.inpainting.content"] == "latent noise"


def test_an_image_is_sent_to_extras_alone(info: StudioPage, tmp_path: Path) -> None:
    give(info, put(tmp_path / "a.png", "a cat"))
    rows(info)
    info.one("[data-target=extras]").click()
    info.one("[data-slot=extras][data-filled=true]")
    info.one("nav a[href='#/txt2img']").click()
    # What is enlarged says nothing to what is made.
    assert shown(info, "steps") == ["3"]


def test_what_was_read_outlives_a_reload(info: StudioPage, tmp_path: Path) -> None:
    give(info, put(tmp_path / "a.png", "a cat"))
    assert rows(info)["Prompt"] == "a cat"
    info.driver.refresh()
    assert rows(info)["Prompt"] == "a cat"
    assert info.one(".given img").get_attribute("alt") == "a.png"


def test_a_later_image_without_a_second_pass_takes_it_away(
    info: StudioPage, tmp_path: Path
) -> None:
    save_image(Image.new("RGB", (8, 8)), tmp_path / "a.png", HIRES.format(prompt="a cat"))
    put(tmp_path / "b.png", "a dog")
    for name in ("a.png", "b.png"):
        give(info, tmp_path / name)
        info.until(
            lambda name=name: info.text(".given img") or info.all(f".given img[alt='{name}']")
        )
        rows(info)
        info.one("[data-target=txt2img]").click()
        info.one(".generate")
        assert info.control("hires").is_selected() is (name == "a.png")
        info.one("nav a[href='#/png-info']").click()
    # It is still there when the view is shown again.
    assert rows(info)["Prompt"] == "a dog"


def test_a_pasted_text_is_read(info: StudioPage) -> None:
    paste(info, INFOTEXT.format(prompt=HOSTILE))
    assert rows(info)["Prompt"] == HOSTILE
    assert not info.all(".given .canvas")
    # A text has no image that could be changed.
    assert not info.one("[data-target=img2img]").is_enabled()
    assert not info.all("img[src=x]")
    assert info.driver.title == "promptengine"


def test_what_is_not_here_is_told(info: StudioPage) -> None:
    text = INFOTEXT.format(prompt="a cat").replace("Model: none", "Model: gone, Nonsense: 5")
    paste(info, text)
    notes = info.one(".read .notes").text
    assert "checkpoint 'gone' is not in the models folder" in notes
    assert "'Nonsense' is not understood" in notes
    info.one("[data-target=txt2img]").click()
    # Where the settings are, it is told again.
    assert "checkpoint 'gone'" in info.one(".notice").text
    info.one(".rail")
    info.one("[aria-label='Close this note']").click()
    assert not info.all(".notice")


def test_other_files_are_told(info: StudioPage, tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_itxt("prompt", json.dumps({"1": {"class_type": "KSampler", "inputs": {}}}))
    Image.new("RGB", (8, 8)).save(tmp_path / "comfy.png", pnginfo=chunks)
    give(info, tmp_path / "comfy.png")
    assert "metadata of ComfyUI" in info.one(".read .notes").text
    assert info.one(".more-text summary").text == "prompt"
    assert not info.one("[data-target=txt2img]").is_enabled()
    (tmp_path / "cut.png").write_bytes(put(tmp_path / "whole.png", "a cat").read_bytes()[:60])
    give(info, tmp_path / "cut.png")
    assert "Invalid encoded image" in info.one(".read .fault").text
    assert "cannot show" in info.one(".given .waiting").text
    (tmp_path / "words.png").write_bytes(b"no image at all")
    give(info, tmp_path / "words.png")
    info.until(lambda: "no image of the kinds" in info.text(".read .fault"))
    # The next good one is read again.
    give(info, tmp_path / "whole.png")
    assert rows(info)["Prompt"] == "a cat"
    assert not info.all(".read .fault")


def test_settings_are_read_from_the_prompt_box(page: StudioPage, studio: Studio) -> None:
    page.load(prompt=INFOTEXT.format(prompt="a cat"), tiling=True)
    styles = "promptengine.studio.styles"
    page.driver.execute_script("localStorage.setItem(arguments[0], '[\"ink\"]')", styles)
    page.reload()
    page.one("[data-action=read-prompt]").click()
    page.until(lambda: page.prompt_text == "a cat")
    assert shown(page, "steps", "cfg_scale", "sampler") == ["9", "4.5", "DPM++ 2M"]
    assert not page.control("tiling").is_selected()
    # Its prompt has the texts of its styles already.
    assert page.driver.execute_script("return localStorage.getItem(arguments[0])", styles) == "[]"
    assert "Prompt and settings are read." in page.one(".notice").text
    # A prompt alone stays as it is; an empty one asks for the image that is shown.
    page.one("[data-action=read-prompt]").click()
    page.until(lambda: "nothing else" in page.one(".notice").text)
    assert shown(page, "steps") == ["9"]
    page.one(".generate").click()
    page.wait_for_images()
    page.type_into("steps", "4")
    page.write("")
    page.one("[data-action=read-prompt]").click()
    page.until(lambda: page.prompt_text == "a cat")
    assert shown(page, "steps") == ["9"]


def test_an_image_that_was_made_is_used_again(page: StudioPage) -> None:
    page.load(prompt="a cat", seed="41")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait_for_images()
    page.type_into("seed", "-1")
    page.write("a dog")
    reuse = {one.text: one for one in page.all(".details .image-actions button")}
    reuse["Reuse seed"].click()
    page.until(lambda: shown(page, "seed") == ["41"])
    assert page.prompt_text == "a dog"
    page.type_into("steps", "17")
    page.one(".details [data-target=txt2img]").click()
    page.until(lambda: page.prompt_text == "a cat")
    assert shown(page, "steps") == ["3"]
