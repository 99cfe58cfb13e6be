"""Jobs as the server has them, on every page: after reloads, in other tabs, after the server was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.ui.studio.routes import add_studio
from tests.server.live import running
from tests.server.victim import free_port, victim
from tests.ui.browser import opened
from tests.ui.studio.conftest import Made, Studio, StudioPage, models_in


def words(page: StudioPage) -> list[str]:
    return [one.text for one in page.all(".queue .words")]


def queue_is(page: StudioPage, *prompts: str) -> None:
    page.until(lambda: words(page) == list(prompts), 20)


def generate(page: StudioPage, *prompts: str) -> None:
    """Submit jobs, and wait until each is in the queue."""
    for prompt in prompts:
        before = len(words(page))
        page.write(prompt)
        page.one(".generate").click()
        page.until(lambda before=before: len(words(page)) == before + 1, 20)


@contextmanager
def other_tab(page: StudioPage) -> Iterator[StudioPage]:
    """The same page in a second tab, which closes in the end."""
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.reload()
    try:
        yield page
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)


def button(page: StudioPage, prompt: str, name: str) -> None:
    """Click a button of a job in the queue."""
    place = words(page).index(prompt)
    page.all(".queue li")[place].find_element(By.CSS_SELECTOR, f"[data-button={name}]").click()


def test_a_reload_and_a_closed_tab_lose_no_job(page: StudioPage, studio: Studio) -> None:
    studio.made.painter.gate.clear()
    generate(page, "first", "second")
    page.one(".queue li[data-state=running]")
    page.reload()
    queue_is(page, "first", "second")
    page.one(".canvas .progress")
    with other_tab(page):
        queue_is(page, "first", "second")
        # All that the browser knows but what other tests have left on the server.
        forget = (
            "for (const key of Object.keys(localStorage))"
            " if (!key.endsWith('.dismissed')) localStorage.removeItem(key);"
        )
        page.driver.execute_script(forget)
    studio.made.painter.gate.set()
    page.wait_for_images(2)
    with other_tab(page):
        page.wait_for_images(2)
        page.until(lambda: page.text(".infotext").startswith("second"))


def test_jobs_of_two_tabs_are_all_made_once_and_in_their_order(
    page: StudioPage, studio: Studio
) -> None:
    studio.made.painter.gate.clear()
    page.write("a")
    page.one(".generate").click()
    page.one(".queue li[data-state=running]")
    order = ["a"]
    submit = (
        "const done = arguments[0]; let left = 10; const press = () => {"
        "if (left-- > 0) { document.querySelector('.generate').click(); setTimeout(press, 20) }"
        "else done() }; press()"
    )
    for prompt in ("one", "two"):
        with other_tab(page):
            page.write(prompt)
            page.driver.execute_async_script(submit)
            order += [prompt] * 10
            queue_is(page, *order)
    queue_is(page, *order)
    studio.made.painter.gate.set()
    page.until(lambda: not words(page), 30)
    assert [request.prompt for request in studio.made.requests] == order


def test_waiting_jobs_change_places_and_go(page: StudioPage, studio: Studio) -> None:
    studio.made.painter.gate.clear()
    # Jobs of different sizes share no batch, so that each is made in its turn.
    for number, prompt in enumerate(("run", "a", "b", "c")):
        page.type_into("width", str(64 + 8 * number))
        generate(page, prompt)
    page.one(".queue li[data-state=running]")
    with other_tab(page):
        button(page, "c", "up")
        queue_is(page, "run", "a", "c", "b")
        # The row keeps the focus, and Alt with an arrow moves it further.
        page.press(Keys.ALT, Keys.ARROW_UP)
        queue_is(page, "run", "c", "a", "b")
        page.press(Keys.ALT, Keys.ARROW_DOWN)
        queue_is(page, "run", "a", "c", "b")
        button(page, "a", "down")
        queue_is(page, "run", "c", "a", "b")
        button(page, "a", "cancel")
        queue_is(page, "run", "c", "b")
    queue_is(page, "run", "c", "b")
    ends = page.all(".queue .moves button:disabled")
    assert [one.get_attribute("data-button") for one in ends] == ["up", "down"]
    studio.made.painter.gate.set()
    page.wait_for_images(3)
    assert [request.prompt for request in studio.made.requests] == ["run", "c", "b"]


def test_what_is_taken_off_the_page_stays_off(page: StudioPage, studio: Studio) -> None:
    generate_one = "Take it off the page"
    page.write("gone")
    page.one(".generate").click()
    page.wait_for_images()
    page.one(f"[title='{generate_one}']").click()
    page.until(lambda: not page.images())
    page.reload()
    page.one(".welcome")
    assert not page.images()


def test_generating_forever_goes_on_until_it_is_told_to_end(
    page: StudioPage, studio: Studio
) -> None:
    studio.made.painter.gate.clear()
    page.load(prompt="more", seed="-1")
    page.one(".forever").click()
    # One is made and one waits, never more.
    queue_is(page, "more", "more")
    page.write("other")
    page.one(".actions [title^=Esc]").click()
    page.until(lambda: len(page.images()) == 1)
    queue_is(page, "more", "other")
    page.one(".actions [title^=Esc]").click()
    page.until(lambda: len(page.images()) == 2)
    queue_is(page, "other", "other")
    switch = page.one(".forever")
    assert switch.get_attribute("aria-label") == "Cancel generate forever"
    switch.click()
    studio.made.painter.gate.set()
    page.wait_for_images(4)
    assert switch.get_attribute("aria-pressed") == "false"


def test_generating_forever_ends_with_an_error(page: StudioPage, studio: Studio) -> None:
    page.load(prompt="a cat", steps="many")
    page.one(".forever").click()
    page.one("[data-field=steps] .fault")
    page.until(lambda: page.one(".forever").get_attribute("aria-pressed") == "false")
    page.type_into("steps", "3")
    studio.made.painter.fails = ("bad",)
    try:
        page.write("bad")
        page.one(".forever").click()
        page.until(lambda: page.one(".forever").get_attribute("aria-pressed") == "false")
        page.one(".details .fault")
    finally:
        studio.made.painter.fails = ()


def test_a_killed_server_loses_no_job(page: StudioPage, tmp_path: Path) -> None:
    models, output, gate = models_in(tmp_path / "models"), tmp_path / "outputs", tmp_path / "gate"
    port = free_port()
    gate.touch()
    far = StudioPage(page.driver, f"http://127.0.0.1:{port}/studio/")
    with victim(models, output, port, gate) as server:
        far.load(prompt="made")
        far.press(Keys.CONTROL, Keys.ENTER)
        far.wait_for_images()
        gate.unlink()
        generate(far, "running", "waiting")
        far.one(".queue li[data-state=running]")
        server.send_signal(signal.SIGKILL)
        server.wait(30)
        far.one(".lost", 20)
    with victim(models, output, port, gate):
        far.until(lambda: not far.all(".lost"), 30)
        queue_is(far, "running", "waiting")
        far.one(".queue li[data-state=running]")
        gate.touch()
        far.wait_for_images(3)
        # What was made before the death is shown from its file, also by a page that has seen nothing of it.
        far.reload()
        far.wait_for_images(3)
        far.images()[2].click()
        far.until(lambda: far.text(".infotext").startswith("made"))
        shown = far.one(".canvas .open img")
        assert "/promptengine/v1/images/" in shown.get_attribute("src")
        far.until(lambda: shown.get_property("naturalWidth") == 64)
    assert len(list(output.rglob("*.png"))) == 3


def test_behind_passwords_a_page_shows_its_users_jobs(tmp_path: Path) -> None:
    made = Made()
    config = ServerConfig(
        models=models_in(tmp_path / "models"),
        checkpoint="none",
        output=tmp_path / "outputs",
        users=(("ann", "secret"), ("ben", "secret")),
    )
    app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        pages = [f"{url.replace('://', f'://{name}:secret@')}/studio/" for name in ("ann", "ben")]
        with opened(pages[0]) as plain:
            page = StudioPage(plain.driver, plain.url)
            page.load()
            generate(page, "secret", "of ann")
            page.reload()
            queue_is(page, "secret", "of ann")
        with opened(pages[1]) as plain:
            page = StudioPage(plain.driver, plain.url)
            page.load()
            assert words(page) == []
            made.painter.gate.set()
            generated = page.one(".generate")
            page.write("of ben")
            generated.click()
            page.wait_for_images()
            assert page.one(".infotext").text.startswith("of ben")
