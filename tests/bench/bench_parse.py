"""How long reading a prompt takes, and how that grows with its length.

Run as ``python -m tests.bench.bench_parse [--json FILE] [--runs N] [--growth-runs N]``. Two things are
measured, both over the whole of reading: ``parse``, ``schedule`` of every part, and with it the
weights of every text.

- By class of the conformance cases: the median over the class of each prompt's median of ``--runs``
  runs, in milliseconds. The tables of the grammars are read before (their time is given on its own).
- By pattern, of prompts and of templates: the median processor time of ``--growth-runs`` runs at 1,000, 10,000 and 100,000
  repetitions, and the exponent of the power law fitted through the three; likewise in the dialects of
  other programs, where the exponents alone are told.

A fixed loop in plain Python is timed beside them, so that figures from two machines compare.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from promptengine.prompt import DIALECTS, parse, schedule
from promptengine.prompt.templates import parse_template
from tests.bench.timing import calibration, timed, write_json

STEPS = 20
SIZES = (1_000, 10_000, 100_000)
PATTERNS = (
    *("(", "[", "[a:", "[a|", "(a:1.1),", "([a", "<a:", "(a"),
    *(")", ": ", ":1", " ", "1", "|", "\\", "#", "AND ", ":1 AND ", "BREAK ", "<a", "<a:b>", "<>"),
    *("[a:b:0.5]", "((a)]"),
)
# As many closers as openers: balanced, to the depth given.
NESTED = (("(", ")"), ("[a:", ":3]"), ("[a|", "]"), ("([a", ")]"))

TEMPLATE_PATTERNS = (
    *(
        "{",
        "}",
        "|",
        "$$",
        "__",
        "__a",
        "(",
        "#",
        "${a",
        "${a=",
        "%{",
        "{1",
        "{1$$",
        "<a:",
        "<a:b>",
    ),
    *("{a|b}", "__a(b=c)__"),
)
TEMPLATES_NESTED = (("{a|", "}"), ("__{", "}__"), ("${a=", "}"), ("${a:", "}"), ("%{a$$", "}"))


FOREIGN = (
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        '"',
        "\\",
        ":",
        "::",
        "1",
        " ",
        ",",
        ".",
        "-",
        "+",
        "a ",
        "<",
        ">",
    ),
    *(
        "(a ",
        "(a)",
        "((a)",
        "(a:1.2)",
        "(a:",
        "a++ ",
        "a+(b",
        "(a)+ ",
        '"a"+ ',
        '"(a ',
        "a- ",
        "1.5::a",
    ),
    *(
        "1.5::a:: ",
        "{a}",
        "{[a}",
        "embedding:",
        "<a:",
        "<alternate:a,",
        "<alternate:a|b>",
        "<fromto[1]:",
    ),
    *(
        "<break>",
        "<a:b>",
        ".blend(",
        '("a").and()',
        ".swap(",
        "a.swap(b) ",
        "a.attend(1",
        "withLora(",
    ),
    *("withLora(a) ", "(a= ", "é", ":1", ")5"),
)
"""Repeated in the dialects of other programs."""
FOREIGN_NESTED = (
    ("(", ")"),
    ("(a ", ":1.2)"),
    ("{", "}"),
    ("1.5::", "::"),
    ("<alternate:a,", ">"),
    ('"(', ')"'),
)


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


def growth(runs: int) -> dict[str, dict[str, Any]]:
    """Return, by pattern, the milliseconds at each size and the fitted exponent."""
    made: dict[str, Callable[[int], str]] = {
        f"{pattern!r}*n": lambda size, pattern=pattern: pattern * size for pattern in PATTERNS
    }
    for opener, closer in NESTED:
        made[f"{opener!r}*n+{closer!r}*n"] = lambda size, pair=(opener, closer): (
            pair[0] * size + pair[1] * size
        )
    made["':'+' '*n"] = lambda size: ":" + " " * size
    made["'(a:'+' '*n"] = lambda size: "(a:" + " " * size
    made["'(a:'+'1'*n"] = lambda size: "(a:" + "1" * size
    made["'[a:b:'+'1'*n"] = lambda size: "[a:b:" + "1" * size
    made["'<a:'*n+'>'"] = lambda size: "<a:" * size + ">"
    return {name: fit(make, runs) for name, make in made.items()} | {
        f"template {opener!r}*n{closer and f'+{closer!r}*n'}": fit(
            lambda size, pair=(opener, closer): pair[0] * size + pair[1] * size,
            runs,
            parse_template,
        )
        for opener, closer in (*((one, "") for one in TEMPLATE_PATTERNS), *TEMPLATES_NESTED)
    }


def fit(
    make: Callable[[int], str],
    runs: int,
    read: Callable[[str], object] = read,
    sizes: Sequence[int] = SIZES,
) -> dict[str, Any]:
    """Return the times of one pattern and its exponent."""
    times: list[float] = []
    for size in sizes:
        prompt = make(size)
        gc.collect()
        times.append(median(timed(lambda prompt=prompt: read(prompt), runs, time.process_time)))
    times = [max(seconds, 1e-6) for seconds in times]
    slope = linear_regression([math.log(n) for n in sizes], [math.log(t) for t in times]).slope
    return {"ms": [value * 1e3 for value in times], "exponent": slope}


def growth_of(
    dialect: str, patterns: Sequence[str], sizes: Sequence[int] = SIZES, runs: int = 3
) -> dict[str, float]:
    """Return the exponents of another program's dialect, by pattern."""
    made: dict[str, Callable[[int], str]] = {
        f"{pattern!r}*n": lambda size, pattern=pattern: pattern * size for pattern in patterns
    }
    for opener, closer in FOREIGN_NESTED:
        made[f"{opener!r}*n+{closer!r}*n"] = lambda size, pair=(opener, closer): (
            pair[0] * size + pair[1] * size
        )
    # Two steps: an alternation has a segment for each, whose texts add up.
    reading = partial(read, steps=2, dialect=dialect)
    reading("a")
    return {name: fit(make, runs, reading, sizes)["exponent"] for name, make in made.items()}


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description="Measure how long reading prompts takes.")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options.add_argument("--runs", type=int, default=5, help="runs of each measurement (5)")
    options.add_argument("--growth-runs", type=int, default=3, help="runs at each size (3)")
    chosen = options.parse_args()
    start = time.perf_counter()
    read("<a:b> (a:1.1) [a:b:1] AND c BREAK")
    build = (time.perf_counter() - start) * 1e3
    foreign = {
        name: growth_of(name, FOREIGN, runs=chosen.growth_runs)
        for name in DIALECTS
        if name not in ("webui", "extended")
    }
    figures = {
        "foreign": foreign,
        "calibration_ms": calibration(),
        "build_ms": build,
        "classes": classes(chosen.runs),
        "growth": growth(chosen.growth_runs),
    }
    write_json(chosen.json, figures)
    print(f"calibration {figures['calibration_ms']:.2f} ms (100,000 turns of a plain loop)")
    print(f"tables read in {build:.1f} ms\n")
    print(f"{'class':12}{'prompts':>8}{'median ms':>11}{'p95 ms':>9}")
    for name, row in figures["classes"].items():
        print(f"{name:12}{row['prompts']:8}{row['median_ms']:11.3f}{row['p95_ms']:9.3f}")
    print(f"\n{'pattern':24}" + "".join(f"{n:>10,}" for n in SIZES) + "  exponent")
    for name, row in figures["growth"].items():
        print(
            f"{name:24}" + "".join(f"{ms:10.2f}" for ms in row["ms"]) + f"{row['exponent']:10.2f}"
        )
    print("\nother programs' dialects: the largest exponent, and its pattern")
    for name, exponents in foreign.items():
        worst = max(exponents, key=exponents.__getitem__)
        print(f"{name:24}{exponents[worst]:10.2f}  {worst}")


if __name__ == "__main__":
    main()
