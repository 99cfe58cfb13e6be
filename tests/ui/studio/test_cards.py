"""Cards and styles of the page in a browser: what a click does is what the next job has."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from promptengine.request.result import GenerationResult
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.server.jobs.queue import Control, Work
from promptengine.ui.studio.routes import add_studio
from tests.conftest import NETWORKS
from tests.server.live import running
from tests.ui.studio.axe import needs_axe, violations
from tests.ui.studio.conftest import HOSTILE, Made, StudioPage

MANY = 2000
INK = {
    "mine": "kept",
    "activation text": "ink wash",
    "preferred weight": 0.65,
    "negative text": "color photo",
    "description": "Pen and ink",
}


@dataclass
class MadeBy(Made):
    """The same, which notes the checkpoint of each batch."""

    checkpoints: list[str] = field(default_factory=list)

    def __call__(
        self, works: Sequence[Work], batch: int, control: Control
    ) -> list[list[GenerationResult]]:
        self.checkpoints += [work.model.checkpoint.stem for work in works]
        return super().__call__(works, batch, control)


@dataclass(frozen=True)
class Shop:
    """A server with many files, and its page."""

    page: StudioPage
    made: MadeBy
    models: Path
    styles: Path

    def open(self, label: str) -> None:
        tab = next(one for one in self.page.all(".tabs button") if one.text == label)
        tab.click()
        # Which cards are seen is known once they have a place.
        self.page.until(lambda: self.page.all(".card") or self.page.all(".cards-empty"))

    def names(self) -> list[str]:
        return [one.text for one in self.page.all(".card-name")]

    def search(self, text: str) -> None:
        box = self.page.one(".cards-bar input")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.DELETE + text)

    def card(self, name: str) -> WebElement:
        script = (
            "return document.querySelector('.card[data-name=' + CSS.escape(arguments[0]) + ']')"
        )
        return self.page.until(lambda: self.page.driver.execute_script(script, name))

    def click(self, name: str) -> None:
        self.card(name).find_element(By.CSS_SELECTOR, ".face").click()

    def is_marked(self, name: str) -> bool:
        face = self.card(name).find_element(By.CSS_SELECTOR, ".face")
        return face.get_attribute("aria-pressed") == "true"

    def edit(self, name: str) -> None:
        button = self.card(name).find_element(By.CSS_SELECTOR, ".card-edit")
        self.page.driver.execute_script("arguments[0].click()", button)
        self.page.one(".card-editor[open] dd")

    def written(self, name: str = "prompt") -> str:
        """What a prompt box holds, but for the hint of an empty one."""
        box = self.page.box(name)
        if box.find_elements(By.CSS_SELECTOR, ".cm-placeholder"):
            return ""
        lines = box.find_elements(By.CSS_SELECTOR, ".cm-line")
        return "\n".join(line.get_property("textContent") for line in lines)

    def negative(self) -> str:
        return self.written("negative_prompt")

    def generate(self) -> None:
        self.page.one(".generate").click()
        self.page.until(lambda: self.made.requests and not self.page.all(".queue li"))


def fill(folder: Path) -> Path:
    """Many hypernetworks in folders, two checkpoints, an embedding; no LoRA."""
    for kind in ("Stable-diffusion", "embeddings", "hypernetworks/style/old", "hypernetworks/many"):
        (folder / kind).mkdir(parents=True)
    for name in ("first", "second"):
        (folder / "Stable-diffusion" / f"{name}.safetensors").write_bytes(b"")
    (folder / "embeddings" / "bad-hands.pt").write_bytes(b"")
    networks = folder / "hypernetworks"
    shutil.copy(NETWORKS / "hn-relu.pt", networks / "ink.pt")
    (networks / "ink.json").write_text(json.dumps(INK), encoding="utf-8")
    Image.new("RGB", (64, 64), "teal").save(networks / "ink.preview.png")
    (networks / f"{HOSTILE}.pt").write_bytes(b"")
    (networks / "style" / "neon.pt").write_bytes(b"x" * 9)
    (networks / "style" / "old" / "etching.pt").write_bytes(b"x" * 5)
    for number in range(MANY):
        path = networks / "many" / f"net {number}.pt"
        path.write_bytes(b"")
        os.utime(path, (number, number))
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, browser: StudioPage) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("cards")
    made = MadeBy()
    made.painter.gate.set()
    config = ServerConfig(
        models=fill(folder / "models"),
        checkpoint="first",
        output=folder / "outputs",
        styles=folder / "styles.csv",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        page = StudioPage(browser.driver, f"{url}/studio/")
        yield Shop(page, made, folder / "models", folder / "styles.csv")


@pytest.fixture
def shop(served: Shop) -> Shop:
    served.styles.write_text(
        'name,prompt,negative_prompt\nink,"{prompt}, ink drawing",color\nplain,plain,\n',
        encoding="utf-8",
    )
    served.made.requests.clear()
    served.made.checkpoints.clear()
    served.page.load()
    served.page.one(".tabs")
    served.page.complaints()
    return served


@contextmanager
def sized(page: StudioPage, width: int, height: int = 844) -> Iterator[None]:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_tabs_are_webuis(shop: Shop) -> None:
    shop.page.until(lambda: len(shop.page.all(".tabs button")) >= 5)
    labels = [one.text for one in shop.page.all(".tabs button")]
    assert set(labels) >= {"Textual Inversion", "Hypernetworks", "Checkpoints", "Lora"}
    shop.open("Lora")
    assert "Put LoRAs into" in shop.page.one(".cards-empty").text
    assert "models/Lora" in shop.page.one(".cards-empty code").text


def test_a_click_inserts_and_a_second_one_takes_out(shop: Shop) -> None:
    page = shop.page
    page.write("a cat")
    shop.open("Hypernetworks")
    shop.search("pen ink")
    page.until(lambda: shop.names() == ["ink"])
    shop.click("ink")
    assert shop.written() == "a cat <hypernet:ink:0.65> ink wash"
    assert shop.negative() == "color photo"
    assert shop.is_marked("ink")
    shop.generate()
    assert shop.made.requests[0].prompt == "a cat <hypernet:ink:0.65> ink wash"
    # It knows its tag whatever its multiplier has become by then.
    page.write("<hypernet:ink:0.2> ink wash a cat <hypernet:neon:1>")
    shop.click("ink")
    assert shop.written() == "a cat <hypernet:neon:1>"
    assert shop.negative() == ""
    assert not shop.is_marked("ink")


def test_an_insertion_is_undone_in_one_step(shop: Shop) -> None:
    page = shop.page
    shop.open("Hypernetworks")
    shop.search("ink")
    page.write("a cat")
    shop.click("ink")
    page.until(lambda: "hypernet" in shop.written())
    page.box().find_element(By.CSS_SELECTOR, ".cm-content").click()
    page.press(Keys.CONTROL, "z")
    assert shop.written() == "a cat"


def test_a_word_goes_where_was_written_last(shop: Shop) -> None:
    page = shop.page
    shop.open("Textual Inversion")
    shop.click("bad-hands")
    assert shop.written() == "bad-hands"
    shop.click("bad-hands")
    assert shop.written() == ""
    page.box("negative_prompt").find_element(By.CSS_SELECTOR, ".cm-content").click()
    page.keys("blurry,")
    shop.click("bad-hands")
    assert (shop.written(), shop.negative()) == ("", "blurry, bad-hands")
    assert shop.is_marked("bad-hands")
    page.one(".cards").click()
    shop.click("bad-hands")
    assert shop.negative() == "blurry,"


def test_a_checkpoint_card_is_what_the_next_job_has(shop: Shop) -> None:
    shop.open("Checkpoints")
    assert shop.names() == ["first", "second"]
    shop.generate()
    shop.made.requests.clear()
    shop.click("second")
    assert (shop.is_marked("first"), shop.is_marked("second")) == (False, True)
    assert shop.page.control("checkpoint").get_property("value") == "second"
    shop.generate()
    shop.made.requests.clear()
    shop.page.reload()
    shop.open("Checkpoints")
    assert shop.is_marked("second")
    shop.click("first")
    assert (shop.is_marked("first"), shop.is_marked("second")) == (True, False)
    shop.generate()
    assert shop.made.checkpoints == ["first", "second", "first"]


def test_thousands_of_cards_draw_what_is_seen(shop: Shop) -> None:
    page = shop.page
    shop.open("Hypernetworks")
    page.one(".card")
    drawn = len(page.all(".card"))
    assert 8 < drawn < 80
    script = "const one = document.querySelector('.cards-scroll'); one.scrollTop = one.scrollHeight"
    page.driver.execute_script(script)
    page.until(lambda: f"net {MANY - 1}" in shop.names())
    assert 8 < len(page.all(".card")) < 80
    place = shop.card(f"net {MANY - 1}").get_attribute("aria-setsize")
    assert int(place) == MANY + 4
    # A search is seen from its beginning.
    shop.search("net 199")
    page.until(lambda: shop.names()[0] == "net 199")
    assert len(shop.names()) == 12
    assert not page.driver.execute_script(
        "return document.scrollingElement.scrollHeight > innerHeight"
    )


def test_cards_are_ordered_and_found_by_folders(shop: Shop) -> None:
    page = shop.page
    shop.open("Hypernetworks")
    folders = {one.text: one for one in page.all(".folder")}
    assert list(folders) == ["All", "many/", "style/", "style/old/"]
    folders["style/"].click()
    page.until(lambda: sorted(shop.names()) == ["etching", "neon"])
    sort = page.one(".cards-bar select")
    sort.send_keys("Size")
    page.until(lambda: shop.names() == ["etching", "neon"])
    page.one(".cards-bar button[title=Ascending]").click()
    page.until(lambda: shop.names() == ["neon", "etching"])
    folders["style/old/"].click()
    page.until(lambda: shop.names() == ["etching"])
    shop.search("nothing like it")
    assert "Nothing has all of these words" in page.one(".cards-scroll .waiting").text
    shop.search("")
    folders["many/"].click()
    sort.send_keys("Date Modified")
    page.until(lambda: shop.names()[:2] == [f"net {MANY - 1}", f"net {MANY - 2}"])
    page.reload()
    shop.open("Hypernetworks")
    assert page.one(".cards-bar select").get_property("value") == "modified"


def test_hostile_names_are_names(shop: Shop) -> None:
    shop.open("Hypernetworks")
    shop.search("onerror")
    face = shop.card(HOSTILE).find_element(By.CSS_SELECTOR, ".face")
    assert not face.is_enabled()
    assert "No tag can hold the name" in str(face.get_attribute("title"))
    shop.edit(HOSTILE)
    assert shop.page.one("#card-title").text == HOSTILE
    assert shop.page.driver.title == "promptengine"


def test_the_editor_saves_webuis_side_car(shop: Shop) -> None:
    page, side = shop.page, shop.models / "hypernetworks" / "ink.json"
    shop.open("Hypernetworks")
    shop.search("ink")
    shop.edit("ink")
    facts = page.until(lambda: "SHA-256" in page.text(".facts") and page.text(".facts"))
    assert "Safe to load" in facts
    for name, text in (("activation_text", "pen, ink"), ("notes", "two\nlines")):
        box = page.one(f"#card-{name}")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text)
    weight = page.one("#card-weight")
    weight.send_keys(Keys.CONTROL, "a")
    weight.send_keys("much")
    page.one(".card-editor .primary").click()
    assert (
        "must be a number"
        in page.one(".card-editor .panel-actions ~ .fault, .card-editor > .fault").text
    )
    # What was not saved is not lost.
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.all(".card-editor"))
    shop.edit("ink")
    assert page.one("#card-activation_text").get_property("value") == "pen, ink"
    weight = page.one("#card-weight")
    weight.send_keys(Keys.CONTROL, "a")
    weight.send_keys("0.4")
    page.one(".card-editor .primary").click()
    page.until(lambda: not page.all(".card-editor"))
    assert json.loads(side.read_bytes()) == {
        **INK,
        "activation text": "pen, ink",
        "notes": "two\nlines",
        "preferred weight": 0.4,
        "sd version": "",
    }
    shop.click("ink")
    assert shop.written() == "<hypernet:ink:0.4> pen, ink"
    side.write_text(json.dumps(INK), encoding="utf-8")


def test_a_preview_is_replaced_by_the_image_on_the_stage(shop: Shop) -> None:
    page = shop.page
    shop.generate()
    shop.open("Hypernetworks")
    shop.search("ink")
    shop.edit("ink")
    before = page.one(".card .card-image img").get_attribute("src")
    replace = page.until(
        lambda: next((one for one in page.all(".card-preview button") if one.is_enabled()), None)
    )
    replace.click()
    page.until(lambda: page.one(".card .card-image img").get_attribute("src") != before)
    with Image.open(shop.models / "hypernetworks" / "ink.png") as opened:
        assert opened.getpixel((0, 0)) == (0, 0, 255)
    loaded = "return document.querySelector('.card .card-image img').naturalWidth"
    page.until(lambda: page.driver.execute_script(loaded) == 64)
    (shop.models / "hypernetworks" / "ink.png").unlink()
    assert page.complaints() == []


def test_chosen_styles_are_sent_and_kept(shop: Shop) -> None:
    page = shop.page
    page.write("a cat")
    for name in ("plain", "ink"):
        page.control("styles").send_keys(name, Keys.ENTER)
        page.until(lambda name=name: name in page.text(".style-chips"))
    page.reload()
    assert [one.text for one in page.all(".style-chips .chip span")] == ["plain", "ink"]
    shop.generate()
    (request,) = shop.made.requests
    assert (request.prompt, request.negative_prompt) == ("a cat, plain, ink drawing", "color")
    page.one(".style-chips .chip button").click()
    page.until(lambda: page.text(".style-chips") == "ink")
    page.one("button[title='Apply all selected styles to prompt']").click()
    page.until(lambda: shop.written() == "a cat, ink drawing")
    assert shop.negative() == "color"
    assert not page.all(".chip")


def test_a_style_that_is_gone_is_told_at_its_place(shop: Shop) -> None:
    page = shop.page
    page.control("styles").send_keys("plain", Keys.ENTER)
    page.one(".chip")
    shop.styles.write_text("name,prompt,negative_prompt\n")
    page.one(".generate").click()
    assert "'plain' is not there" in page.one(".styles .fault").text
    page.one(".chip button").click()
    page.until(lambda: not page.all(".styles .fault"))
    assert shop.made.requests == []


def test_styles_are_saved_and_deleted(shop: Shop) -> None:
    page = shop.page
    text = 'a "fox", snow'
    page.write(text)
    page.one("button[title='Edit styles']").click()
    page.one("#style-name").send_keys("new, one")
    assert page.one("#style-prompt").get_property("value") == text
    page.one(".style-editor .primary").click()
    page.until(lambda: "Saved." in page.text(".style-editor"))
    with shop.styles.open(encoding="utf-8-sig", newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)][-1] == text
    name = page.one("#style-name")
    name.send_keys(Keys.CONTROL, "a")
    name.send_keys("plain")
    page.until(lambda: page.one("#style-prompt").get_property("value") == "plain")
    next(one for one in page.all(".style-editor .quiet") if one.text == "Delete").click()
    page.until(lambda: "Deleted." in page.text(".style-editor"))
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.all(".style-editor"))
    options = [one.get_property("value") for one in page.all("#styles-left option")]
    assert options == ["ink", "new, one"]


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_cards_bar_nobody(shop: Shop, theme: str, width: int) -> None:
    page = shop.page
    with sized(page, width):
        script = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
        page.driver.execute_script(script, theme)
        page.reload()
        page.control("styles").send_keys("ink", Keys.ENTER)
        page.one(".chip")
        shop.open("Hypernetworks")
        shop.search("ink")
        shop.click("ink")
        assert violations(page) == []
        shop.edit("ink")
        page.until(lambda: "SHA-256" in page.text(".facts"))
        assert violations(page) == []
        page.keys(Keys.ESCAPE)
        page.until(lambda: not page.all(".card-editor"))
        shop.open("Lora")
        assert violations(page) == []
        button = page.one("button[title='Edit styles']")
        page.driver.execute_script("arguments[0].click()", button)
        page.one(".style-editor")
        assert violations(page) == []
        if width == 390:
            assert page.driver.execute_script("return document.documentElement.scrollWidth") == 390


def test_fingers_find_all_of_it(shop: Shop) -> None:
    page = shop.page
    small = (
        "return [...document.querySelectorAll('button, select, input:not([type=checkbox])')]"
        ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 40)"
        ".map(one => one.outerHTML)"
    )
    with sized(page, 390):
        page.reload()
        page.control("styles").send_keys("ink", Keys.ENTER)
        page.one(".chip")
        shop.open("Hypernetworks")
        page.one(".card")
        assert page.driver.execute_script(small) == []
        shop.edit("ink")
        assert page.driver.execute_script(small) == []
        assert page.driver.execute_script("return document.documentElement.scrollWidth") == 390
