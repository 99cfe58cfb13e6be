"""What axe-core says of the page, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from promptengine.images.save import save_image
from tests.ui.studio.axe import needs_axe, violations
from tests.ui.studio.conftest import Studio, StudioPage
from tests.ui.studio.galleries import INFOTEXT, gallery, put
from tests.ui.studio.test_img2img import Starting

PROMPT = "a (cat:1.3) [dog] [day:night:0.5] <hypernet:ink:0.8> <hypernet:inc:1> AND b BREAK (open"


def check(page: StudioPage, width: int) -> None:
    """Nothing bars anybody from what is shown; on a phone, all fits and can be touched."""
    assert violations(page) == []
    if width < 900:
        wide = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(wide) <= width
        small = (
            "return [...document.querySelectorAll('button, a.quiet, input')]"
            ".filter(one => one.checkVisibility() && !one.matches('.sr, [type=checkbox]'))"
            ".filter(one => one.getBoundingClientRect().height < 40).map(one => one.outerHTML)"
        )
        assert page.driver.execute_script(small) == []


THEME = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_images_bar_nobody(
    page: StudioPage, studio: Studio, tmp_path: Path, theme: str, width: int
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    path = tmp_path / "photo.png"
    Image.new("RGB", (320, 240), "gray").save(path)
    try:
        start = Starting(page, studio)
        page.driver.execute_script(THEME, theme)
        page.reload()
        start.view("img2img")
        page.one(".generate").click()
        page.one("[data-slot=img2img] .fault")
        assert violations(page) == []
        start.hand_in(path)
        assert violations(page) == []
        start.choose("img2img-mode", "inpaint")
        start.draw((60, 60), (160, 60))
        assert violations(page) == []
        start.choose("img2img-mode", "upload")
        page.driver.execute_script("document.getElementById('field-start.inpainting.soft').click()")
        page.one(".generate").click()
        page.one("[data-slot=mask-file] .fault")
        assert violations(page) == []
        start.view("extras")
        page.one("[data-field='extras.upscaler_1']")
        assert violations(page) == []
        start.hand_in(path, "extras")
        page.one(".generate").click()
        page.one(".compared")
        assert violations(page) == []
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_bars_anybody(page: StudioPage, studio: Studio, theme: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.driver.execute_script(THEME, theme)
    try:
        page.reload()
        assert violations(page) == []
        page.load(prompt=PROMPT, hires=True, steps="many")
        page.driver.execute_script(THEME, theme)
        page.reload()
        page.one(".generate").click()
        page.one("[data-field=steps] .fault")
        page.type_into("steps", "3")
        page.one(".generate").click()
        page.wait_for_images()
        studio.made.painter.gate.clear()
        page.one(".generate").click()
        page.one(".queue li[data-state=running]")
        for _ in range(2):
            page.one(".generate").click()
        page.until(lambda: page.all(".queue .moves"))
        page.one(".forever").click()
        assert violations(page) == []
        page.one(".forever").click()
    finally:
        studio.made.painter.gate.set()
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_bars_anybody_from_what_is_kept(
    page: StudioPage, tmp_path: Path, theme: str, width: int
) -> None:
    for age in range(5):
        put(tmp_path / "out" / f"{age}.png", f"a (cat:1.{age})", age)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    with gallery(page, tmp_path / "out", tmp_path / "models") as far:
        try:
            far.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            far.load()
            script = (
                "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
            )
            far.driver.execute_script(script, theme)
            far.reload()
            look_at_history(far, width)
            text = INFOTEXT.format(prompt="a cat").replace("Model: none", "Model: gone")
            save_image(Image.new("RGB", (64, 72)), tmp_path / "gone.png", text)
            look_at_infotexts(far, width, tmp_path / "gone.png")
        finally:
            far.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def look_at_history(page: StudioPage, width: int) -> None:
    page.one("nav a[href='#/history']").click()
    page.one(".tile img")
    # A bar that is too narrow shows where one is.
    here = page.one("nav a[aria-current]").rect
    assert here["x"] + here["width"] <= width
    check(page, width)
    page.one(".tile").click()
    page.one(".viewer [data-action=delete]").click()
    page.one(".viewer .notice")
    check(page, width)
    page.one(".viewer [data-action=compare]").click()
    page.one(".choosing")
    check(page, width)
    page.all(".tile")[1].click()
    page.one(".compare input")
    check(page, width)
    page.one(".compare button").click()
    page.one(".search").send_keys("nothing of it")
    page.one(".nothing")
    check(page, width)


def look_at_infotexts(page: StudioPage, width: int, image: Path) -> None:
    page.one("nav a[href='#/png-info']").click()
    page.one(".drop")
    check(page, width)
    page.driver.find_element(By.CSS_SELECTOR, ".drop input").send_keys(str(image))
    page.one(".parameters")
    check(page, width)
    page.one("[data-target=txt2img]").click()
    page.one(".notice .note")
    page.read()
    check(page, width)
