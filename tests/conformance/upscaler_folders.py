"""The golden data's upscalers, laid out as WebUI has them: what is SwinIR's lies in a folder of its own."""

from __future__ import annotations

import json
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promptengine.registry.registry import Registry
from tests.conformance.golden import DATA, folder, rows

PARITY = folder() / "webui-3"
GOLDENS = PARITY / "goldens"


def upscaler_cases(kind: str) -> list[Any]:
    """The cases of a kind, each a parameter of its name."""
    table = GOLDENS / f"{kind}.jsonl"
    found = rows(table) if table.is_file() else []
    return [pytest.param(case, id=case["id"]) for case in found]


def upscaler_files() -> list[Path]:
    """The networks; data without any use the project's own."""
    own = PARITY / "upscalers"
    return sorted((own if own.is_dir() else DATA / "webui-3" / "upscalers").glob("*.pth"))


def upscaler_registry(models: Path) -> Registry:
    """A registry of these networks below a folder that is empty so far."""
    for path in upscaler_files():
        place = models / ("SwinIR" if "swinir" in path.stem else "ESRGAN")
        place.mkdir(exist_ok=True)
        (place / path.name).symlink_to(path)
    return Registry.open(models)


def golden_image(kind: str, name: str, number: int) -> Image.Image | None:
    """A PNG of the golden data; None where there is none."""
    images = _images(kind)
    data = images.get(f"{name}/{number}.png")
    if data is None:
        return None
    image = Image.open(BytesIO(data))
    image.load()
    return image


@cache
def _images(kind: str) -> dict[str, bytes]:
    with zipfile.ZipFile(GOLDENS / f"{kind}_images.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def source_image(name: str) -> Image.Image:
    """An image of the golden data that a case starts from."""
    with Image.open(PARITY / "images" / name) as image:
        image.load()
        return image


def worst_level(ours: Image.Image, golden: Image.Image) -> int:
    """The largest difference of two images of 8 bits; 256 where mode or size differ."""
    if (ours.mode, ours.size) != (golden.mode, golden.size):
        return 256
    return int(np.abs(np.asarray(ours, int) - np.asarray(golden, int)).max())


def share_off(ours: Image.Image, golden: Image.Image) -> float:
    """How many of all values differ."""
    return float((np.asarray(ours) != np.asarray(golden)).mean())


def options_json() -> dict[str, Any]:
    """WebUI's default settings."""
    return json.loads((GOLDENS / "options.json").read_text(encoding="utf-8"))["webui_default"]
