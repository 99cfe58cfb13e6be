"""Presets of block weights in infotexts: their numbers go where the image goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptengine import Registry
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import Recipe, recipe_from_infotext
from promptengine.infotext.write import listed_presets
from promptengine.kinds import AskedBlocks, PresetTable
from promptengine.prompt import Span
from promptengine.request.result import NetworkReport
from tests.model_folders import touch

ONES, ZEROS, DYNAMIC = ("1" + ",1" * 16, "0" + ",0" * 16, "X,X+0.2" + ",1" * 15)


def recipe(models: Path, text: str) -> Recipe:
    return recipe_from_infotext(read_infotext(text), Registry.open(models))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    touch(tmp_path / "Lora" / "a.pt")
    (tmp_path / "Lora" / "lbwpresets.txt").write_text(f"MINE:{ONES}\n", "utf-8")
    return tmp_path


def report(text: str, presets: PresetTable, dynamic: str = "") -> NetworkReport:
    blocks = AskedBlocks(text, dynamic).resolve(presets)
    return NetworkReport("lora", "a", 1.0, True, "", Span(0, 1), blocks=blocks)


def test_each_preset_is_listed_once_as_it_was_written() -> None:
    presets = PresetTable({"MINE": ONES, "D": DYNAMIC})
    reports = [report(text, presets, "0.5") for text in ("MINE", "D", ONES, "MINE")]
    assert listed_presets(reports) == f"MINE: {ONES}; D: {DYNAMIC}"
    assert listed_presets(reports[2:3]) == ""


def infotext(prompt: str, presets: str, more: str = "") -> str:
    return f'{prompt}\nSteps: 4, Seed: 1, Block weights: "{presets}"{more}'


def test_a_preset_that_is_the_same_here_stays_a_name(models: Path) -> None:
    found = recipe(models, infotext("a<lora:a:1:lbw=MINE>", f"MINE: {ONES}"))
    assert found.request.prompt == "a<lora:a:1:lbw=MINE>"
    assert not [d for d in found.diagnostics if "lock weights" in d.message]


@pytest.mark.parametrize("name", ["MINE", "THEIRS", "ALL"])
def test_a_preset_that_is_another_here_becomes_its_numbers(models: Path, name: str) -> None:
    prompt = f"a<lora:a:1:lbw={name}>b<lora:a:2:lbw=OUTS><hypernet:c:lbw={name}:1>"
    hires = f', Denoising strength: 0.5, Hires upscale: 2, Hires prompt: "x<lora:a:1:lbw={name}>"'
    found = recipe(models, infotext(prompt, f"{name}: {DYNAMIC}; OUTS2: {ZEROS}", hires))
    assert found.request.prompt == prompt.replace(f"lbw={name}", f"lbw={DYNAMIC}")
    assert found.fields["hr_prompt"] == f"x<lora:a:1:lbw={DYNAMIC}>"
    messages = [d.message for d in found.diagnostics]
    said = f"the preset {name!r} of block weights is another one here, or none"
    assert sum(message.startswith(said) for message in messages) == 1
    assert not any("'Block weights'" in message for message in messages)


@pytest.mark.parametrize(
    "presets",
    [
        "MINE: 1><lora:b:1",
        "MINE: 1:te=3",
        "MINE",
        "MINE: ",
        ": 1,0",
        "MINE: (a:2)",
        ";" * 5_000,
        "A: 1" * 10_000,
    ],
)
def test_an_infotext_puts_nothing_but_numbers_into_a_prompt(models: Path, presets: str) -> None:
    prompt = "a<lora:a:1:lbw=MINE>"
    found = recipe(models, infotext(prompt, presets))
    assert found.request.prompt == prompt
    assert "Block weights holds something that is no preset" in [
        d.message for d in found.diagnostics
    ]
