"""Imports run one way: the layout is the architecture, and this reads it off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "promptengine"

LAYERS: list[set[str]] = [
    {"errors", "version", "interrupt", "undo", "garbage"},
    {"validation", "plugins"},
    {"files", "accel"},
    {"kinds"},
    {"prompt"},
    {"registry", "families"},
    {"request"},
    {"text", "networks", "sampling", "infotext", "super_resolution", "language"},
    {"checkpoints", "inspection"},
    {"images"},
    {"choices", "civitai"},
    {"generation"},
    {"xyz_plot"},
    {"scripts"},
    {"training", "integrations", "conversion"},
    {"server"},
    {"ui"},
    {"cli"},
    {"__main__"},
]
"""What may import what: a part imports only from layers above its own (here: earlier ones)."""

TORCH_FREE = {
    *{
        "version",
        "errors",
        "interrupt",
        "undo",
        "garbage",
        "validation",
        "plugins",
        "kinds",
        "prompt",
        "files",
        "registry",
        "families",
        "request",
        "infotext",
        "language",
    },
    *{"inspection", "images", "choices", "civitai"},
}


def unit_of(path: Path) -> str:
    """The part of the package a file belongs to: a folder or a module of the top level."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The parts of the package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("promptengine.")}
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_part_has_a_layer() -> None:
    assert {unit_of(path) for path in FILES} == set().union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    unit = unit_of(path)
    level = next(number for number, layer in enumerate(LAYERS) if unit in layer)
    allowed = set().union(*LAYERS[:level], {unit})
    imported = imports_of(path)
    assert imported <= allowed, f"{unit} may not import {sorted(imported - allowed)}"


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["", *sorted(f".{unit}" for unit in TORCH_FREE), ".cli.main"])
def test_reading_prompts_loads_no_torch(unit: str) -> None:
    code = f"import sys, promptengine{unit}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parsing_loads_no_torch() -> None:
    code = (
        "import sys, promptengine as p; p.parse('(a:1.2) [b|c]'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
