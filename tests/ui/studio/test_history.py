"""The history: everything that is kept is found, shown, sent on, compared, deleted, and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from promptengine.server import image_index
from promptengine.server.image_index import IndexedImage
from promptengine.server.output_folder import BIN
from tests.ui.studio.conftest import StudioPage
from tests.ui.studio.galleries import INFOTEXT, gallery, put

MANY = 10_000
PROMPTS = ("a red fox", "a grey wolf", "a (red:1.2) kite", "an old tree")
"""Of the images, the newest first."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    output = tmp_path_factory.mktemp("history")
    for age, prompt in enumerate(PROMPTS):
        put(output / "day" / f"{age}-7.png", prompt, age)
    return output, output.parent / "history-models"


@pytest.fixture(scope="module")
def kept(browser: StudioPage, folders: tuple[Path, Path]) -> Iterator[StudioPage]:
    with gallery(browser, *folders) as far:
        yield far


@pytest.fixture
def history(kept: StudioPage, folders: tuple[Path, Path]) -> StudioPage:
    """The view, with four images and none that another test has made."""
    for path in folders[0].glob("*/*.png"):
        if path.parent.name not in ("day", BIN):
            path.unlink()
    kept.load()
    show(kept)
    kept.until(lambda: len(tiles(kept)) == len(PROMPTS))
    kept.complaints()
    return kept


def show(page: StudioPage) -> None:
    page.one("nav a[href='#/history']").click()
    page.one(".history")


def tiles(page: StudioPage) -> list[str | None]:
    return [one.get_attribute("data-id") for one in page.all(".tile[data-id]")]


def ids(*numbers: int) -> list[str]:
    return [f"day/{number}-7.png" for number in numbers]


def press(page: StudioPage, label: str) -> None:
    """Click what is called so in the image that is open."""
    page.until(
        lambda: next((e for e in page.all(".viewer button, .viewer a") if e.text == label), None)
    ).click()


def focused(page: StudioPage) -> str:
    script = "return document.activeElement.getAttribute('data-index') ?? document.activeElement.className"
    return page.driver.execute_script(script)


def test_the_newest_come_first_and_are_searched(history: StudioPage) -> None:
    assert tiles(history) == ids(0, 1, 2, 3)
    history.one(".tile img")
    assert history.one(".total").text == "4 images"
    assert "2023" in history.one(".day").text
    search = history.one(".search")
    search.send_keys("red")
    history.until(lambda: tiles(history) == ids(0, 2))
    assert history.one(".total").text == "2 images found"
    search.send_keys(" nothing of it")
    assert "No image has these words" in history.one(".nothing").text
    history.one(".nothing button").click()
    history.until(lambda: tiles(history) == ids(0, 1, 2, 3))
    assert history.complaints() == []


def test_an_image_is_opened_and_left_by_keys(history: StudioPage) -> None:
    history.one(".tile").click()
    assert history.one(".viewer .infotext").text == INFOTEXT.format(prompt=PROMPTS[0])
    shown = history.one(".large-image img")
    assert shown.get_attribute("src").endswith("/images/day/0-7.png")
    history.until(lambda: shown.get_property("naturalHeight") == 72)
    for key, prompt in ((Keys.ARROW_RIGHT, PROMPTS[1]), (Keys.ARROW_LEFT, PROMPTS[0])):
        history.keys(key)
        history.until(lambda prompt=prompt: prompt in history.one(".viewer .infotext").text)
    history.keys(Keys.ARROW_LEFT)
    history.keys(Keys.ESCAPE)
    history.until(lambda: not history.all(".viewer[open]"))
    # The grid goes on where it was.
    history.until(lambda: focused(history) == "0")
    history.keys(Keys.ARROW_RIGHT)
    history.until(lambda: focused(history) == "1")
    history.keys(Keys.END)
    history.until(lambda: focused(history) == "3")
    history.keys(Keys.ENTER)
    assert PROMPTS[3] in history.one(".viewer .infotext").text


