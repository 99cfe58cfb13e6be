"""``promptengine convert --to lora`` and ``promptengine merge``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from promptengine import load_hypernetwork, save_hypernetwork
from tests.cli.test_main import run
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS

Capture = pytest.CaptureFixture[str]
TINY = ["--checkpoint", str(CHECKPOINT), "--config", str(CONFIG), "--device", "cpu"]
QUICK = [*TINY, "--steps", "2", "--size", "64"]


def test_a_lora_is_written_and_its_error_told(tmp_path: Path, capsys: Capture) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n\na dog\n")
    source, target = str(NETWORKS / "hn-relu.pt"), str(tmp_path / "ink.safetensors")
    arguments = ["convert", source, target, "--to", "lora", "--rank", "4", *QUICK]
    assert run(*arguments, "--prompts", str(prompts)) == 0
    said = capsys.readouterr().out
    assert re.search(r"wrote \S+: 38 modules of rank 4\n38 of them are fitted to tiny-sd1", said)
    assert re.search(r": \d+\.\d\d% of what the hypernetwork changes is missed", said)
    assert "--to lora-diff carries them" in said
    assert run("inspect", target, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "lora"
    assert 0 < float(report["metadata"]["promptengine.error"]) < 1
    assert run(*arguments) == 2
    assert "--force" in capsys.readouterr().err


def test_what_is_exact_is_told(tmp_path: Path, capsys: Capture) -> None:
    source, target = str(NETWORKS / "hn-linear.pt"), str(tmp_path / "ink.safetensors")
    assert run("convert", source, target, "--to", "lora-diff", *TINY) == 0
    assert "exact for tiny-sd1.safetensors, at every multiplier" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rank", "4"], "--rank is for LoRAs; add --to lora"),
        (["--to", "lora", "--rank", "0", *TINY], "rank is 0; it must be at least 1"),
        (["--to", "lora", "--steps", "0", *TINY], "steps is 0; it must be 1 to 1000"),
        (["--to", "lora", "--prompts", "/dev/null", *TINY], "prompts is empty"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "ink.safetensors"
    assert run("convert", str(NETWORKS / "hn-relu.pt"), str(target), *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not target.exists()


def test_merge_takes_names_and_files(tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "c.safetensors"
    where = ["--hypernetwork-dir", str(NETWORKS), "-o", str(target)]
    second = tmp_path / "a:b.pt"
    save_hypernetwork(load_hypernetwork(NETWORKS / "hn-linear.pt"), second)
    assert run("merge", "hn-relu:0.7", f"{second}:0.3", str(second), *where) == 0
    assert "<hypernet:hn-relu:0.7><hypernet:a:b:0.3><hypernet:a:b:1>" in capsys.readouterr().out
    merged = load_hypernetwork(target)
    assert set(merged.widths) == {48, 32, 64, 128}
    assert merged.settings.activation == "relu"
    assert run("merge", "hn-relu:0.7", *where) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uses", "said"),
    [
        (["hn-relu", "hn-tanh-out:0.5"], "'hn-relu' has relu; one network has one activation"),
        (["hn-swish-ln", "hn-relu"], "has layer norm, through which nothing passes"),
        (["hn-relu:much"], "multiplier 'much' is no number"),
        (["hn-relu:inf"], "multiplier of 'hn-relu' is inf; it must be finite"),
        (["hn-rel:1"], "unknown hypernetwork 'hn-rel'; did you mean 'hn-relu'"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    uses: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "c.pt"
    assert run("merge", *uses, "--hypernetwork-dir", str(NETWORKS), "-o", str(target)) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not target.exists()
