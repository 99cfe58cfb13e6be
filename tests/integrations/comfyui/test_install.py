"""The nodes put into a folder of ComfyUI: never over anything else, and taken out without a trace."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from promptengine.cli.main import main
from promptengine.errors import RequestError
from promptengine.integrations.comfyui.install import install_nodes, uninstall_nodes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def test_three_lines_that_name_the_nodes(folder: Path) -> None:
    file = install_nodes(folder)
    assert file == folder / "custom_nodes" / "promptengine" / "__init__.py"
    assert len(file.read_text().splitlines()) == 3
    found = runpy.run_path(str(file))
    assert found["NODE_CLASS_MAPPINGS"].keys() == found["NODE_DISPLAY_NAME_MAPPINGS"].keys()
    assert found["NODE_CLASS_MAPPINGS"]
    assert install_nodes(folder) == file
    assert [path.name for path in file.parent.iterdir()] == ["__init__.py"]


def test_taken_out_again(folder: Path) -> None:
    file = install_nodes(folder)
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / "__init__.pyc").touch()
    assert uninstall_nodes(folder) == file.parent
    assert not list((folder / "custom_nodes").iterdir())
    assert uninstall_nodes(folder) is None


@pytest.mark.parametrize("content", ["file", "other text", "more files", "link", "folder in place"])
def test_what_is_foreign_stays_as_it_is(folder: Path, tmp_path: Path, content: str) -> None:
    target = folder / "custom_nodes" / "promptengine"
    if content == "file":
        target.write_text("mine")
    elif content == "link":
        (tmp_path / "mine").mkdir()
        target.symlink_to(tmp_path / "mine")
    else:
        target.mkdir()
        if content == "folder in place":
            (target / "__init__.py").mkdir()
        else:
            name = "__init__.py" if content == "other text" else "mine.py"
            (target / name).write_text("mine")
    for change in (install_nodes, uninstall_nodes):
        with pytest.raises(RequestError, match="move it away first"):
            change(folder)
    kept = [path for path in target.rglob("*") if path.is_file()]
    assert all(path.read_text() == "mine" for path in kept)
    assert target.exists()


def test_a_half_made_folder_is_completed(folder: Path) -> None:
    (folder / "custom_nodes" / "promptengine").mkdir()
    assert install_nodes(folder).is_file()


def test_only_a_folder_of_comfyui_will_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["comfyui", "install", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "has no folder custom_nodes" in told
    assert "Traceback" not in told


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["comfyui", "install", str(folder)]) == 0
    assert "custom_nodes/promptengine/__init__.py" in capsys.readouterr().out
    assert main(["comfyui", "uninstall", str(folder)]) == 0
    assert main(["comfyui", "uninstall", str(folder)]) == 0
    assert "not installed" in capsys.readouterr().out


def test_nothing_of_comfyui_is_imported_with_the_package() -> None:
    code = (
        "import sys, promptengine.integrations.comfyui.nodes;"
        "sys.exit(any(name.split('.')[0] in ('comfy', 'folder_paths') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
