"""Scripts run with an engine by a program."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from promptengine import Engine, GenerationRequest, Interrupt, run_script
from promptengine.errors import GenerationCancelled, RequestError
from promptengine.request.result import GenerationResult, Progress
from promptengine.scripts.prompt_matrix import PROMPT_MATRIX
from tests.conftest import CHECKPOINT, CONFIG

SMALL = GenerationRequest(prompt="a cat|ink|snow", seed=7, steps=2, width=64, height=64)
FILE = "prompts from file or textbox"


def test_a_run_tells_of_its_images_and_steps_as_they_come(tiny_engine: Engine) -> None:
    told: list[Progress] = []
    made: list[GenerationResult] = []
    output = run_script(
        tiny_engine,
        "PROMPT MATRIX",
        SMALL,
        on_progress=told.append,
        on_image=lambda _, result: made.append(result),
    )
    assert [(one.batch, one.batches, one.step) for one in told] == [
        (batch, 4, step) for batch in range(4) for step in (1, 2)
    ]
    assert tuple(made) == output.results
    assert [one.prompt for one in output.requests] == [
        *("a cat", "a cat, ink", "a cat, snow"),
        "a cat, ink, snow",
    ]
    assert [one.grid for one in output.images] == [True, *[False] * 4]
    assert output.images[1].image is output.results[0].images[0]


def test_an_interrupt_keeps_what_is_made_and_draws_no_grid(tiny_engine: Engine) -> None:
    interrupt = Interrupt()

    def on_progress(progress: Progress) -> None:
        if progress.batch == 1:
            interrupt.stop()

    output = run_script(
        tiny_engine, PROMPT_MATRIX, SMALL, on_progress=on_progress, interrupt=interrupt
    )
    assert [one.grid for one in output.images] == [False, False]
    assert "stopped after 2 images" in output.notes[0]


def test_a_cancelled_run_lets_go_of_everything(tiny_engine: Engine) -> None:
    cancel = threading.Event()
    with pytest.raises(GenerationCancelled):
        run_script(
            tiny_engine, PROMPT_MATRIX, SMALL, on_progress=lambda _: cancel.set(), cancel=cancel
        )


def test_another_checkpoint_is_opened_beside_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copy(CHECKPOINT, tmp_path / f"{name}.safetensors")
    opened: list[Engine] = []
    original = Engine.open.__func__  # type: ignore[attr-defined]

    def open_noted(cls: type[Engine], *given: Any, **named: Any) -> Engine:
        opened.append(original(cls, *given, **named))
        return opened[-1]

    with Engine.open("one", {"checkpoint": tmp_path}, CONFIG, "cpu") as engine:
        monkeypatch.setattr(Engine, "open", classmethod(open_noted))
        text = "a\n--prompt b --sd_model two\nc\n--prompt d --sd_model one"
        request = GenerationRequest(prompt="", seed=7, steps=1, width=64, height=64)
        output = run_script(engine, FILE, request, {"text": text}, config=CONFIG)
        assert not engine.closed
    models = [one.infotext.partition("Model: ")[2].partition(",")[0] for one in output.images]
    assert models == ["one", "two", "two", "one"]
    assert [one.closed for one in opened] == [True]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("none such", {}, "unknown script 'none such'; there are Loopback"),
        (FILE, {"text": ""}, "no lines"),
        (FILE, {"lines": "a"}, "has no argument 'lines'"),
        ("prompt matrix", {"margin": "wide"}, "a whole number"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    tiny_engine: Engine, script: str, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        run_script(tiny_engine, script, SMALL, arguments)
