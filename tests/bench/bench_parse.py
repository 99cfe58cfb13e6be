"""How long reading a prompt takes, and how that grows with its length.

Run as ``python -m tests.bench.bench_parse [--json FILE] [--runs N] [--growth-runs N] [--only READING]``. Two things are
measured:

- By class of the conformance cases, over the whole of reading (``parse``, ``schedule`` of every part, and with it the
  weights of every text): the median over the class of each prompt's median of ``--runs`` runs, in milliseconds. Lark is
  imported and its parsers are built before (their time is given on its own).
- By reading and hostile text (``hostile.py``): the least processor time of ``--growth-runs`` runs at three sizes, and
  the exponent of the power law fitted through these. Readings are every dialect, templates, translation from every
  dialect, and the diagnosis of the language service in every dialect. The exit status is 1 where an exponent is above
  1.1.

A fixed loop in plain Python is timed beside them, so that figures from two machines compare.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from promptengine.language import PromptSyntax, Vocabulary, diagnose
from promptengine.prompt import DIALECTS, parse, schedule
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.templates import parse_template
from promptengine.prompt.translate import translate
from promptengine.registry.registry import Registry
from tests.bench.hostile import ALL, OTHER_PROGRAMS, PROMPTS, TEMPLATES, Hostile
from tests.bench.timing import calibration, timed, write_json

STEPS = 20
SIZES = (1_000, 10_000, 100_000)
SMALLER = (1_000, 4_000, 16_000)
"""For readings that do more with a text than to parse it. Short texts are no measure: what is asked of one twice is worked
out once, up to 4,096 characters."""

MOST = 1.1
"""The largest exponent that is not told as one too many."""


def read(
    prompt: str, steps: int = STEPS, hires_steps: int | None = None, dialect: str = "webui"
) -> None:
    """Read a prompt to the end: tree, segments, weighted fragments."""
    for part in parse(prompt, comments=False, dialect=dialect).parts:
        schedule(part, steps, hires_steps=hires_steps)


def classes(runs: int) -> dict[str, dict[str, float]]:
    """Return, by class, the median and the 95th percentile of a prompt's time in milliseconds."""
    times: dict[str, list[float]] = {}
    own = Path(__file__).parents[1] / "conformance" / "data"
    path = Path(os.environ.get("PROMPTENGINE_CONFORMANCE", own)) / "prompts" / "cases.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        arguments = case["prompt"], case["steps"], case["hires_steps"]
        seconds = median(timed(lambda arguments=arguments: read(*arguments), runs))
        times.setdefault(case["class"], []).append(seconds * 1e3)
    return {
        name: {
            "prompts": len(values),
            "median_ms": median(values),
            "p95_ms": sorted(values)[int(len(values) * 0.95)],
        }
        for name, values in times.items()
    }


@dataclass(frozen=True, slots=True)
class Reading:
    """Something that is done with texts of any length.

    Attributes:
        read: Does it.
        texts: What may take long.
        sizes: How often the marks of these are repeated.
        numbers: What texts begin with, each with another one: what was read once may be remembered.
    """

    read: Callable[[str], object]
    numbers: Iterator[int]
    texts: tuple[Hostile, ...] = tuple(ALL.values())
    sizes: Sequence[int] = SIZES

    def text(self, one: Hostile, size: int) -> str:
        """Write a text that was not read before."""
        return f"{next(self.numbers)} {one.text(size)}"


def readings() -> dict[str, Reading]:
    """Return all that is to take time in proportion: every dialect and templates, translation, and a service's answers."""
    names, numbers = list(DIALECTS.builtins), count()
    prompts = (*PROMPTS, *OTHER_PROGRAMS)
    found = {
        # Two steps: an alternation has a segment for each, whose texts add up.
        name: Reading(partial(read, steps=2, dialect=name), numbers, prompts)
        for name in names
    }
    found["templates"] = Reading(parse_template, numbers, TEMPLATES)
    for source, target in zip(names, [*names[1:], names[0]], strict=True):
        action = partial(translate, source=source, target=target)
        found[f"translate {source} to {target}"] = Reading(action, numbers, sizes=SMALLER)
    for name in names:
        syntax = PromptSyntax(name, dynamic=name == WEBUI)
        action = partial(diagnose, syntax=syntax, vocabulary=Vocabulary(Registry({})))
        found[f"diagnose {name}"] = Reading(action, numbers, sizes=SMALLER)
    return found


