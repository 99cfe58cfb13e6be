"""Scripts on the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from promptengine.scripts.table import SCRIPTS
from tests.cli.test_main import TINY, Capture, run


def text_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.info["parameters"]


def test_a_matrix_is_written_with_its_grid(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["txt2img", "a cat|<hypernet:hn-relu>", *TINY, "--seed", "5"]
    arguments += ["--script", "prompt matrix", "--script-arg", "different_seeds=true"]
    arguments += ["--script-arg", "joint=space", "--script-arg", "margin=2"]
    assert run(*arguments, "-o", str(tmp_path)) == 0
    names = ["00001-5.png", "00002-6.png", "grid-00001-5.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == names
    assert text_of(tmp_path / names[1]).startswith("a cat <hypernet:hn-relu>\n")
    with Image.open(tmp_path / names[2]) as grid:
        assert grid.width == 64 + 2 + 64
    output = capsys.readouterr().out
    assert [Path(line).name for line in output.splitlines()[:3]] == names
    assert "applied hypernet hn-relu × 1" in output


def test_a_file_of_prompts(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(
        'a dog\n--prompt "a fox" --seed 9 --steps 1\n--nonsense\n', encoding="utf-8-sig"
    )
    out = tmp_path / "out"
    arguments = ["txt2img", "--prompts", str(file), *TINY, "--seed", "5", "-o", str(out)]
    assert run(*arguments, "--script-arg", "iterate_seed=yes") == 0
    texts = [text_of(path) for path in sorted(out.iterdir())]
    assert [text.partition("\n")[0] for text in texts] == ["a dog", "a fox", "--nonsense"]
    assert ["Seed: 5" in texts[0], "Seed: 9" in texts[1], "Seed: 7" in texts[2]] == [True] * 3
    assert "Steps: 1" in texts[1]
    assert "note: line 3 is a prompt in whole" in capsys.readouterr().err


def test_prompts_of_standard_input_stand_beside_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ä fox\n".encode())))
    arguments = ["txt2img", "ink", "--prompts", "-", *TINY, "--seed", "5"]
    arguments += ["--script-arg", "position=end"]
    assert run(*arguments, "-o", str(tmp_path)) == 0
    assert text_of(tmp_path / "00001-5.png").startswith("ink ä fox\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "--script", "none"], "unknown script 'none'; there are"),
        (["a", "--script-arg", "margin=2"], "name one with --script"),
        (["a", "--script", "Prompt matrix", "--script-arg", "margin"], "write NAME=VALUE"),
        (
            ["a", "--script", "Prompt matrix", "--script-arg", "margin=x"],
            "a whole number (got 'x')",
        ),
        (["a", "--script", "Prompt matrix", "--script-arg", "at_start=?"], "true or false"),
        (["a", "--script", "Prompt matrix", "--script-arg", "width=2"], "no argument 'width'"),
        (["a", "--script", "Prompt matrix", "--prompts", "-"], "leave one of the two out"),
        (["--prompts", "/nowhere.txt"], "/nowhere.txt: No such file"),
        (["--script", "Prompt matrix"], "PROMPT is missing"),
        (["a" + "|b" * 60, "--script", "Prompt matrix"], "2^60 images"),
        (["a|b", "--script", "Prompt matrix", "--profile"], "leave it out"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: Capture, arguments: list[str], words: str
) -> None:
    assert run("txt2img", *arguments, *TINY, "-o", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"a cat\xff\xfe")
    assert run("txt2img", "--prompts", str(file), *TINY) == 2
    assert "no UTF-8 text (byte 5)" in capsys.readouterr().err


def test_scripts_are_listed(capsys: Capture) -> None:
    assert run("scripts") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in SCRIPTS)
    assert "Grid margins (px), 0 to 500" in told
    assert run("scripts", "--json") == 0
    names = [script["name"] for script in json.loads(capsys.readouterr().out)]
    assert names == list(SCRIPTS)
