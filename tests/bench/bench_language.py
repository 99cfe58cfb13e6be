"""How fast the language service answers while somebody types: ``python -m tests.bench.bench_language [--keys N]``.

A text of 2,000 characters is edited key by key: typed, deleted, tags and brackets opened and closed, at its end and
within. After each key all questions of an editor are asked, in turn so that each key costs one diagnosis, one
completion, and one of the others. Prints percentiles of each question's time, and the memory of the process after a
tenth of the keys and at the end: it must not grow.

The floor. Reading 2,000 characters takes what parsing them takes (``bench_parse``); a diagnosis also works out every
step's text, and colors weigh all branches once more. With 300 networks a completion looks each file's state up.
"""

from __future__ import annotations

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import quantiles

import psutil

from promptengine.language import (
    PromptSyntax,
    Vocabulary,
    code_actions,
    complete,
    diagnose,
    format_prompt,
    hover,
    semantic_tokens,
    weight_up,
)
from promptengine.prompt import Span
from tests.bench.timing import calibration, write_json

LENGTH = 2000
GOAL_MS = 20.0
NETWORKS = 300
PIECES = (
    *("a (castle:1.2) on a hill, ", "[day:night:0.5], ", "oil on canvas, ", "((detailed)), "),
    *("<hypernet:ink3:0.8> ", "<lora:style17:1> ", "[red|blue] roses, ", "a cat\n", "# a note\n"),
    *("\\(sic\\), ", "AND a dog :0.7 ", "BREAK ", "long hair, ", "(unclosed, ", "[a:b:, ", "<hyp"),
)
Ask = Callable[[str, int], object]


def keys(seed: int) -> Iterator[tuple[str, int]]:
    """Yield texts with carets, each one key away from the one before, some 2,000 characters long."""
    draw = random.Random(seed)
    text = ""
    while len(text) < LENGTH:
        text += draw.choice(PIECES)
    while True:
        caret = draw.choice((len(text), draw.randrange(len(text))))
        for character in draw.choice(PIECES):
            text = text[:caret] + character + text[caret:]
            caret += 1
            yield text, caret
        for _ in range(max(0, len(text) - LENGTH)):
            caret = max(1, min(caret, len(text)))
            text = text[: caret - 1] + text[caret:]
            caret -= 1
            yield text, caret


def questions(
    words: Vocabulary, syntax: PromptSyntax
) -> tuple[Mapping[str, Ask], Mapping[str, Ask]]:
    """Return what is asked at each key, and what is asked in turn."""
    always: Mapping[str, Ask] = {
        "diagnose": lambda text, _: diagnose(text, syntax, words),
        "complete": lambda text, caret: complete(text, caret, words, syntax),
    }
    in_turn: Mapping[str, Ask] = {
        "tokens": lambda text, _: semantic_tokens(text, syntax),
        "hover": lambda text, caret: hover(text, caret, words, syntax),
        "weight": lambda text, caret: weight_up(text, caret, caret, syntax=syntax),
        "actions": lambda text, caret: code_actions(text, Span(caret, caret), syntax, words),
        "format": lambda text, _: format_prompt(text, syntax),
    }
    return always, in_turn


def replay(
    words: Vocabulary, syntax: PromptSyntax, count: int, seed: int = 1
) -> tuple[dict[str, list[float]], list[int]]:
    """Type some keys; returns the seconds of each answer, and the process's memory at ten times in between."""
    always, in_turn = questions(words, syntax)
    turns = list(in_turn.items())
    seconds: dict[str, list[float]] = {name: [] for name in (*always, *in_turn)}
    memory: list[int] = []
    process = psutil.Process()
    for number, (text, caret) in zip(range(count), keys(seed), strict=False):
        for name, ask in (*always.items(), turns[number % len(turns)]):
            start = time.perf_counter()
            ask(text, caret)
            seconds[name].append(time.perf_counter() - start)
        if (number + 1) % max(1, count // 10) == 0:
            gc.collect()
            memory.append(process.memory_info().rss)
    return seconds, memory


def fill(root: Path, networks: int = NETWORKS) -> Vocabulary:
    """Write empty networks and a list of words, and open them."""
    for number in range(networks):
        folder, name = ("hypernetworks", "ink") if number % 2 else ("Lora", "style")
        path = root / "models" / folder / f"{name}{number}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (root / "tags").mkdir()
    rows = (f"word_{number},0,{number},alias_{number}" for number in range(20_000))
    (root / "tags" / "list.csv").write_text("\n".join(["long_hair,0,9,", *rows]), "utf-8")
    return Vocabulary.open(root / "models")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Time the language service while somebody types.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--keys", type=int, default=50_000, metavar="N")
    parser.add_argument("--dialect", default="webui")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = fill(Path(folder))
        seconds, memory = replay(words, PromptSyntax(given.dialect), given.keys)
    rows: dict[str, dict[str, float]] = {}
    print(f"{given.keys} keys, {LENGTH} characters; a fixed loop takes {calibration():.2f} ms")
    for name, spent in seconds.items():
        cuts = quantiles(spent, n=100)
        late = sum(one * 1e3 > GOAL_MS for one in spent)
        row = {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3, "max": max(spent) * 1e3, "late": late}
        rows[name] = row
        print(
            f"{name:9} p50 {row['p50']:6.2f} ms  p99 {row['p99']:6.2f} ms  max {row['max']:6.2f} ms"
            f"  {late} of {len(spent)} above {GOAL_MS:g} ms"
        )
    grown = memory[-1] - memory[0]
    rows["memory"] = {"MiB": memory[-1] / 2**20, "grown MiB": grown / 2**20}
    print(
        f"memory {memory[0] / 2**20:.1f} MiB after a tenth, {memory[-1] / 2**20:.1f} MiB at the end"
    )
    write_json(given.json, rows)


if __name__ == "__main__":
    main()
