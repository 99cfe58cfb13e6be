"""How benchmarks take time: medians of several runs, beside a figure of the machine itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


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


def calibration() -> float:
    """Return the milliseconds that a fixed loop takes on this machine."""

    def loop() -> int:
        total = 0
        for number in range(100_000):
            total += number & 7
        return total

    return median(timed(loop, 9)) * 1e3
