"""Packages that are installed by a folder on the path, with what tells importlib.metadata about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Groups = Mapping[str, Mapping[str, str]]
Install = Callable[..., Path]

EXAMPLES = Path(__file__).parent.parent / "examples"


def lay_out(
    folder: Path, name: str, groups: Groups, sources: str | Mapping[str, str], version: str
) -> None:
    """Write a package of one module of its own name, or of several, into a folder."""
    module = name.replace("-", "_")
    for file, source in ({module: sources} if isinstance(sources, str) else sources).items():
        (folder / f"{file}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def installer(folder: Path, patch: pytest.MonkeyPatch) -> Install:
    """Return what puts packages into a folder, which becomes one of the path."""
    folder.mkdir()

    def put(
        name: str, groups: Groups, sources: str | Mapping[str, str], version: str = "1.0"
    ) -> Path:
        lay_out(folder, name, groups, sources, version)
        patch.syspath_prepend(folder)
        for module in [name.replace("-", "_")] if isinstance(sources, str) else sources:
            patch.delitem(sys.modules, module, raising=False)
        return folder

    return put


def install_example(install: Install, example: str) -> Path:
    """Install a plugin of the folder of examples."""
    tomllib: Any = pytest.importorskip("tomllib")
    folder = EXAMPLES / example
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    return install(project["name"], project["entry-points"], sources, project["version"])