def test_a_file_is_downloaded_as_it_is(history: StudioPage, folders: tuple[Path, Path]) -> None:
    history.one(".tile").click()
    link = history.one(".viewer a[download]")
    assert link.get_attribute("download") == "0-7.png"
    script = (
        "const done = arguments[1];"
        "fetch(arguments[0]).then(one => one.arrayBuffer()).then(one => done(one.byteLength))"
    )
    size = history.driver.execute_async_script(script, link.get_attribute("href"))
    assert size == (folders[0] / "day" / "0-7.png").stat().st_size


def test_all_is_used_again(history: StudioPage) -> None:
    history.one(".tile").click()
    history.one(".viewer [data-target=txt2img]").click()
    history.read()
    assert history.prompt_text == PROMPTS[0]
    shown = {path: history.control(path).get_property("value") for path in WANTED}
    assert shown == WANTED
    # What has no control is seen all the same, and sent.
    assert history.text(".overrides") == "randn_source: NV"
    history.one(".generate").click()
    history.wait_for_images()
    assert "Seed: 18446744073709551615" in history.one(".infotext").text


def test_an_image_is_sent_to_be_changed(history: StudioPage) -> None:
    history.all(".tile")[1].click()
    history.one(".viewer [data-target=img2img]").click()
    history.one("[data-slot=img2img][data-filled=true]")
    history.read()
    assert history.prompt_text == PROMPTS[1]
    assert not history.all(".viewer[open]")


WANTED = {
    **{"steps": "9", "cfg_scale": "4.5", "sampler": "DPM++ 2M", "scheduler": "karras"},
    **{"seed": "18446744073709551615", "width": "64", "height": "72", "checkpoint": "none"},
}


def test_prompt_or_seed_alone_is_used_again(history: StudioPage) -> None:
    history.one(".tile").click()
    press(history, "Reuse seed")
    assert history.one(".viewer .notice").text == "The seed is read."
    press(history, "Reuse prompt")
    history.until(lambda: "prompt" in history.one(".viewer .notice").text)
    history.keys(Keys.ESCAPE)
    history.one("nav a[href='#/txt2img']").click()
    history.read()
    assert history.prompt_text == PROMPTS[0]
    assert history.control("seed").get_property("value") == WANTED["seed"]
    assert history.control("steps").get_property("value") == "3"


def test_what_is_deleted_comes_back(history: StudioPage, folders: tuple[Path, Path]) -> None:
    output, _ = folders
    history.all(".tile")[1].click()
    press(history, "Delete")
    assert "1-7.png is in the bin." in history.one(".viewer .notice").text
    assert (output / BIN / "day" / "1-7.png").exists()
    # The next one takes its place.
    history.until(lambda: PROMPTS[2] in history.one(".viewer .infotext").text)
    history.one(".viewer .notice .quiet").click()
    history.until((output / "day" / "1-7.png").exists)
    history.keys(Keys.ESCAPE)
    history.until(lambda: tiles(history) == ids(0, 1, 2, 3))
    # Also by its key, and after the image is closed.
    history.one(".tile").click()
    history.one(".viewer .infotext")
    history.keys(Keys.DELETE)
    history.until(lambda: PROMPTS[1] in history.one(".viewer .infotext").text)
    history.keys(Keys.ESCAPE)
    history.until(lambda: tiles(history) == ids(1, 2, 3))
    history.one(".notice .quiet").click()
    history.until(lambda: tiles(history) == ids(0, 1, 2, 3))
    assert not history.all(".notice")


