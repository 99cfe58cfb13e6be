"""Civitai beside the cards: found, downloaded, and put into the prompt, while the browser asks this server alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from promptengine.civitai.site import BASE_VARIABLE
from promptengine.civitai.web import TOKEN_VARIABLE
from promptengine.images.save import save_image
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.ui.studio.routes import add_studio
from tests.civitai.site import FakeSite
from tests.civitai.site import running as site_running
from tests.civitai.test_keep import CONTENT, EVIL, weights
from tests.server.live import running
from tests.ui.studio.axe import needs_axe
from tests.ui.studio.conftest import HOSTILE, Made, StudioPage, models_in
from tests.ui.studio.test_accessibility import THEME, check

TOKEN = "s3cret-token-of-the-server"
LARGE = weights(100_000)
TERMS = {
    "allowNoCredit": False,
    "allowCommercialUse": ["Image", "RentCivit"],
    "allowDerivatives": True,
    "allowDifferentLicense": False,
}


@dataclass(frozen=True)
class Shop:
    """A page whose server asks the site."""

    page: StudioPage
    fake: FakeSite
    models: Path

    def open(self, label: str = "Hypernetworks") -> None:
        """Show the cards of a kind, and Civitai's beside them."""
        page = self.page
        tab = page.until(
            lambda: next((x for x in page.all(".tabs button") if x.text == label), None)
        )
        page.driver.execute_script("arguments[0].click()", tab)
        choice = page.until(lambda: page.all(".cards .segments input[value=civitai]"))[0]
        page.driver.execute_script("arguments[0].click()", choice)
        page.one(".cards-bar[role=search]")

    def search(self, text: str) -> None:
        """Look for a text, and wait for the answer."""
        box = self.page.one(".cards-bar input[type=text]")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.DELETE + text + Keys.ENTER)
        self.page.until(lambda: self.page.all(".cards-scroll[aria-busy=false]"))

    def card(self, version: int) -> WebElement:
        return self.page.one(f".found-card[data-version='{version}']")

    def press(self, version: int, css: str = ".get") -> None:
        """Press a button of a card."""
        button = self.page.one(f".found-card[data-version='{version}'] {css}")
        self.page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def state(self, version: int, state: str) -> WebElement:
        """Wait until a card is in a state."""
        return self.page.one(f".found-card[data-version='{version}'] [data-state={state}]", 30)


def fill(fake: FakeSite) -> None:
    """What the site has."""
    fake.add(1, LARGE, name="wash.pt", model={"name": "Ink wash", "type": "Hypernetwork", **TERMS})
    fake.add(2, EVIL["zip"], name="evil.pt", model={"name": HOSTILE, "type": "Hypernetwork"})
    fake.add(3, CONTENT, name="ink.pt", model={"name": "Ink lines", "type": "Hypernetwork"})
    fake.add(
        4, CONTENT, name="flux.pt", baseModel="Flux.1 D", model={"name": "Ink flux", "type": "LORA"}
    )
    fake.add(5, CONTENT, name="p.zip", model={"name": "Ink poses", "type": "Poses"}, images=[])


@contextmanager
def shop_of(browser: StudioPage, folder: Path, *, civitai: bool) -> Iterator[Shop]:
    with site_running() as fake, pytest.MonkeyPatch.context() as patch:
        patch.setenv(BASE_VARIABLE, fake.url)
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        fill(fake)
        models = models_in(folder / "models")
        made = Made()
        made.painter.gate.set()
        config = ServerConfig(
            models=models, checkpoint="none", output=folder / "out", civitai=civitai
        )
        app = create_app(config, [made])
        add_studio(app)
        with running(app) as url:
            page = StudioPage(browser.driver, f"{url}/studio/")
            page.load()
            page.complaints()
            page.asked()
            try:
                yield Shop(page, fake, models)
            finally:
                fake.gate.set()
                # A page that listens would keep the server from ending.
                browser.driver.execute_script("window.stop()")
                browser.driver.get("about:blank")


@pytest.fixture
def shop(browser: StudioPage, tmp_path: Path) -> Iterator[Shop]:
    with shop_of(browser, tmp_path, civitai=True) as shop:
        yield shop


def test_without_the_option_the_page_shows_nothing_of_it(
    browser: StudioPage, tmp_path: Path
) -> None:
    with shop_of(browser, tmp_path, civitai=False) as shop:
        page = shop.page
        page.driver.execute_script(
            "localStorage.setItem('promptengine.studio.cards.source', '\"civitai\"')"
        )
        page.reload()
        tab = page.until(
            lambda: next((x for x in page.all(".tabs button") if x.text == "Hypernetworks"), None)
        )
        tab.click()
        page.one(".card")
        assert not page.all(".cards .segments") and "Civitai" not in page.text("body")
        assert page.complaints() == []
        assert not shop.fake.seen


