"""The quick form of all benchmarks, one after another: ``python -m tests.bench``.

Takes up to five minutes on two cores. Each benchmark's own docstring says what it measures and what the
floor is; without its options here it measures more, and longer. ``--json DIR`` keeps the figures as files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

QUICK: Mapping[str, Sequence[str]] = {
    "bench_parse": ("--runs", "2", "--growth-runs", "0"),
    "bench_unet": (
        *("--sizes", "256", "--dtypes", "bfloat16", "--rounds", "3"),
        *("--counts", "0", "1", "3"),
    ),
    "bench_run": ("--models", "starter", "--steps", "10", "--rounds", "3"),
    "bench_batch": ("--steps", "5", "--rounds", "3"),
    "bench_cache": ("--models", "starter", "--steps", "9", "--rounds", "3"),
    "bench_switch": ("--rounds", "30"),
    "bench_startup": ("--rounds", "2"),
}


def main() -> int:
    """Run all; returns how many failed."""
    options = argparse.ArgumentParser(description="Run the quick form of all benchmarks.")
    options.add_argument("--json", type=Path, metavar="DIR", help="for the figures, a file of each")
    folder: Path | None = options.parse_args().json
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, arguments in QUICK.items():
        own = list(arguments)
        if folder is not None:
            own += ["--json", str(folder / f"{name.removeprefix('bench_')}.json")]
        print(f"\n== {name} {' '.join(arguments)}", flush=True)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *own], check=False)
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
