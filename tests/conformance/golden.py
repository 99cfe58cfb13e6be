"""Reads the tables and tensors of the golden data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

DATA = Path(__file__).parent / "data"


def folder() -> Path:
    """The project's own golden data, or the folder that PROMPTENGINE_CONFORMANCE names."""
    return Path(os.environ.get("PROMPTENGINE_CONFORMANCE", DATA))


def device() -> str:
    """Where models run: the CPU, or the device that PROMPTENGINE_TEST_DEVICE names."""
    return os.environ.get("PROMPTENGINE_TEST_DEVICE", "cpu")


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file."""
    return [json.loads(line) for line in present(path).read_text(encoding="utf-8").splitlines()]


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file."""
    # The tests of the parser read tables from here and must run where torch is not installed.
    from safetensors.torch import load_file

    return load_file(present(path))


def table(path: Path) -> Any:
    """The value of a .json file."""
    return json.loads(present(path).read_text(encoding="utf-8"))


def present(path: Path) -> Path:
    """Skip the test where a folder lacks a file: there is nothing to compare with."""
    if not path.is_file():
        pytest.skip(f"no {path.name} in this folder")
    return path


def difference(ours: Tensor, golden: Tensor) -> float:
    """The largest absolute difference; infinite where shapes differ or a value is no number."""
    if ours.shape != golden.shape or not ours.isfinite().all():
        return float("inf")
    return float((ours.cpu().double() - golden.double()).abs().max())
