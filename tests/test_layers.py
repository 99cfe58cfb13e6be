"""Imports run one way: the layout is the architecture, and this reads it off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "promptengine"

LAYERS: list[set[str]] = [
    {"atomic", "version", "errors", "interrupt"},
    {"digests", "archives", "pickles", "imagefiles", "bounds", "journal"},
    {"onednn", "fields"},
    {"tensorfiles", "syntax", "modelfiles", "options", "sampler_names"},
    {"request", "registry", "networks", "families"},
    {"infotext", "plan", "text", "inspection"},
    {"recipe", "documents"},
    {"pictures"},
    {"diffusion"},
    {"training", "grid", "pipelines"},
    {"server"},
    {"web"},
    {"app"},
    {"__main__"},
]
"""What may import what: a module imports only from layers above its own (here: earlier ones)."""

NEIGHBOURS = {
    "modelfiles": {"registry", "inspection"},
    "registry": {"plan", "recipe", "diffusion", "grid", "pipelines", "server", "web"},
    "syntax": {
        *{"request", "plan", "recipe", "documents", "text", "diffusion", "training", "grid"},
        *{"server", "web"},
    },
    "plan": {"documents", "diffusion", "server", "web"},
    "families": {"diffusion", "inspection", "pipelines", "server"},
    "archives": {"tensorfiles"},
    "pickles": {"tensorfiles"},
    "journal": {"onednn", "networks", "text", "diffusion", "training", "pipelines"},
    "onednn": {"networks", "diffusion", "pipelines"},
    "networks": {"text", "diffusion", "inspection", "training", "pipelines", "server", "web"},
}
"""Who besides the package's face may know these."""

TORCH_FREE = {
    "version",
    "errors",
    "atomic",
    "digests",
    "archives",
    "pickles",
    "imagefiles",
    "bounds",
    "journal",
    "fields",
    "sampler_names",
    "syntax",
    "modelfiles",
    "options",
    "request",
    "registry",
    "infotext",
    "plan",
    "documents",
    "inspection",
    "pictures",
    "recipe",
    "tensorfiles",
    "families",
    "interrupt",
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
    for neighbour, users in NEIGHBOURS.items():
        assert neighbour not in imported or unit in users | {neighbour, "app"}, neighbour


@pytest.mark.parametrize("unit", ["", *sorted(f".{unit}" for unit in TORCH_FREE), ".app.cli"])
def test_reading_prompts_loads_no_torch(unit: str) -> None:
    code = f"import sys, promptengine{unit}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parsing_loads_no_torch() -> None:
    code = (
        "import sys, promptengine as p; p.parse('(a:1.2) [b|c]'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
