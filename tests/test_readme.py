"""The README's examples work as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from promptengine.cli.main import _parser  # pyright: ignore[reportPrivateUsage]
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.diffusers_pipelines import pipeline
from tests.checkpoints.original import tiny
from tests.conftest import CHECKPOINT, NETWORKS
from tests.networks.builders import random_network

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model.safetensors").symlink_to(CHECKPOINT)
    # The native size is what the example uses: a small one is quick.
    small = (
        CHECKPOINT.with_suffix(".yaml").read_text().replace("image_size: 64", "image_size: 8", 1)
    )
    (tmp_path / "my-model.yaml").write_text(small)
    (tmp_path / "models" / "hypernetworks").mkdir(parents=True)
    shutil.copy(NETWORKS / "hn-relu.pt", tmp_path / "models" / "hypernetworks" / "ink.pt")
    engine_example, pipeline_example = blocks("python")
    names: dict[str, object] = {}
    exec(compile(engine_example, "README.md", "exec"), names)
    assert "('ink', True, '')" in capsys.readouterr().out
    assert (tmp_path / "cat.png").is_file()
    pipe = pipeline(tiny("SD1"))
    network = random_network([64, 128])
    save_hypernetwork(network, tmp_path / "models" / "hypernetworks" / "ink.pt")
    exec(compile(pipeline_example, "README.md", "exec"), {"pipe": pipe})
    assert "name='ink', multiplier=0.8, applied=True" in capsys.readouterr().out


def test_every_command_is_understood() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    found = [re.search(r"(?:^|bin/)promptengine (.*)", line) for line in lines]
    commands = [match[1] for match in found if match]
    assert len(commands) >= 5
    for command in commands:
        arguments = shlex.split(command, comments=True)
        assert _parser().parse_args(arguments).run


def test_the_files_the_commands_name_are_there() -> None:
    root = Path(__file__).parent.parent
    named = re.findall(r"\b(?:tests|models/starter)/[\w./-]+\w", README)
    assert named
    assert all((root / name).exists() for name in named)
