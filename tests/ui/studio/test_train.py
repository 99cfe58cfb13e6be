"""The view Train: images with captions, a training that is the server's, its curve, its end, and its network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from promptengine.server import training as module
from promptengine.server.training import Trainer, TrainingView
from promptengine.training.loop import TrainingProgress, TrainingResult
from tests.ui.studio.axe import needs_axe, violations
from tests.ui.studio.conftest import HOSTILE, Studio, StudioPage


class Lesson:
    """Stands for a training: takes a step whenever it may, draws on every second, and leaves a file."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.begun: list[dict[str, Any]] = []

    def __call__(self, _engine: None, config: Any, files: Any, **options: Any) -> TrainingResult:
        self.begun.append({"config": config, "files": files, **options})
        snapshots, previews = files.folder / "snapshots", files.folder / "previews"
        previews.mkdir(parents=True, exist_ok=True)
        step = self.begun[-2]["done"] if len(self.begun) > 1 and not options["restart"] else 0
        while step < config.steps and not options["cancel"].is_set():
            if not self.gate.acquire(timeout=0.005):
                continue
            step += 1
            if step % 2 == 0:
                path = previews / f"{files.name}-{step}.png"
                Image.new("RGB", (128, 64), "green").save(path)
                options["on_file"](path)
            loss = 0.3 - 0.01 * step
            options["on_step"](TrainingProgress(step, config.steps, 1, loss, loss, 1e-5, 9.0))
        self.begun[-1]["done"] = step
        if step == config.steps:
            files.output.write_bytes(b"")
        else:
            snapshots.mkdir(exist_ok=True)
        return TrainingResult(None, step, 0.25, finished=step == config.steps)


@pytest.fixture
def lesson(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lesson]:
    """A training that costs nothing; there was none before, and none goes on after."""
    lesson = Lesson()
    trainer: Trainer = studio.app.state.service.training
    monkeypatch.setattr(Trainer, "_engine", lambda _self, _model: None)
    monkeypatch.setattr(module, "train_hypernetwork", lesson)
    monkeypatch.setattr(module, "newest_snapshot", lambda *_: lesson.begun or None)
    monkeypatch.setattr(trainer, "_view", TrainingView())
    yield lesson
    trainer.stop()
    if trainer._thread is not None:  # pyright: ignore[reportPrivateUsage]
        trainer._thread.join(30)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, color in enumerate(("red", "blue", "green"), 1):
        Image.new("RGB", (96, 64), color).save(tmp_path / f"0{number}-a {color} fox.png")
    (tmp_path / "03-a green fox.txt").write_text("a fox in the rain", encoding="utf-8")
    return tmp_path


def show(page: StudioPage) -> None:
    page.driver.execute_script("location.hash = '#/train'")
    page.one("[id='field-train.steps']")


def add(page: StudioPage, data: Path, count: int = 3) -> None:
    paths = sorted(data.iterdir())
    page.driver.find_element(By.CSS_SELECTOR, ".files").send_keys("\n".join(map(str, paths)))
    page.until(lambda: len(page.all(".data-images li")) == count)


def captions(page: StudioPage) -> list[str]:
    return [one.get_property("value") for one in page.all(".data-images textarea")]


def begin(page: StudioPage, name: str, steps: int = 6) -> None:
    page.type_into("train.name", name)
    page.type_into("train.steps", str(steps))
    page.one(".train .generate").click()


def state(page: StudioPage, wanted: str) -> None:
    page.until(lambda: page.all(f".training[data-state={wanted}]"), 20)


def test_an_empty_view_says_what_to_do(page: StudioPage, lesson: Lesson) -> None:
    show(page)
    assert "Teach the model" in page.one(".training.empty").text
    assert not page.one(".train .generate").is_enabled()
    heads = [one.text for one in page.all(".train details h2")]
    assert heads == ["Steps", "Images and prompts", "The network", "Files and previews"]
    assert page.control("train.learning_rate").get_property("value") == "0.00001"
    assert "5e-5:100" in page.text(".train .help")


def test_images_and_captions_are_kept_over_a_reload(
    page: StudioPage, lesson: Lesson, data: Path
) -> None:
    show(page)
    (data / "notes.pdf").write_bytes(b"")
    add(page, data)
    page.until(lambda: "1 of the files is no image" in page.text(".train-actions .fault"))
    assert captions(page) == ["a red fox", "a blue fox", "a fox in the rain"]
    box = page.all(".data-images textarea")[0]
    box.clear()
    box.send_keys(HOSTILE)
    page.all(".data-images .icon")[1].click()
    page.until(lambda: len(page.all(".data-images li")) == 2)
    page.until(
        lambda: (
            HOSTILE
            in page.driver.execute_script(
                "return localStorage.getItem('promptengine.studio.dataset').replaceAll('\\\\', '')"
            )
        )
    )
    page.type_into("train.name", "fox")
    page.driver.refresh()
    page.until(lambda: len(page.all(".data-images li")) == 2)
    assert captions(page) == [HOSTILE, "a fox in the rain"]
    assert page.control("train.name").get_property("value") == "fox"
    page.until(lambda: page.one(".data-images img").get_property("naturalWidth") == 96)
    next(one for one in page.all(".dataset button") if one.text == "Remove all").click()
    page.one(".drop-images")


