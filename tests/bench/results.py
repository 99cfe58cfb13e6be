"""What benchmarks found: shown, kept in a file, and compared with what was found before."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from tests.bench.machine import Machine
from tests.bench.timing import Ratio, Row, Rows, print_table, write_json

__all__ = [
    "Change",
    "Result",
    "Results",
    "changes",
    "differences",
    "missing",
    "print_changes",
    "read",
    "report",
]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found.

    Attributes:
        machine: Where.
        tables: Rows by the tables' titles.
        figures: What has no rounds: kept, and not compared.
    """

    machine: Machine
    tables: Mapping[str, Rows]
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


Results = Mapping[str, Result]
"""By the benchmarks' names; this is what a file of figures holds."""

_FORMAT: TypeAdapter[Results] = TypeAdapter(Results)


def report(
    name: str,
    given: argparse.Namespace,
    tables: Iterable[tuple[str, Rows]],
    *,
    device: str = "cpu",
    afterwards: Callable[[], Mapping[str, float]] = dict[str, float],
) -> None:
    """Print the machine and each table, and write all to the file that the options name.

    Args:
        name: Of the benchmark.
        given: Its options.
        tables: With their titles; measured as they are asked for, when torch has the options' threads.
        device: What models run on.
        afterwards: What else there is to tell once all tables are measured.
    """
    torch.set_num_threads(given.threads)
    machine = Machine.here(device)
    print(machine, flush=True)
    found: dict[str, Rows] = {}
    for title, rows in tables:
        print_table(title, rows)
        found[title] = rows
    figures = afterwards()
    for what, value in figures.items():
        print(f"{what}: {value:.0f}")
    write_json(given.json, {name: Result(machine, found, figures)})


def read(path: Path) -> Results:
    """Read a file of figures.

    Raises:
        ValueError: It cannot be read, or is none.
    """
    try:
        found = _FORMAT.validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        found = {}
        reason = f" ({error.errors()[0]['msg']})"
    else:
        reason = ""
    if not found:
        remedy = "it must be one that a benchmark wrote with --json"
        raise ValueError(f"{path} is no file of figures{reason}; {remedy}")
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """A ratio then and now.

    Attributes:
        place: Benchmark, table and row.
        figure: Which ratio of the row.
        before: In the file.
        now: Measured anew.
    """

    place: str
    figure: str
    before: Ratio
    now: Ratio

    def slower(self, threshold: float) -> bool:
        """Return whether it grew beyond both spreads and a share of what it was."""
        grown = self.now.value - self.before.value
        return grown > self.before.spread + self.now.spread + threshold * self.before.value


def changes(before: Results, now: Results) -> Iterator[Change]:
    """Yield the ratios of this project's rows that both have."""
    was = dict(_rows(before))
    for place, new in _rows(now):
        old = was.get(place)
        if old is None or not new.ours:
            continue
        yield Change(place, "ratio", old.ratio, new.ratio)
        if old.floor and new.floor:
            yield Change(place, "× floor", old.floor, new.floor)


def missing(before: Results, now: Results) -> Sequence[str]:
    """Return the rows of this project that were measured before and now are not."""
    measured = dict(_rows(now))
    return [place for place, row in _rows(before) if row.ours and place not in measured]


def differences(before: Results, now: Results) -> Sequence[str]:
    """Return what is otherwise with the machine, each once: what it was and what it is."""
    found = {
        f"{one.name}: {_text(was)}, now {_text(value)}": None
        for name, result in now.items()
        if name in before
        for one in fields(Machine)
        if (was := getattr(before[name].machine, one.name))
        != (value := getattr(result.machine, one.name))
    }
    return list(found)


def print_changes(found: Sequence[Change], threshold: float) -> None:
    """Print all ratios that moved, and mark those that grew beyond spread and threshold."""
    print(f"\n{'':72}{'before':>15}{'now':>16}")
    for change in found:
        if change.before != change.now:
            moved = f"{change.now.value / change.before.value - 1:+8.1%}"
            mark = "  slower" if change.slower(threshold) else ""
            name = f"{change.place}, {change.figure}"
            print(f"{name:<72}{change.before!s:>15}{change.now!s:>16}{moved}{mark}")


def _rows(results: Results) -> Iterator[tuple[str, Row]]:
    for bench, result in results.items():
        for title, rows in result.tables.items():
            for name, row in rows.items():
                yield f"{bench}: {title}: {name}", row


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
