"""What a command loads, and so how soon it answers: no more than what it needs."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from promptengine.cli.main import COMMANDS, _parser  # pyright: ignore[reportPrivateUsage]
from tests.conftest import CHECKPOINT, CONFIG

ROOT = Path(__file__).parent.parent.parent
HEAVY = {"torch", "numpy", "PIL", "rich", "transformers", "diffusers", "httpx", "yaml", "fastapi"}


def loaded(*arguments: str) -> set[str]:
    """The modules that a process has loaded once a command is done."""
    code = (
        "import sys\n"
        "from promptengine.cli.main import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as stop: status = stop.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.slow
def test_an_image_loads_what_makes_it(tmp_path: Path) -> None:
    modules = loaded(
        *("txt2img", "a cat", "--checkpoint", str(CHECKPOINT), "--config", str(CONFIG)),
        *(
            "--device",
            "cpu",
            "--width",
            "64",
            "--height",
            "64",
            "--steps",
            "1",
            "-o",
            str(tmp_path),
        ),
    )
    assert "torch" in modules
    assert not modules & {
        "torchvision",
        "scipy",
        "pandas",
        "sklearn",
        "ftfy",
        "httpx",
        "fastapi",
        "lark",
    }
    ours = {name.split(".")[1] for name in modules if name.startswith("promptengine.")}
    assert not ours & {"scripts", "server", "ui", "training", "civitai", "language", "xyz_plot"}


def listed(parser: argparse.ArgumentParser) -> list[str]:
    """The commands that help names."""
    return re.findall(r"^    (\S+)", parser.format_help(), re.MULTILINE)


def test_a_prompt_is_read_with_little_more_than_the_standard_library() -> None:
    modules = loaded("parse", "a (cat:1.3) [dog:fox:0.5]")
    ours = {name for name in modules if name.startswith("promptengine.")}
    parts = {name.split(".")[1] for name in ours}
    assert parts == {"cli", "errors", "garbage", "plugins", "prompt", "validation", "version"}
    assert {name for name in ours if name.startswith("promptengine.cli.")} == {
        f"promptengine.cli.{name}"
        for name in (
            *("command", "main", "model_folders", "options"),
            *("parse", "render", "terminal"),
        )
    }
    others = {*HEAVY, "lark", "lazy_loader", "packaging", "importlib.metadata", "email"}
    assert not modules & others


def test_tags_load_what_finds_networks_and_no_more() -> None:
    modules = loaded("parse", "a cat <hypernet:vintage:0.5>", "--models", "models")
    assert "promptengine.registry.registry" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_lists_commands_loads_none(option: str) -> None:
    modules = loaded(option)
    ours = {name for name in modules if name.startswith("promptengine.cli.")}
    assert ours == {f"promptengine.cli.{name}" for name in ("command", "main", "terminal")}


@pytest.mark.parametrize("command", ["txt2img", "train", "serve", "convert"])
def test_help_of_what_takes_a_model_loads_no_torch(command: str) -> None:
    modules = loaded(command, "--help")
    assert not modules & {"torch", "transformers", "diffusers", "fastapi", "promptengine.scripts"}


@pytest.mark.parametrize("name", COMMANDS.builtins)
def test_one_command_is_built_alone(name: str) -> None:
    assert listed(_parser(name)) == [name]


def test_all_commands_are_listed_without_their_options() -> None:
    assert listed(_parser("--help")) == [*COMMANDS]
    assert _parser("--help").format_help() == _parser().format_help()
