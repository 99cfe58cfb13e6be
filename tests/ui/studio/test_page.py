"""The page at /studio/ in a browser: it loads within its policy, shows what is sent, and loses nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.v1 import routes as v1
from promptengine.ui.studio.routes import add_studio
from tests.server.live import running
from tests.ui.browser import opened
from tests.ui.studio.cable import Cable
from tests.ui.studio.conftest import HOSTILE, Made, Studio, StudioPage, models_in

MAX_SEED = "18446744073709551615"


def test_it_loads_within_its_policy_and_from_here_alone(page: StudioPage, studio: Studio) -> None:
    page.asked()
    page.reload()
    asked = [url for url in page.asked() if not url.startswith("data:")]
    root = studio.url.removesuffix("studio/")
    assert all(url.startswith(root) for url in asked), asked
    assert len(asked) <= 12, asked
    assert page.complaints() == []
    assert page.driver.get_cookies() == []


def test_every_field_is_there_under_its_own_words(page: StudioPage) -> None:
    labels = page.text(".rail label")
    for words in ("Sampling method", "Schedule type", "Sampling steps", "CFG Scale", "Clip skip"):
        assert words in labels
    assert page.driver.find_element(By.CSS_SELECTOR, "[data-group=hires] h2").text == "Hires. fix"
    assert "Image to image" not in page.text(".rail")
    assert page.all("[data-field='hires.denoising_strength']")


def test_on_a_desktop_the_parts_scroll_and_not_the_page(page: StudioPage) -> None:
    page.load(hires=True)
    inside = "const page = document.scrollingElement; return page.scrollHeight <= innerHeight"
    assert page.driver.execute_script(inside)
    rail = (
        "const rail = document.querySelector('.settings'); return rail.scrollHeight > innerHeight"
    )
    assert page.driver.execute_script(rail)


def test_a_field_added_to_the_schema_appears_and_shows_its_error(
    page: StudioPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = v1.fields_schema

    def with_glow(*arguments: Any) -> dict[str, Any]:
        told = described(*arguments)
        glow = {"title": "Glow", "description": "how much it glows", "type": "number"}
        told["properties"]["glow"] = {**glow, "minimum": 0, "maximum": 9, "default": 2}
        return told

    monkeypatch.setattr(v1, "fields_schema", with_glow)
    page.reload()
    assert page.control("glow").get_property("value") == "2"
    page.press(Keys.CONTROL, Keys.ENTER)
    # It is sent as it is shown, so the server, which knows no such field, refuses it.
    fault = page.one("[data-field=glow] .fault")
    assert "not permitted" in fault.text
    page.type_into("glow", "99")
    assert page.one("[data-field=glow] .fault").text == "Glow must be a number from 0 to 9."


def test_what_is_shown_is_what_is_sent(page: StudioPage, studio: Studio) -> None:
    page.load(prompt="a cat", negative_prompt="dog", hires=True)
    page.type_into("steps", "11")
    page.type_into("cfg_scale", "4.5")
    page.type_into("seed", MAX_SEED)
    page.type_into("hires.scale", "1.5")
    page.control("tiling").click()
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait_for_images()
    (request,) = studio.made.requests
    assert (request.prompt, request.negative_prompt) == ("a cat", "dog")
    assert (request.steps, request.cfg_scale, request.seed) == (11, 4.5, int(MAX_SEED))
    assert (request.width, request.height, request.tiling) == (64, 64, True)
    assert request.policy == "warn"
    assert request.hires is not None
    assert request.hires.scale == 1.5


def test_what_is_off_cannot_be_set(page: StudioPage) -> None:
    page.driver.execute_script("document.querySelector('[data-group=hires]').open = true")
    assert not page.control("hires.scale").is_enabled()
    boxes = page.all("[inert] [data-prompt='hires.prompt']")
    assert len(boxes) == 1
    page.control("hires").click()
    assert page.control("hires.scale").is_enabled()
    assert not page.all("[inert]")


def test_a_value_that_cannot_be_is_told_at_its_field(page: StudioPage, studio: Studio) -> None:
    page.type_into("steps", "many")
    page.press(Keys.CONTROL, Keys.ENTER)
    assert "whole number from 1 to 1000" in page.one("[data-field=steps] .fault").text
    # What only the server can tell comes with its remedy.
    page.type_into("steps", "900")
    assert not page.all("[data-field=steps] .fault")
    page.press(Keys.CONTROL, Keys.ENTER)
    fault = page.one("[data-field=steps] .fault")
    assert fault.text == "steps is 900; 1 to 150 are allowed here"
    assert page.control("steps").get_attribute("aria-invalid") == "true"
    assert studio.made.requests == []


def test_settings_and_prompts_survive_a_reload(page: StudioPage) -> None:
    page.write("a fox")
    page.type_into("steps", "9")
    page.control("tiling").click()
    page.reload()
    assert page.prompt_text == "a fox"
    assert page.control("steps").get_property("value") == "9"
    assert page.control("tiling").is_selected()


def test_a_job_is_found_again_after_a_reload(page: StudioPage, studio: Studio) -> None:
    studio.made.painter.gate.clear()
    page.write("a cat <hypernet:ink:0.8>")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: studio.made.requests)
    page.one(".queue li[data-state=running]")
    page.reload()
    assert len(page.all(".queue li")) == 1
    studio.made.painter.gate.set()
    page.wait_for_images()
    assert page.one(".infotext").text.startswith("a cat <hypernet:ink:0.8>\nSteps: 3")
    page.reload()
    page.wait_for_images()
    applied, skipped = (one.text for one in page.all(".networks li"))
    assert applied.splitlines() == ["ink hypernet × 0.8", "applied"]
    assert skipped.splitlines() == [f"{HOSTILE} hypernet × 1", "not applied: not found"]


def test_a_lost_connection_loses_no_job(page: StudioPage, studio: Studio, tmp_path: Path) -> None:
    made = Made()
    config = ServerConfig(
        models=models_in(tmp_path / "models"),
        checkpoint="none",
        output=tmp_path / "outputs",
        allowed_hosts=("127.0.0.1",),
    )
    app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        cable = Cable(int(url.rpartition(":")[2]))
        far = StudioPage(page.driver, f"http://127.0.0.1:{cable.port}/studio/")
        far.load(prompt="a cat")
        far.press(Keys.CONTROL, Keys.ENTER)
        far.one(".queue li[data-state=running]")
        cable.cut()
        far.one(".lost", 20)
        made.painter.gate.set()
        cable.mend()
        far.wait_for_images()
        assert not far.all(".lost")
        assert far.one(".infotext").text.startswith("a cat")
        cable.cut()


def test_keys_queue_interrupt_and_skip(page: StudioPage, studio: Studio) -> None:
    studio.made.painter.gate.clear()
    page.load(prompt="a cat", batch_count="2")
    page.box().find_element(By.CSS_SELECTOR, ".cm-content").click()
    page.press(Keys.CONTROL, Keys.ENTER)
    page.one(".queue li[data-state=running]")
    assert page.prompt_text == "a cat"
    page.press(Keys.ALT, Keys.ENTER)
    page.until(lambda: len(studio.made.requests) == 2)
    page.keys(Keys.ESCAPE)
    page.wait_for_images(2)
    assert "Interrupted" in page.one(".details h2").text


def test_jobs_queue_and_are_cancelled(page: StudioPage, studio: Studio) -> None:
    studio.made.painter.gate.clear()
    page.load(prompt="first", batch_size="3")
    page.one(".generate").click()
    page.one(".queue li[data-state=running]")
    for text in ("second", "third"):
        page.write(text)
        page.one(".generate").click()
        page.until(lambda text=text: text in page.text(".queue"))
    assert [one.text for one in page.all(".queue .words")] == ["first", "second", "third"]
    page.all(".queue [data-button=cancel]")[1].click()
    page.until(lambda: len(page.all(".queue li")) == 2)
    studio.made.painter.gate.set()
    # Both kept jobs have three images.
    page.wait_for_images(6)
    assert {request.prompt for request in studio.made.requests} == {"first", "third"}


def test_an_image_opens_large(page: StudioPage) -> None:
    page.write("a cat")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait_for_images()
    page.one(".canvas .open").click()
    page.one("dialog.large img")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.driver.find_element(By.CSS_SELECTOR, "dialog").is_displayed())


@pytest.mark.parametrize("reload", [False, True])
def test_a_made_image_goes_on_within_the_policy(page: StudioPage, reload: bool) -> None:
    """From the server's memory it is an address of the page's own, which the policy lets nothing fetch."""
    page.write("a cat")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait_for_images()
    if reload:
        page.reload()
    page.complaints()
    clicks = (
        "window.saved = null;"
        "HTMLAnchorElement.prototype.click = function () { window.saved = this.download; };"
    )
    page.driver.execute_script(clicks)
    page.one(".infotext")
    button(page, "Download").click()
    page.until(lambda: page.driver.execute_script("return window.saved"))
    assert re.fullmatch(r"promptengine-\d+\.png", page.driver.execute_script("return window.saved"))
    button(page, "Send to inpaint").click()
    page.until(lambda: any(one.is_displayed() for one in page.all(".stage canvas")))
    assert page.complaints() == []


def button(page: StudioPage, words: str) -> WebElement:
    return next(one for one in page.all(".details button") if one.text == words)


def test_hostile_words_are_words(page: StudioPage) -> None:
    page.load(prompt=HOSTILE, negative_prompt=HOSTILE, policy="warn")
    page.one(".generate").click()
    page.wait_for_images()
    assert HOSTILE in page.one(".infotext").text
    choices = page.all("#field-checkpoint option")
    assert HOSTILE in [one.text for one in choices]
    assert page.prompt_text == HOSTILE
    assert page.driver.title == "promptengine"
    assert not page.all("img[src=x]")


def test_colors_are_chosen_and_kept(page: StudioPage) -> None:
    switch = "header button"
    page.one(switch).click()
    page.one(switch).click()
    background = "return getComputedStyle(document.body).backgroundColor"
    dark = page.driver.execute_script(background)
    page.reload()
    assert page.driver.execute_script(background) == dark
    page.one(switch).click()
    page.one(switch).click()
    assert page.driver.execute_script(background) != dark


def test_a_phone_has_its_actions_at_hand(page: StudioPage) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.reload()
        wide = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(wide) == 390
        small = (
            "return [...document.querySelectorAll('button, select, input:not([type=checkbox])')]"
            ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 40)"
            ".map(one => one.outerHTML)"
        )
        assert page.driver.execute_script(small) == []
        assert page.one(".generate").rect["y"] > 700
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_below_another_place_and_behind_passwords(tmp_path: Path) -> None:
    made = Made()
    made.painter.gate.set()
    config = ServerConfig(
        models=models_in(tmp_path / "models"),
        checkpoint="none",
        output=tmp_path / "outputs",
        subpath="/sd",
        users=(("ann", "secret"),),
    )
    app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        address = f"{url.replace('://', '://ann:secret@')}/sd/studio/"
        with opened(address) as plain:
            page = StudioPage(plain.driver, plain.url)
            page.load(prompt="a cat")
            page.press(Keys.CONTROL, Keys.ENTER)
            page.wait_for_images()
            assert page.one(".infotext").text.startswith("a cat")