def test_a_training_is_started_followed_and_found_again(
    page: StudioPage, lesson: Lesson, data: Path
) -> None:
    show(page)
    add(page, data)
    begin(page, "fox")
    state(page, "preparing")
    lesson.gate.release(4)
    page.until(lambda: "step 4 of 6" in page.text(".training .progress"))
    curve = page.one(".losses")
    assert "is 0.2600 at step 4" in curve.get_attribute("aria-label")
    assert len(page.all(".losses circle")) == 4
    page.until(lambda: len(page.all(".previews li")) == 2)
    image = page.all(".previews img")[0]
    page.until(lambda: image.get_property("naturalWidth") == 128)
    (begun,) = lesson.begun
    kept = sorted(one.name for one in begun["config"].data.iterdir())
    assert kept == ["0001.png", "0001.txt", "0002.png", "0002.txt", "0003.png", "0003.txt"]
    assert (begun["config"].data / "0003.txt").read_text() == "a fox in the rain"
    # It is the server's: a page that is loaded later shows where it is.
    page.driver.refresh()
    page.until(lambda: "step 4 of 6" in page.text(".training .progress"))
    assert len(page.all(".losses circle")) == 4
    assert not page.one(".train .generate").is_enabled()
    lesson.gate.release(2)
    state(page, "finished")
    page.one(".insert").click()
    page.one(".compose")
    page.until(lambda: "<hypernet:fox:1>" in page.prompt_text)
    assert page.complaints() == []


def test_a_training_stops_and_goes_on(page: StudioPage, lesson: Lesson, data: Path) -> None:
    show(page)
    add(page, data)
    begin(page, "still")
    state(page, "preparing")
    lesson.gate.release(3)
    page.until(lambda: "step 3 of 6" in page.text(".training .progress"))
    page.one(".train .stop").click()
    state(page, "stopped")
    # Begun once more it would be replaced, which is asked for by another button.
    page.one(".train .generate").click()
    fault = page.one("[data-field='train.name'] .fault")
    assert "resume it, or overwrite it" in fault.text
    page.one(".overwrite")
    page.one(".resume").click()
    page.until(lambda: len(lesson.begun) == 2)
    lesson.gate.release(3)
    state(page, "finished")
    assert [one["restart"] for one in lesson.begun] == [False, False]
    assert "step 6 of 6" in page.text(".training .progress")


_LATE = """
const fetched = window.fetch;
window.fetch = async (address, ...options) => {
  const answer = await fetched(address, ...options);
  if (String(address).endsWith('/training/stop')) await new Promise((go) => (window.arrive = go));
  return answer;
};
"""


def test_an_answer_that_comes_after_the_end_is_no_news(
    page: StudioPage, lesson: Lesson, data: Path
) -> None:
    show(page)
    add(page, data)
    page.driver.execute_script(_LATE)
    begin(page, "late")
    lesson.gate.release(2)
    page.until(lambda: "step 2 of 6" in page.text(".training .progress"))
    page.one(".train .stop").click()
    state(page, "stopped")
    page.until(lambda: page.driver.execute_script("return !!window.arrive"))
    page.driver.execute_async_script("window.arrive(); setTimeout(arguments[0], 100)")
    state(page, "stopped")
    assert page.all(".training[data-state=stopped]")


def test_what_is_wrong_is_told_at_its_field(page: StudioPage, lesson: Lesson, data: Path) -> None:
    show(page)
    add(page, data)
    page.one(".train .generate").click()
    assert "Give the hypernetwork a name" in page.one("[data-field='train.name'] .fault").text
    begin(page, "../fox", 6)
    page.until(lambda: "is no name for a network" in page.text("[data-field='train.name'] .fault"))
    page.type_into("train.name", "fox")
    page.type_into("train.learning_rate", "fast")
    page.one(".train .generate").click()
    page.until(lambda: "is no number" in page.text("[data-field='train.learning_rate'] .fault"))
    assert lesson.begun == []


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_bars_anybody_from_training(
    page: StudioPage, lesson: Lesson, data: Path, theme: str, width: int
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 390}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    script = "localStorage.setItem('promptengine.studio.theme', JSON.stringify(arguments[0]))"
    page.driver.execute_script(script, theme)
    try:
        page.reload()
        show(page)
        for one in page.all(".train details"):
            page.driver.execute_script("arguments[0].open = true", one)
        assert violations(page) == []
        add(page, data)
        begin(page, f"fox {theme} {width}")
        state(page, "preparing")
        lesson.gate.release(4)
        page.until(lambda: "step 4 of 6" in page.text(".training .progress"))
        assert violations(page) == []
        if width == 390:
            wide = "return document.documentElement.scrollWidth"
            assert page.driver.execute_script(wide) == 390
            small = (
                "return [...document.querySelectorAll('.train :is(button, select, input[type=text])')]"
                ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 40)"
                ".map(one => one.outerHTML)"
            )
            assert page.driver.execute_script(small) == []
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
