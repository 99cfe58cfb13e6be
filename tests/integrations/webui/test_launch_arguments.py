"""Folders that a WebUI is started with, read from its script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promptengine import RequestError
from promptengine.integrations.webui.installation import webui_folders
from promptengine.integrations.webui.launch_arguments import read_launch_arguments
from tests.integrations.webui.builders import make_webui

pytestmark = pytest.mark.skipif(os.name == "nt", reason="reads webui-user.bat there")


def script(root: Path, text: str) -> Path:
    make_webui(root)
    (root / "webui-user.sh").write_text(text, encoding="utf-8")
    return root


def test_folders_go_where_webui_looks(tmp_path: Path) -> None:
    arguments = "--xformers --lora-dir='/data/my loras' --ckpt-dir more --embeddings-dir /data/ti"
    root = script(tmp_path, f'#!/bin/bash\nexport COMMANDLINE_ARGS="{arguments}"\n')
    folders = webui_folders(root)
    assert folders["lora"] == [Path("/data/my loras"), root / "models" / "LyCORIS"]
    assert folders["checkpoint"] == [root / "models" / "Stable-diffusion", root / "more"]
    assert folders["embedding"] == [Path("/data/ti"), root / "models" / "embeddings"]
    assert folders["hypernet"] == [root / "models" / "hypernetworks"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '#export COMMANDLINE_ARGS="--lora-dir /x"\n',
        "export COMMANDLINE_ARGS='--lora-dir\n",
        'export COMMANDLINE_ARGS=""\n',
        "\0" * 100,
    ],
)
def test_what_says_nothing(tmp_path: Path, text: str) -> None:
    found = read_launch_arguments(script(tmp_path, text))
    assert (found.folders, found.left_out) == ({}, ())


def test_nothing_is_run_or_worked_out(tmp_path: Path) -> None:
    text = 'export COMMANDLINE_ARGS="--lora-dir $(touch ran) --ckpt-dir $HOME/x --data-dir /y"\n'
    found = read_launch_arguments(script(tmp_path, text))
    assert found.folders == {}
    assert found.left_out == ("--ckpt-dir", "--data-dir", "--lora-dir")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "offload"),
    [
        ("--xformers", "auto"),
        ("--medvram-sdxl", "auto"),
        ("--medvram --api", "model"),
        ("--lowvram", "layers"),
        ("--medvram --lowvram", "layers"),
    ],
)
def test_what_leaves_the_device(tmp_path: Path, arguments: str, offload: str) -> None:
    root = script(tmp_path, f'export COMMANDLINE_ARGS="{arguments}"\n')
    assert read_launch_arguments(root).offload == offload


def test_a_script_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"webui-user\.sh cannot be read: more than 64 KiB"):
        read_launch_arguments(script(tmp_path, " " * (65 << 10)))