def growth(reading: Reading, runs: int) -> dict[str, dict[str, Any]]:
    """Return, by text, the milliseconds at each size and the fitted exponent."""
    reading.read("a")
    return {str(one): fit(one, reading, runs) for one in reading.texts}


def fit(one: Hostile, reading: Reading, runs: int) -> dict[str, Any]:
    """Return the times of one text and their exponent; one that is too large is looked at again."""
    found = _fit(one, reading, runs)
    return found if found["exponent"] <= MOST else _fit(one, reading, 2 * runs + 1)


def _fit(one: Hostile, reading: Reading, runs: int) -> dict[str, Any]:
    times: list[float] = []
    for size in reading.sizes:
        texts = [reading.text(one, size) for _ in range(runs)]
        gc.collect()
        spent = (timed(partial(reading.read, text), 1, time.process_time)[0] for text in texts)
        times.append(min(spent))
    times = [max(seconds, 1e-6) for seconds in times]
    points = [math.log(size) for size in reading.sizes], [math.log(seconds) for seconds in times]
    return {
        "ms": [seconds * 1e3 for seconds in times],
        "exponent": linear_regression(*points).slope,
    }


def main() -> int:
    """Print the figures; returns how many exponents are too large."""
    options = argparse.ArgumentParser(description="Measure how long reading prompts takes.")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options.add_argument("--runs", type=int, default=5, help="runs of each measurement (5)")
    options.add_argument(
        "--growth-runs", type=int, default=3, help="runs at each size (3); 0: no growth"
    )
    options.add_argument(
        "--only", metavar="TEXT", default="", help="measure only the growth of readings named so"
    )
    options.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="of the sizes, such as 0.1"
    )
    chosen = options.parse_args()
    start = time.perf_counter()
    read("<a:b> (a:1.1) [a:b:1] AND c BREAK")
    figures: dict[str, Any] = {
        "calibration_ms": calibration(),
        "build_ms": (time.perf_counter() - start) * 1e3,
        "classes": {} if chosen.only else classes(chosen.runs),
        "growth": {},
    }
    print(f"calibration {figures['calibration_ms']:.2f} ms (100,000 turns of a plain loop)")
    print(f"tables read in {figures['build_ms']:.1f} ms\n")
    print(f"{'class':12}{'prompts':>8}{'median ms':>11}{'p95 ms':>9}")
    for name, row in figures["classes"].items():
        print(f"{name:12}{row['prompts']:8}{row['median_ms']:11.3f}{row['p95_ms']:9.3f}")
    above = 0
    for name, reading in readings().items():
        if chosen.growth_runs and chosen.only in name:
            sizes = tuple(max(10, int(size * chosen.scale)) for size in reading.sizes)
            found = growth(replace(reading, sizes=sizes), chosen.growth_runs)
            figures["growth"][name] = found
            above += show_growth(name, sizes, found)
    # Only now, since the reading of prompts is to be timed in a process without torch.
    from tests.bench.machine import Machine
    from tests.bench.results import Result

    write_json(chosen.json, {"bench_parse": Result(Machine.here(), {}, figures)})
    print(f"\n{above} exponents above {MOST}")
    return above


def show_growth(name: str, sizes: Sequence[int], found: Mapping[str, Mapping[str, Any]]) -> int:
    """Print a reading's three largest exponents, and all that are too large; returns how many these are."""
    ordered = sorted(found, key=lambda text: -found[text]["exponent"])
    above = sum(found[text]["exponent"] > MOST for text in ordered)
    title = f"{name} ({len(found)} texts)"
    print(f"\n{title:44}" + "".join(f"{size:>11,}" for size in sizes) + "  exponent", flush=True)
    for text in ordered[: max(3, above)]:
        row = found[text]
        times = "".join(f"{ms:11.2f}" for ms in row["ms"])
        print(f"  {text:42}{times}{row['exponent']:10.2f}{' !' if row['exponent'] > MOST else ''}")
    return above


if __name__ == "__main__":
    sys.exit(min(main(), 1))