def test_from_a_search_to_the_prompt(shop: Shop) -> None:
    page, fake = shop.page, shop.fake
    shop.open()
    assert not fake.seen, "nothing is asked before somebody asks"
    shop.search("ink")
    card = shop.card(1)
    assert "Ink wash" in card.text and "SD 1.5" in card.text and "by someone" in card.text
    assert "credit its creator" in card.text and "commercial use: Image, RentCivit" in card.text
    loaded = "return document.querySelector('[data-version=\"1\"] img').naturalWidth"
    page.until(lambda: page.driver.execute_script(loaded) == 320)
    page.write("a cat")
    fake.held_after = 1000
    shop.press(1)
    page.until(lambda: "of" in page.text(".found-card[data-version='1'] .progress"))
    # What goes on is the server's: another look finds it again.
    page.reload()
    shop.open()
    assert page.one(".cards-bar input[type=text]").get_property("value") == "ink"
    shop.search("ink")
    shop.press(1, ".found-state button")
    page.until(lambda: "Stopping" in shop.card(1).text)
    fake.held_after = 0
    fake.gate.set()
    shop.state(1, "cancelled")
    assert "Go on" in shop.card(1).text
    shop.press(1)
    assert "models/hypernetworks" in shop.state(1, "here").text
    shop.press(1, ".take")
    assert page.prompt_text == "a cat <hypernet:wash:1> ink wash, sumi"
    shop.press(1, ".take")
    assert page.prompt_text == "a cat"
    here = page.all(".cards .segments input[value=here]")[0]
    page.driver.execute_script("arguments[0].click()", here)
    page.until(lambda: page.all(".card"))
    origins = {urlsplit(url).netloc for url in page.asked() if url.startswith("http")}
    assert origins == {urlsplit(page.url).netloc}, "the browser asks this server alone"
    assert page.complaints() == []
    assert TOKEN not in page.driver.page_source


def test_what_cannot_be_had_says_why(shop: Shop) -> None:
    page = shop.page
    shop.open()
    page.one(".cards-bar select").send_keys("all kinds")
    shop.search("")
    assert page.until(lambda: len(page.all(".found-card")) == 5)
    assert "Not usable: it is for Flux.1 D" in shop.card(4).text
    assert "Not usable: models of the type Poses" in shop.card(5).text
    assert not page.all("[data-version='4'] .get, [data-version='5'] .get")
    assert HOSTILE in shop.card(2).text
    shop.press(2)
    assert "asks to run code" in shop.state(2, "failed").text
    # A file of that name, but another one, is here.
    assert (shop.models / "hypernetworks" / "ink.pt").read_bytes() == b""
    shop.press(3)
    assert "another file of this name" in shop.state(3, "failed").text
    shop.press(3)
    shop.state(3, "here")
    assert (shop.models / "hypernetworks" / "ink.pt").read_bytes() == CONTENT
    assert page.driver.title == "promptengine"
    shop.fake.statuses = [(401, {})]
    shop.search("ink")
    assert "CIVITAI_API_TOKEN does not allow it" in page.one(".cards-scroll .fault").text


def test_png_info_asks_what_was_used(shop: Shop, tmp_path: Path) -> None:
    page = shop.page
    digest = hashlib.sha256(CONTENT).hexdigest()[:10]
    text = (
        "a cat <hypernet:ink:1>\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, "
        f'Model hash: 0123456789, Model: m, Hypernet hashes: "ink: {digest}", Version: v1.10.1'
    )
    save_image(Image.new("RGB", (64, 64)), tmp_path / "a.png", text)
    page.one("nav a[href='#/png-info']").click()
    page.driver.find_element("css selector", ".drop input").send_keys(str(tmp_path / "a.png"))
    page.one(".ask-civitai").click()
    said = page.until(lambda: [one.text for one in page.all(".asked li")])
    assert said[0] == "checkpoint m 0123456789: not known there"
    assert said[1].startswith(f"hypernet ink {digest}: Ink")


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_civitai_bars_nobody(shop: Shop, theme: str, width: int) -> None:
    page = shop.page
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.driver.execute_script(THEME, theme)
        page.reload()
        shop.open()
        check(page, width)
        page.one(".cards-bar select").send_keys("all kinds")
        shop.search("ink")
        shop.fake.held_after = 1000
        shop.press(1)
        page.until(lambda: "of" in page.text(".found-card[data-version='1'] .progress"))
        check(page, width)
        shop.fake.held_after = 0
        shop.fake.gate.set()
        shop.press(3)
        shop.state(3, "failed")
        shop.state(1, "here")
        check(page, width)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
