"""How benchmarks take time: medians of several runs, beside a figure of the machine itself."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

Rows = dict[str, dict[str, float]]
"""Figures by what was measured."""


def timed(
    action: Callable[[], object], runs: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the seconds that each of ``runs`` runs took."""
    seconds: list[float] = []
    for _ in range(runs):
        start = clock()
        action()
        seconds.append(clock() - start)
    return seconds


def calibration(clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the milliseconds that a fixed loop takes on this machine."""

    def loop() -> int:
        total = 0
        for number in range(100_000):
            total += number & 7
        return total

    return median(timed(loop, 9, clock)) * 1e3


def interleaved(
    actions: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each action in each round, all actions taking turns.

    Turns keep a machine that grows slower or faster from favoring one of them; what is compared should
    come from one call.

    Args:
        actions: By name.
        rounds: How often each is timed.
        warm: Rounds before that, which do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warm + rounds):
        for name, action in actions.items():
            (spent,) = timed(action, 1)
            if turn >= warm:
                seconds[name].append(spent)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], name: str, base: str) -> tuple[float, float]:
    """Return the median of the rounds' ratios of two actions, and half the width of their middle half."""
    ratios = [one / other for one, other in zip(seconds[name], seconds[base], strict=True)]
    if len(ratios) < 2:
        return ratios[0], 0.0
    low, middle, high = quantiles(ratios, n=4)
    return middle, (high - low) / 2


def compared(seconds: Mapping[str, Sequence[float]], base: str) -> Rows:
    """Return each action's median seconds, its ratio to the action ``base``, and that one's spread."""
    rows: Rows = {}
    for name, spent in seconds.items():
        middle, spread = ratio(seconds, name, base)
        rows[name] = {"seconds": median(spent), "ratio": middle, "spread": spread}
    return rows


def print_table(title: str, rows: Rows) -> None:
    """Print what :func:`compared` found."""
    print(f"\n{title:<36}{'seconds':>9}{'ratio':>8}")
    for name, row in rows.items():
        figures = f"{row['seconds']:9.3f}{row['ratio']:8.3f} ± {row['spread']:.3f}"
        print(f"  {name:<34}{figures}")


def options(*, rounds: int) -> argparse.ArgumentParser:
    """Return the options that all benchmarks of the engine have.

    Args:
        rounds: How often things are timed by default.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def write_json(path: Path | None, figures: Mapping[str, object]) -> None:
    """Write figures to a file, if one is given."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
