"""How long the registry takes on 10,000 files: ``python -m tests.bench.bench_scan``.

Prints medians in milliseconds beside the time of a fixed loop, by which machines can be compared.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from promptengine.registry.registry import Kind, Registry
from tests.bench.timing import calibration, timed

_FILES = 10_000
_FOLDERS = 100
_RUNS = 7
_OLD_NS = 1_600_000_000_000_000_000
_WORDS = ("ink", "water", "oil", "neon", "noir", "pastel", "gothic", "anime", "photo", "clay")


def _median_ms(work: Callable[[], object], repeat: int = 1) -> float:
    def repeated() -> None:
        for _ in range(repeat):
            work()

    return median(timed(repeated, _RUNS)) * 1000 / repeat


def _lora(alias: str) -> bytes:
    header = ('{"__metadata__":{"ss_output_name":"' + alias + '"}}').encode()
    return len(header).to_bytes(8, "little") + header


def _populate(models: Path) -> None:
    for number in range(_FILES):
        word, other = _WORDS[number % 10], _WORDS[number // 10 % 10]
        name = f"{word}-{other}-{number:05d}"
        folder = f"folder-{number % _FOLDERS:02d}"
        for kind, suffix, content in (
            ("hypernetworks", ".pt", b"x"),
            ("Lora", ".safetensors", _lora(f"alias {number}")),
        ):
            path = models / kind / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _age(models: Path) -> None:
    for path in [models, *models.rglob("*")]:
        if path.is_dir():
            os.utime(path, ns=(_OLD_NS, _OLD_NS))


def _report(label: str, milliseconds: float) -> None:
    print(f"{label:<58}{milliseconds:>12.4f} ms")


def main() -> None:
    """Create the files, measure and print."""
    _report("calibration: 100,000 turns of a plain loop", calibration())
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        _populate(models)
        hypernets: dict[Kind, Path] = {"hypernet": models / "hypernetworks"}
        registry = Registry.open(hypernets)
        _report(
            "miss, folders changed a moment ago", _median_ms(lambda: registry.find("hypernet", "?"))
        )
        _age(models)
        _report(f"scan of {_FILES} hypernetworks", _median_ms(lambda: Registry.open(hypernets)))
        registry = Registry.open(models)
        name = registry.entries("hypernet")[5000].name
        _report("find, a hit", _median_ms(lambda: registry.find("hypernet", name), 1000))
        _report("find, a repeated miss", _median_ms(lambda: registry.find("hypernet", "?"), 100))
        start = time.perf_counter()
        registry.near("hypernet", name + "x")
        _report("near, first (once: builds the index)", (time.perf_counter() - start) * 1000)
        for label, wanted in (
            ("near, one letter wrong", name + "x"),
            ("near, 100,000 characters", name * 6000),
        ):
            _report(label, _median_ms(lambda wanted=wanted: registry.near("hypernet", wanted)))
        start = time.perf_counter()
        registry.find("lora", "alias 77")
        _report(
            f"find by alias, first (once: {_FILES} headers)", (time.perf_counter() - start) * 1000
        )
        _report("find by alias, later", _median_ms(lambda: registry.find("lora", "alias 77"), 100))


if __name__ == "__main__":
    main()
