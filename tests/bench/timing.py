"""How benchmarks take time: what is compared takes turns, and ratios are those of one round."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

FLOOR = "floor"
"""Name of the action that does nothing but matrix products."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one thing takes as another.

    Attributes:
        value: The median of the rounds' ratios.
        spread: Half the width of their middle half.
    """

    value: float
    spread: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Ratio:
        """Sum up the ratios of some rounds."""
        if len(ratios) < 2:
            return cls(ratios[0], 0.0)
        low, middle, high = quantiles(ratios, n=4)
        return cls(middle, (high - low) / 2)

    def __str__(self) -> str:
        """Write it with its spread."""
        return f"{self.value:.3f} ± {self.spread:.3f}"


@dataclass(frozen=True, slots=True)
class Row:
    """What an action took, beside others of the same rounds.

    Attributes:
        seconds: The median.
        ratio: To the action that all are compared with.
        rate: Thousand million multiply-adds a second; None where their number is not known.
        floor: To the time that its multiply-adds take as plain matrix products; None as above.
        ours: Whether this project decides what it takes: not so for diffusers, nor for the floor.
    """

    seconds: float
    ratio: Ratio
    rate: float | None = None
    floor: Ratio | None = None
    ours: bool = True


Rows = Mapping[str, Row]
"""Actions by what they do."""


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


def compared(
    seconds: Mapping[str, Sequence[float]],
    base: str,
    *,
    work: Mapping[str, int] | None = None,
    theirs: Collection[str] = (),
) -> dict[str, Row]:
    """Sum up the rounds of some actions.

    Args:
        seconds: Of each action in each round.
        base: What all are compared with.
        work: Multiply-adds of actions, :data:`FLOOR` among them; what is not there is not known.
        theirs: Actions that are not this project's, beside the floor.
    """
    known = {name: count for name, count in (work or {}).items() if count}

    def row(name: str, spent: Sequence[float]) -> Row:
        middle, ours = median(spent), name not in (FLOOR, *theirs)
        ratio = Ratio.of([one / other for one, other in zip(spent, seconds[base], strict=True)])
        if name not in known:
            return Row(middle, ratio, ours=ours)
        products = zip(spent, seconds[FLOOR], strict=True)
        share = known[FLOOR] / known[name]
        floor = Ratio.of([one / other * share for one, other in products])
        return Row(middle, ratio, known[name] / middle / 1e9, floor, ours)

    return {name: row(name, spent) for name, spent in seconds.items()}


def print_table(title: str, rows: Rows) -> None:
    """Print what :func:`compared` found."""
    counted = any(row.floor for row in rows.values())
    head = f"{'GMAC/s':>10}{'× floor':>18}" if counted else ""
    print(f"\n{title:<36}{'seconds':>9}{'ratio':>18}{head}", flush=True)
    for name, row in rows.items():
        tail = f"{row.rate:10.1f}{row.floor!s:>18}" if row.floor else ""
        print(f"  {name:<34}{row.seconds:9.3f}{row.ratio!s:>18}{tail}", flush=True)


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
        text = json.dumps(figures, indent=1, ensure_ascii=False, default=asdict)
        path.write_text(text + "\n", encoding="utf-8")
