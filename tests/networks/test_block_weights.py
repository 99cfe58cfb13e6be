"""Weights by block in whole generations, and what all surfaces tell of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptengine import (
    Engine,
    GenerationRequest,
    GenerationResult,
    HiresPass,
    PromptSyntaxError,
    read_infotext,
    request_from_infotext,
)
from promptengine.cli.main import main
from promptengine.kinds.blocks import BUILT_IN_PRESETS
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI

LORAS = WEBUI.parent / "webui-2" / "loras"
BASE = GenerationRequest(prompt="a cat", seed=7, steps=2, width=64, height=64, sampler="Euler")
ONES = ",".join("1" * 26)
DEEP = "1" + ",0.25" * 13 + ",1" * 12


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(LORAS, folder / "Lora")
    (folder / "hypernetworks").mkdir()
    shutil.copy(NETWORKS / "hn-relu.pt", folder / "hypernetworks")
    (folder / "lbwpresets.txt").write_text(f"DEEP:{DEEP}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine.open(CHECKPOINT, models=models, config=CONFIG, device="cpu")


def generate(engine: Engine, prompt: str, **changes: object) -> GenerationResult:
    return engine.generate(replace(BASE, prompt=prompt, **changes))


@pytest.mark.parametrize("tag", ["lora:lo-kohya", "hypernet:hn-relu"])
def test_weights_by_block_change_the_image(engine: Engine, tag: str) -> None:
    latents = {
        name: generate(engine, f"a cat<{tag}:1{name}>").latents
        for name in ("", f":lbw={ONES}", ":lbw=DEEP", f":lbw={DEEP}", ":lbw=OUTALL", ":lbw=NONE")
    }
    assert torch.equal(latents[""], latents[f":lbw={ONES}"])
    assert torch.equal(latents[":lbw=DEEP"], latents[f":lbw={DEEP}"])
    assert torch.equal(latents[":lbw=NONE"], generate(engine, "a cat").latents)
    different = [latents[name] for name in ("", ":lbw=DEEP", ":lbw=OUTALL", ":lbw=NONE")]
    for number, one in enumerate(different):
        assert all((one - other).abs().max() > 1e-4 for other in different[:number])


@pytest.mark.parametrize("tag", ["lora:lo-kohya", "hypernet:hn-relu"])
def test_weights_of_0_everywhere_are_reported_as_not_applied(engine: Engine, tag: str) -> None:
    (report,) = generate(engine, f"a cat<{tag}:1:lbw=NONE>").networks
    assert not report.applied
    assert report.reason


def test_an_unknown_preset_is_skipped_told_or_an_error(engine: Engine) -> None:
    prompt = "a cat<lora:lo-kohya:1:lbw=DEAP>"
    made = generate(engine, prompt)
    (report,) = made.networks
    assert (report.applied, report.reason) == (False, "block weights 'DEAP' are no preset")
    assert any("did you mean 'DEEP'" in d.message for d in made.diagnostics)
    assert "Lora skipped: lo-kohya (block weights" in made.infotexts[0]
    with pytest.raises(PromptSyntaxError, match="did you mean 'DEEP'"):
        generate(engine, prompt, policy="strict")


def test_an_infotext_makes_the_image_again_where_the_preset_is_missing(
    engine: Engine, models: Path, tmp_path: Path
) -> None:
    hires = HiresPass(scale=1.5, steps=1, prompt="a dog<lora:lo-kohya:1:lbw=OUTS>")
    made = generate(engine, "a cat<lora:lo-kohya:1:lbw=DEEP>", hires=hires)
    (report,) = made.networks
    assert report.blocks is not None
    assert report.blocks.preset == "DEEP"
    text = made.infotexts[0]
    listed = f"DEEP: {DEEP}; OUTS: {BUILT_IN_PRESETS['OUTS']}"
    assert read_infotext(text).entries["Block weights"] == listed
    same, remarks = request_from_infotext(text, models)
    assert same.prompt == "a cat<lora:lo-kohya:1:lbw=DEEP>"
    missing = "checkpoint 'tiny-sd1'"
    assert [r.message.startswith(missing) for r in remarks] == [True]
    shutil.copytree(models / "Lora", tmp_path / "Lora")
    elsewhere, remarks = request_from_infotext(text, tmp_path)
    assert elsewhere.prompt == f"a cat<lora:lo-kohya:1:lbw={DEEP}>"
    assert [r.severity for r in remarks if not r.message.startswith(missing)] == ["info"]
    other = Engine.open(CHECKPOINT, models=tmp_path, config=CONFIG, device="cpu")
    again = other.generate(replace(elsewhere, policy="strict"))
    assert torch.equal(again.latents, made.latents)


def test_parse_tells_the_factors(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "<lora:lo-kohya:1:lbw=OUTS><hypernet:hn-relu:1>"
    assert main(["parse", prompt, "--models", str(models)]) == 0
    drawn = capsys.readouterr().out
    assert "block weights lo-kohya OUTS: BASE 1, IN01 0, IN02 0, " in drawn
    assert "OUT06 0, OUT07 1, OUT08 1, OUT09 1, OUT10 1, OUT11 1\n" in drawn
    assert main(["parse", prompt, "--models", str(models), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["block_weights"]
    assert list(told) == ["0"]
    assert (told["0"]["BASE"], told["0"]["MID"], told["0"]["OUT11"]) == (1, 0, 1)


def test_txt2img_tells_the_weights(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["txt2img", "a<lora:lo-kohya:1:lbw=DEEP>", "--checkpoint", str(CHECKPOINT)]
    arguments += ["--config", str(CONFIG), "--device", "cpu", "--models", str(models)]
    arguments += ["--width", "64", "--height", "64", "--steps", "1", "-o", str(tmp_path)]
    assert main(arguments) == 0
    assert "applied lora lo-kohya × 1 by block (DEEP)" in capsys.readouterr().out
