"""The quick form of all benchmarks, one after another: ``python -m tests.bench``.

Takes some minutes on two cores. Each benchmark's own docstring says what it measures and what the
floor is; without its options here it measures more, and longer.

``--json FILE`` keeps the figures, and the machine. ``--compare FILE`` measures what such a file holds anew and says what
has become slower. What is compared are ratios within one run, to diffusers or what else a table starts from and to the
floor, and not seconds, in which other programs of the machine have a part; a ratio is slower when it grew by more than
both spreads and the ``--threshold`` together. Figures without rounds, such as those of reading prompts, are kept and not
compared. The exit status is 1 where something is slower, nothing can be compared, or a benchmark failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.bench.results import (
    Result,
    Results,
    changes,
    differences,
    missing,
    print_changes,
    read,
)
from tests.bench.timing import write_json

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


def measure(names: Iterable[str]) -> tuple[Results, Sequence[str]]:
    """Run benchmarks; returns what they found, and which failed."""
    found: dict[str, Result] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"\n== {name} {' '.join(QUICK[name])}", flush=True)
            start, file = time.perf_counter(), Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", f"tests.bench.{name}", *QUICK[name]]
            done = subprocess.run([*command, "--json", str(file)], check=False)
            print(f"({time.perf_counter() - start:.0f} s)", flush=True)
            if done.returncode == 0:
                found |= read(file)
            else:
                failed.append(name)
    return found, failed


def regressed(before: Results, now: Results, threshold: float) -> bool:
    """Print how ratios have changed; returns whether some grew beyond spread and threshold, or none are there."""
    found = list(changes(before, now))
    print_changes(found, threshold)
    for place in missing(before, now):
        print(f"{place}: not measured any more")
    for difference in differences(before, now):
        print(f"The machine is another one ({difference}): ratios may have changed with it")
    slower = sum(change.slower(threshold) for change in found)
    print(f"{slower} of {len(found)} ratios slower by more than their spreads and {threshold:.1%}")
    return slower > 0 or not found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; returns 1 where one failed or is slower than it was."""
    parser = argparse.ArgumentParser(description="Run the quick form of all benchmarks.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="of figures from before")
    parser.add_argument(
        "--threshold", type=float, default=5, metavar="PERCENT", help="that a ratio may grow (5)"
    )
    given = parser.parse_args(arguments)
    if not given.threshold >= 0:
        parser.error(f"--threshold must be 0 or more (got {given.threshold:g})")
    if given.json is not None and (given.json.is_dir() or not given.json.parent.is_dir()):
        parser.error(f"--json must name a file in a folder that exists (got {given.json})")
    names: Iterable[str] = QUICK
    before: Results = {}
    if given.compare is not None:
        try:
            before = read(given.compare)
        except ValueError as error:
            parser.error(str(error))
        names = [name for name in QUICK if name in before and before[name].tables]
        if not names:
            parser.error(f"{given.compare} has no figures of {', '.join(QUICK)}")
    found, failed = measure(names)
    write_json(given.json, found)
    slower = given.compare is not None and regressed(before, found, given.threshold / 100)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(slower or bool(failed))


if __name__ == "__main__":
    sys.exit(main())