def test_two_images_are_compared(history: StudioPage) -> None:
    history.one(".tile").click()
    press(history, "Compare")
    history.one(".choosing")
    history.keys(Keys.ESCAPE)
    history.until(lambda: not history.all(".choosing"))
    history.one(".tile").click()
    press(history, "Compare")
    assert "“0-7.png”" in history.one(".choosing").text
    # Not with itself.
    history.all(".tile")[0].click()
    history.all(".tile")[3].click()
    edge = history.one(".compare input[type=range]")
    names = [one.get_attribute("alt") for one in history.all(".compare img")]
    assert names == [f"right: {PROMPTS[3]}", f"left: {PROMPTS[0]}"]
    upper = history.one(".compare .upper")
    assert upper.value_of_css_property("clip-path") == "inset(0px 50% 0px 0px)"
    history.until(lambda: focused(history) == "" or edge == history.driver.switch_to.active_element)
    history.keys(Keys.ARROW_RIGHT)
    history.until(lambda: upper.value_of_css_property("clip-path") == "inset(0px 49% 0px 0px)")
    over = history.one(".compare .over")
    ActionChains(history.driver).move_to_element(over).click_and_hold().move_by_offset(
        over.rect["width"] // 4, 0
    ).release().perform()
    history.until(lambda: edge.get_property("value") == "75")
    history.keys(Keys.ESCAPE)
    history.until(lambda: not history.all(".compare[open]"))
    assert not history.all(".choosing")


def test_new_images_appear_and_outlive_the_server(page: StudioPage, tmp_path: Path) -> None:
    output, models = tmp_path / "out", tmp_path / "models"
    with gallery(page, output, models) as far:
        far.load(prompt="a first cat")
        show(far)
        assert "No images yet" in far.one(".nothing").text
        far.one(".nothing a").click()
        far.one(".generate").click()
        far.wait_for_images()
        show(far)
        far.until(lambda: len(tiles(far)) == 1)
        # While the view is open, those appear that others make.
        put(output / "elsewhere" / "new.png", "a second cat", age_s=-9_999_999)
        far.driver.execute_async_script(
            "fetch('../promptengine/v1/jobs', {method: 'POST', headers: {'Content-Type': 'application/json'},"
            "body: JSON.stringify({prompt: 'a third cat', steps: 1, width: 64, height: 64})})"
            ".then(arguments[0])"
        )
        far.until(lambda: len(tiles(far)) == 2)
    with gallery(page, output, models) as far:
        far.load()
        far.driver.get(f"{far.url}#/history")
        far.until(lambda: len(tiles(far)) == 3)
        assert far.one(".total").text == "3 images"


@contextmanager
def many_images(page: StudioPage, output: Path, models: Path) -> Iterator[StudioPage]:
    """A gallery of ten thousand images, all of the same file."""
    first = put(output / "00000-7.png", "a cat")
    for number in range(1, MANY):
        os.link(first, output / f"{number:05}-7.png")

    def read(_: object, id_: str) -> IndexedImage:
        # Of the same time, they are listed by their numbers.
        number = int(id_[:5])
        return IndexedImage(id_, first.stat().st_mtime_ns, 64, 72, f"cat number{number}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_index, "_read", read)
        with gallery(page, output, models) as far:
            yield far


def test_ten_thousand_images_are_scrolled(page: StudioPage, tmp_path: Path) -> None:
    with many_images(page, tmp_path / "out", tmp_path / "models") as far:
        far.load()
        show(far)
        far.until(lambda: "09999-7.png" in tiles(far))
        assert far.one(".total").text == "10,000 images"
        count = "return document.querySelectorAll('*').length"
        before = far.driver.execute_script(count)
        assert before < 700
        # Images of the whole list are fetched where it is looked at, and nowhere else.
        far.asked()
        move = "const grid = document.querySelector('.grid'); grid.scrollTop = grid.scrollHeight * arguments[0]"
        for share in (0.2, 0.5, 0.8, 1):
            far.driver.execute_script(move, share)
        far.until(lambda: "00000-7.png" in tiles(far))
        assert far.driver.execute_script(count) < before + 100
        assert sum("/images?" in url for url in far.asked()) <= 16
        far.one(".search").send_keys("number4711")
        far.until(lambda: tiles(far) == ["04711-7.png"])
        far.one(".search").send_keys(Keys.CONTROL, "a")
        far.one(".search").send_keys(Keys.DELETE)
        far.until(lambda: "09999-7.png" in tiles(far))
        # What is opened is where it was when other views were shown meanwhile.
        far.driver.execute_script(move, 0.5)
        far.until(lambda: "05000-7.png" in tiles(far))
        far.one("nav a[href='#/txt2img']").click()
        far.one(".generate")
        show(far)
        far.until(lambda: "05000-7.png" in tiles(far))
