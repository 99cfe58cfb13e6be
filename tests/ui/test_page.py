"""The page in a real browser: written prompts, cards, pictures, and no request to anywhere else."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from promptengine.images import read_image_info
from tests.ui.browser import Page
from tests.ui.conftest import Live


def generate(page: Page) -> str:
    """Make a picture; returns its address."""
    before = picture(page)
    page.one("#pe-generate:not([disabled])").click()
    return page.until(lambda: (now := picture(page)) and now != before and now)  # type: ignore[return-value]


def picture(page: Page) -> str:
    shown = page.all("#pe-gallery img")
    return (shown[0].get_attribute("src") or "") if shown else ""


def make_small(page: Page, steps: int) -> None:
    """Ask for few pixels and steps."""
    for label, value in (("Width", "64"), ("Height", "64"), ("Steps", str(steps))):
        box = page.one(f"#pe-settings input[type=number][aria-label*='{label}']")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(value, Keys.TAB)


def press(page: Page, key: str) -> None:
    keys = ActionChains(page.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL)
    keys.perform()


def test_a_prompt_is_read_as_it_is_written(page: Page) -> None:
    page.write("a (cat:1.3) in [snow|rain] <hypernet:inc:1> [fox")
    page.until(lambda: "did you mean 'ink'" in page.text("#pe-reading"))
    said = page.text("#pe-reading")
    assert "'[' is never closed" in said
    assert page.one("#pe-reading .pe-up").get_attribute("title") == "weight 1.3"
    assert len(page.all("#pe-reading svg")) == 2


def test_markup_in_a_prompt_stays_text(page: Page) -> None:
    page.write("<img src=x onerror=document.title=1> ${document.title=2} {{document.title=3}} end")
    page.until(lambda: "end" in page.text("#pe-reading"))
    assert page.driver.title == "promptengine"
    assert not page.all("#pe-reading img")
    assert "${document.title=2} {{document.title=3}}" in page.text("#pe-reading")


def test_a_card_puts_its_tag_in_and_takes_it_out(page: Page) -> None:
    page.write("a cat")
    page.tab("Hypernetworks")
    card = page.one(".pe-card[data-name=ink]")
    assert "Pen & <wash>" in card.text
    card.click()
    assert page.prompt_text == "a cat <hypernet:ink:1>"
    page.until(lambda: card.get_attribute("aria-pressed") == "true")
    page.until(lambda: "ink" in page.text("#pe-reading .pe-tag"))
    page.one(".pe-card[data-name=ink]").click()
    assert page.prompt_text == "a cat"
    page.one("#pe-cards-hypernet input").send_keys("neo")
    page.until(lambda: not card.is_displayed())
    assert page.one(".pe-card[data-name=neon]")


def test_keys_change_weights(page: Page) -> None:
    page.write("a red cat <hypernet:ink:0.5>")
    page.select("red")
    press(page, Keys.ARROW_UP)
    assert page.prompt_text == "a (red:1.1) cat <hypernet:ink:0.5>"
    press(page, Keys.ARROW_UP)
    assert page.prompt_text == "a (red:1.2) cat <hypernet:ink:0.5>"
    press(page, Keys.ARROW_DOWN)
    press(page, Keys.ARROW_DOWN)
    assert page.prompt_text == "a red cat <hypernet:ink:0.5>"
    page.select("ink")
    press(page, Keys.ARROW_DOWN)
    assert page.prompt_text == "a red cat <hypernet:ink:0.4>"


def test_pictures_are_made_and_tell_how(page: Page, tmp_path: Path) -> None:
    """Generate twice, see the picture change, and make the second again from its file."""
    page.write("a cat <hypernet:ink:0.8> <hypernet:gone:1>")
    make_small(page, 2)
    first = generate(page)
    assert "hypernet ink × 0.8 applied" in page.text("#pe-applied")
    assert "hypernet gone × 1 not applied: not found" in page.text("#pe-applied")
    page.write("a dog")
    page.prompt.send_keys(Keys.CONTROL, Keys.ENTER)
    second = page.until(lambda: (now := picture(page)) and now != first and now)
    file = tmp_path / "made.png"
    with urllib.request.urlopen(str(second), timeout=20) as answer:
        file.write_bytes(answer.read())
    told = read_image_info(file).infotext
    assert told is not None
    assert told.prompt == "a dog"
    page.write("something else")
    page.tab("PNG Info")
    page.until(lambda: page.all("#pe-info-picture input[type=file]"))[0].send_keys(str(file))
    page.until(lambda: "a dog" in page.text("#pe-info-told"))
    assert told.entries["Seed"] in page.text("#pe-info-told")
    page.one("#pe-send-text").click()
    page.until(lambda: page.prompt_text == "a dog")
    seed = page.one("#pe-settings .pe-seed input")
    page.until(lambda: seed.get_property("value") == told.entries["Seed"])


def test_a_job_is_cancelled(page: Page, live: Live) -> None:
    page.write("a cat")
    make_small(page, 150)
    page.one("#pe-generate:not([disabled])").click()
    page.until(lambda: live.service.queue.running)
    page.one("#pe-cancel:not([disabled])").click()
    page.until(lambda: "Cancelled" in page.text("#pe-stage"))
    assert not live.service.queue.running
    page.one("#pe-generate:not([disabled])")


def test_a_fault_is_one_clear_line(page: Page) -> None:
    page.write("a cat")
    page.all("#pe-mode label")[1].click()
    page.one("#pe-generate").click()
    page.until(lambda: "choose a picture to start from" in page.text("#pe-stage [role=alert]"))


def test_a_picture_to_paint_in_arrives(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "start.png"
    Image.new("RGB", (64, 64), "teal").save(file)
    page.write("a cat")
    page.all("#pe-mode label")[2].click()

    def sent() -> bool:
        # A file that is chosen before the editor listens goes nowhere, so it is chosen again.
        if "Upload an image" not in page.text("#pe-drawing"):
            return True
        for field in page.all("#pe-drawing input[type=file]")[:1]:
            field.send_keys(str(file))
            time.sleep(2)
        return False

    page.until(lambda: page.all("#pe-drawing input[type=file]"))
    page.until(sent)

    def told() -> bool:
        # Before the picture has arrived, the page says that there is none.
        page.one("#pe-generate").click()
        time.sleep(1)
        return "paint over what may change" in page.text("#pe-stage [role=alert]")

    page.until(told)


def test_nothing_is_asked_of_anybody_else(page: Page) -> None:
    page.asked()
    page.load()
    for name in ("Checkpoints", "Textual Inversion", "PNG Info", "Train"):
        page.tab(name)
    time.sleep(0.5)
    hosts = {urlsplit(url).netloc for url in page.asked() if url.startswith("http")}
    assert hosts == {urlsplit(page.url).netloc}


def test_the_page_is_kept_to_its_own_server(live: Live) -> None:
    answer = httpx.get(f"{live.url}/", follow_redirects=True)
    assert answer.url.path == "/ui/"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    loaded = re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"?(https?:)?//", answer.text)
    assert not loaded


def test_other_paths_answer_as_before(live: Live) -> None:
    assert httpx.get(f"{live.url}/nothing").json()["detail"] == "Not Found"
    assert httpx.get(f"{live.url}/sdapi/v1/samplers/").status_code == 200
    small = httpx.get(f"{live.url}/ui/preview/hypernet/ink")
    assert small.headers["content-type"] == "image/webp"
    assert httpx.get(f"{live.url}/ui/preview/hypernet/neon").status_code == 404
    assert httpx.get(f"{live.url}/ui/preview/hypernet/..%2F..%2Fetc%2Fpasswd").status_code == 404


def test_it_fits_a_phone(page: Page) -> None:
    size = page.driver.get_window_size()
    page.driver.set_window_size(500, 900)
    try:
        page.load()
        page.tab("Hypernetworks")
        page.one(".pe-card")
        fits = "return document.documentElement.scrollWidth <= window.innerWidth"
        assert page.driver.execute_script(fits)
        assert page.one("#pe-generate")
    finally:
        page.driver.set_window_size(size["width"], size["height"])


def test_files_outside_are_not_served(live: Live) -> None:
    for path in ("/etc/passwd", str(live.folder / "models" / "hypernetworks" / "ink.pt")):
        answer = httpx.get(f"{live.url}/ui/gradio_api/file={path}")
        assert answer.status_code in (403, 404)
