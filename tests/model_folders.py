"""Models folders made up for tests, and shorthands for asking a registry about them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from promptengine.registry.registry import Kind, Registry

OLD_NS = 1_600_000_000_000_000_000
"""A time stamp of years ago."""


def touch(*paths: Path) -> None:
    """Make small files, with their folders."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def hypernets(root: Path, *names: str) -> Registry:
    """Open a registry of hypernetworks of these names."""
    touch(*(root / "hypernetworks" / name for name in names))
    return Registry.open(root)


def names_of(registry: Registry, kind: Kind = "hypernet") -> list[str]:
    """What the registry calls its files."""
    return [entry.name for entry in registry.entries(kind)]


def path_of(registry: Registry, name: str, kind: Kind = "hypernet") -> Path:
    """The file that a name finds; it must find one."""
    entry = registry.find(kind, name)
    assert entry is not None, name
    return entry.path


def write_safetensors(path: Path, metadata: Mapping[str, str] | None) -> None:
    """Write a safetensors file of nothing but metadata."""
    header = json.dumps({} if metadata is None else {"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def settle(root: Path) -> None:
    """Make all folders look as though they had not changed for years."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(OLD_NS, OLD_NS))
