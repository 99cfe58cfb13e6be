"""How fast the language service answers while somebody types: ``python -m tests.bench.bench_language [--keys N]``.

A text of 2,000 characters is edited key by key: typed, deleted, tags and brackets opened and closed, at its end and
within. After each key all questions of an editor are asked, in turn so that each key costs one diagnosis, one
completion, and one of the others. Prints percentiles of each question's time, and those of the processor's time, in
which other programs of the machine have no part; and the memory of the process after a tenth of the keys and at the
end: it must not grow. The exit status is 1 where an answer took the processor longer than the goal.

A text is read once for all that is asked about it: that time counts with the diagnosis, which is asked first.

The floor. Reading 2,000 characters takes what parsing them takes (``bench_parse``); a diagnosis also looks up each
tag's file, and colors weigh all branches once more. A completion looks up whether one of the folders has changed.
"""

from __future__ import annotations

import argparse
import copy
import gc
import random
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    *("word 12, ", "an alias 7, "),
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


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay took.

    Attributes:
        wall: Seconds of each answer, by question; there from the first key on, so as not to grow themselves.
        cpu: The same of the processor's time.
        memory: The process's, in bytes, at ten times in between.
    """

    wall: dict[str, array[float]]
    cpu: dict[str, array[float]]
    memory: list[int] = field(default_factory=list[int])


def replay(words: Vocabulary, syntax: PromptSyntax, count: int, seed: int = 1) -> Replay:
    """Type some keys, and ask."""
    always, in_turn = questions(words, syntax)
    turns = list(in_turn.items())
    answers = dict.fromkeys(always, count)
    answers |= {name: len(range(turn, count, len(turns))) for turn, name in enumerate(in_turn)}
    empty = {name: array("d", bytes(8 * many)) for name, many in answers.items()}
    took = Replay(copy.deepcopy(empty), empty)
    process = psutil.Process()
    for number, (text, caret) in zip(range(count), keys(seed), strict=False):
        for name, ask in (*always.items(), turns[number % len(turns)]):
            place = number if name in always else number // len(turns)
            start, busy = time.perf_counter(), time.process_time()
            ask(text, caret)
            took.cpu[name][place] = time.process_time() - busy
            took.wall[name][place] = time.perf_counter() - start
        if (number + 1) % max(1, count // 10) == 0:
            gc.collect()
            took.memory.append(process.memory_info().rss)
    return took


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


def figures(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles in milliseconds, and how many answers came later than the goal."""
    ordered = sorted(one * 1e3 for one in seconds)
    cuts = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    row = {
        name: ordered[min(int(cut * len(ordered)), len(ordered) - 1)] for name, cut in cuts.items()
    }
    return row | {"late": sum(one > GOAL_MS for one in ordered)}


def main() -> int:
    """Run it; returns 1 where an answer took the processor longer than the goal."""
    parser = argparse.ArgumentParser(description="Time the language service while somebody types.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--keys", type=int, default=50_000, metavar="N")
    parser.add_argument("--dialect", default="webui")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = fill(Path(folder))
        start = time.perf_counter()
        words.warm_up()
        # As services do.
        gc.collect()
        gc.freeze()
        opening = time.perf_counter() - start
        took = replay(words, PromptSyntax(given.dialect), given.keys)
    loop = f"a fixed loop takes {calibration():.2f} ms, {calibration(time.process_time):.2f} ms of the CPU"
    print(f"{given.keys} keys, {LENGTH} characters; {loop}")
    print(f"opened and warmed up in {opening:.2f} s")
    clocks = {"wall": took.wall, "CPU": took.cpu}
    rows = {
        f"{name} {clock}": figures(seconds[name])
        for name in took.wall
        for clock, seconds in clocks.items()
    }
    for name, row in rows.items():
        cuts = "".join(f"  {cut} {row[cut]:6.2f} ms" for cut in ("p50", "p99", "p99.9", "max"))
        print(f"{name:13}{cuts}  {row['late']} above {GOAL_MS:g} ms")
    memory = took.memory
    grown = memory[-1] - memory[0]
    rows["memory"] = {"MiB": memory[-1] / 2**20, "grown MiB": grown / 2**20}
    print(
        f"memory {memory[0] / 2**20:.1f} MiB after a tenth, {memory[-1] / 2**20:.1f} MiB at the end"
    )
    write_json(given.json, rows)
    return int(any(row["late"] for name, row in rows.items() if name.endswith("CPU")))


if __name__ == "__main__":
    sys.exit(main())
