"""Templates and styles on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_main import TINY, Capture, run
from tests.cli.test_script import text_of


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models" / "wildcards").mkdir(parents=True)
    (tmp_path / "models" / "wildcards" / "animal.txt").write_text("cat\ndog\nfox\n")
    return tmp_path / "models"


def expanded(capsys: Capture, *arguments: str) -> list[str]:
    assert run("expand", *arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_expand_writes_prompts(models: Path, capsys: Capture) -> None:
    where = ("--models", str(models))
    every = expanded(capsys, "a {red|blue} __animal__", "--combinatorial", *where)
    assert every == [
        f"a {color} {animal}" for color in ("red", "blue") for animal in ("cat", "dog", "fox")
    ]
    drawn = expanded(capsys, "a {red|blue} __animal__", "--seed", "3", *where)
    assert len(drawn) == 20 and set(drawn) <= set(every)
    assert expanded(capsys, "__animal__", "-n", "4", "--cyclical", *where) == [
        "cat",
        "dog",
        "fox",
        "cat",
    ]
    assert run("expand", "{a|b}", "-n", "2", "--combinatorial", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("__nobody__",), "unknown wildcard 'nobody'; write its values into models/wildcards"),
        (("{a|b}", "-n", "0"), "count"),
        (("{" * 1_000 + "}" * 1_000,), "nests 999 deep; it must be at most 50"),
        (("{a|b}", "--seed", "-2"), "seed"),
    ],
)
def test_what_cannot_be_expanded_is_told_in_a_line(
    arguments: tuple[str, ...],
    message: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("expand", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_expand_marks_what_is_never_closed(capsys: Capture) -> None:
    assert expanded(capsys, "a {b|c", "-n", "1") == ["a {b|c"]
    assert run("expand", "a {b|c", "-n", "1") == 0
    assert "never closed" in capsys.readouterr().err
    assert run("expand", "a {b|c", "-n", "1", "--ignore", "unclosed-bracket") == 0
    assert capsys.readouterr().err == ""
    assert run("expand", "a {b|c", "--ignore", "unclosed-brackets") == 2
    assert "--ignore is 'unclosed-brackets'; did you mean" in capsys.readouterr().err


def test_dynamic_draws_a_prompt_for_each_image(
    models: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    arguments = ["txt2img", "a __animal__", "-n", "{x|y}", "--dynamic", "--seed", "5", *TINY]
    arguments += [
        "--batch-size",
        "2",
        "--batch-count",
        "2",
        "--models",
        str(models),
        "-o",
        str(out),
    ]
    assert run(*arguments) == 0
    texts = [text_of(path) for path in sorted(out.iterdir())]
    assert len(texts) == 4
    drawn = expanded(capsys, "a __animal__", "--seed", "5", "-n", "4", "--models", str(models))[-4:]
    assert [text.partition("\n")[0] for text in texts] == drawn
    assert all("Template: a __animal__, Negative Template: {x|y}" in text for text in texts)
    assert [text.partition("Seed: ")[1] + text.partition("Seed: ")[2][0] for text in texts[:2]] == [
        "Seed: 5",
        "Seed: 6",
    ]
    again = tmp_path / "again"
    first = sorted(out.iterdir())[1]
    assert run("txt2img", "--from", str(first), *TINY, "-o", str(again)) == 0
    (made,) = again.iterdir()
    assert made.name.endswith("-6.png")
    assert text_of(made).partition("\n")[0] == drawn[1]


def test_combinations_are_bounded_by_what_is_asked_for(tmp_path: Path) -> None:
    arguments = ["txt2img", "{a|b|c}", *TINY, "--seed", "5", "--dynamic"]
    arguments += ["--dynamic-method", "combinatorial", "-o", str(tmp_path)]
    assert run(*arguments, "--batch-count", "2") == 0
    prompts = [text_of(path).partition("\n")[0] for path in sorted(tmp_path.glob("*.png"))]
    assert prompts == ["a", "b"]


def test_a_script_and_templates_are_not_both(capsys: Capture) -> None:
    arguments = ["txt2img", "a|{b|c}", *TINY, "--dynamic", "--script", "prompt matrix"]
    assert run(*arguments) == 2
    assert "expands no templates" in capsys.readouterr().err
    assert run("txt2img", "a", *TINY, "--dynamic-method", "cyclical") == 2
    assert "set dynamic as well" in capsys.readouterr().err


def test_styles_go_around_prompts(tmp_path: Path, capsys: Capture) -> None:
    styles = tmp_path / "mine.csv"
    styles.write_text(
        'name,prompt,negative_prompt\nphoto,"photo of {prompt}, sharp",blurry\nnight,at night,\n'
    )
    out = tmp_path / "out"
    arguments = ["txt2img", "a cat", *TINY, "--styles", str(styles), "-o", str(out)]
    arguments += ["--hypernetwork", "hn-relu:0.5"]
    assert run(*arguments, "--style", "photo", "--style", "night") == 0
    (path,) = out.iterdir()
    first, second = text_of(path).split("\n")[:2]
    assert first == "photo of a cat, sharp, at night<hypernet:hn-relu:0.5>"
    assert second == "Negative prompt: blurry"
    capsys.readouterr()
    assert run(*arguments, "--style", "foto") == 2
    assert "unknown style 'foto'; did you mean 'photo'?" in capsys.readouterr().err
    assert run("txt2img", "a", *TINY, "--style", "x", "--styles", str(tmp_path / "no.csv")) == 2
    assert "no.csv; name another" in capsys.readouterr().err
