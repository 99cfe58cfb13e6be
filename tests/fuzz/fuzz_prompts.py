"""Mutated prompts through everything that reads prompts: no untyped exception, no second of CPU time.

Run as ``python -m tests.fuzz.fuzz_prompts [--count N] [--seed N] [--processes N] [--first CHUNK]``.
Prompts are grown from the grammar's pieces and then mutated. They come in chunks of a thousand, each
with a random generator of its own, so that ``--first`` and ``--count 1000`` repeat one chunk alone.
Every prompt is read in every dialect and as a template, and translated between two dialects; what costs more is done with every twentieth. Each reading of a
prompt is timed by itself, by the process's CPU time. Prints what failed, the slowest reading and the
counts; the exit status is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from promptengine.cli.render import show_prompt, show_timelines
from promptengine.errors import PromptEngineError, RequestError
from promptengine.infotext.read import infotext_with_prompts, read_infotext
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.infotext.webui import webui_fields
from promptengine.infotext.write import write_infotext
from promptengine.language import (
    PromptSyntax,
    Vocabulary,
    code_actions,
    complete,
    diagnose,
    format_prompt,
    hover,
    semantic_tokens,
    weight_down,
    weight_up,
)
from promptengine.language.marks import marks_of
from promptengine.prompt import DIALECTS, Prompt, Span, attention, emphasis, parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.serialize import prompt_document
from promptengine.prompt.templates import Wildcards, parse_template
from promptengine.prompt.timelines import tag_timelines
from promptengine.prompt.translate import unparse
from promptengine.registry.registry import Registry
from promptengine.request.dynamic import expand_template
from promptengine.request.dynamic_fields import DynamicMethod
from promptengine.request.plan import make_plan

MOST_SECONDS = 1.0
CHUNK = 1000
ENTRIES = {"Steps": 20, "Sampler": "Euler a", "Seed": 1, "Version": "v1.7.0"}

WORDS = (
    "cat",
    "a red house",
    "AND",
    "BREAK",
    "NOT",
    "AND_PERP",
    "ADDCOL",
    "ADDROW",
    "ADDBASE",
    "ADDCOMM",
    "1girl",
    "10:30",
    "",
    "é",
)
NUMBERS = (
    "0.5",
    "1",
    "-1",
    "1e3",
    ".5",
    "1.",
    "0",
    "999",
    "1.2.3",
    "nan",
    "inf",
    "٣",
    "1,2",
    "9" * 400,
)
MARKS = (
    *"()[]{}<>|:\\#@,.+-_\"'=$&%*/ \n\t\r\0\x1c\x1d\x1e\x1f\x85\xa0\u2028\u3000\ufeff\ufdd0\ud800",
    *(
        "::",
        "__",
        "--ar",
        "++",
        "（",
        "）",
        "：",
        "$$",
        "embedding:",
        "\\(",
        "\\)",
        "Steps: 5, S",
        "\n#",
    ),
)
FOREIGN_MARKS = (
    *(
        "++",
        "--",
        ".blend(1,2)",
        ".and()",
        ".swap(",
        ".attend(1.1)",
        "withLora(line, 0.5)",
        '"',
        "::",
    ),
    *(
        "1.5::",
        "<alternate:",
        "<fromto[0.5]:",
        "<break>",
        "||",
        "embedding:",
        "<segment:",
        "<random:",
    ),
)
"""Of the dialects of other programs."""
COUNTS = ("2", "1-3", "-2", "1-", "0", "3-1", "10000000000")
"""How many options of a template's choice are picked."""
WILDCARDS = ("animal", "a*", "*", "loop", "none", "animal(x=1)")
KINDS = ("hypernet", "lora", "lyco", "wildcard", "x", "")


def grown(dice: random.Random, depth: int) -> str:
    """A prompt of the grammar."""
    if depth == 0 or dice.random() < 0.25:
        return dice.choice(WORDS)
    inner = [grown(dice, depth - 1) for _ in range(dice.randint(1, 3))]
    number = dice.choice(NUMBERS)
    name = dice.choice(("ink", "line", "none", "a b", "te=0.5"))
    kind = dice.choice(KINDS)
    return dice.choice(
        (
            " ".join(inner),
            ", ".join(inner),
            f"({inner[0]}:{number})",
            f"({inner[0]})",
            f"[{inner[0]}]",
            f"[{':'.join(inner)}:{number}]",
            f"[{'|'.join(inner)}]",
            f"{{{'|'.join(inner)}}}",
            f"{inner[0]} AND {inner[-1]}:{number}",
            f"<{kind}:{name}:{number}>",
            f"<{kind}:{name}:{number}@{dice.choice(NUMBERS)},{number}@0.5>",
            f"[<{kind}:{name}:1>{inner[0]}:{inner[-1]}:{number}]",
            f"{inner[0]} # {inner[-1]}\n",
            f"{inner[0]}:{number}",
            f"({inner[0]}){number}",
            f"{inner[0]}++",
            f'"{inner[0]}"-',
            f'("{inner[0]}", "{inner[-1]}").{dice.choice(("blend", "and"))}({number}, 1)',
            f"{number}::{inner[0]}::",
            f"<alternate:{dice.choice(('||', '|', ',')).join(inner)}>",
            f"<fromto[{number}]:{inner[0]},{inner[-1]}>",
            f"<lora:{name}:{number}:0.5>",
            f"{{{number}::{inner[0]}|{inner[-1]}}}",
            f"{{{dice.choice(COUNTS)}$${dice.choice(('', ', $$', ' and $$'))}{'|'.join(inner)}}}",
            f"{{{dice.choice('@~!')}{'|'.join(inner)}}}",
            f"__{dice.choice(WILDCARDS)}__",
            f"${{x={dice.choice(('', '!'))}{inner[0]}}}",
            f"${{x{dice.choice(('', f':{inner[0]}'))}}}",
        )
    )


def mutated(dice: random.Random, text: str) -> str:
    """A text with a few slips; now and then a piece of it is repeated very often."""
    for _ in range(dice.randint(0, 4)):
        start = dice.randint(0, len(text))
        end = min(len(text), start + dice.randint(0, 8))
        piece = dice.choice(
            (
                "",
                dice.choice(FOREIGN_MARKS),
                dice.choice(MARKS),
                dice.choice(MARKS),
                text[start:end] * 2,
                text[start:end][::-1],
            )
        )
        text = text[:start] + piece + text[end:]
    if dice.random() < 0.003:
        start = dice.randint(0, len(text))
        text = text[:start] + (text[start : start + 6] or "[") * dice.randint(100, 1500)
    return text


@cache
def registry() -> Registry:
    """A folder of networks, whose content no prompt here asks for, and of wildcards, one of which names itself."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-prompts-"))
    values = folder / "wildcards"
    values.mkdir()
    (values / "animal.txt").write_text("cat\n0.3::dog\n{red|blue} ${x:bird}\n")
    (values / "loop.txt").write_text("__loop__ __animal__\n")
    for path in (folder / "hypernetworks" / "ink.pt", folder / "Lora" / "line.pt"):
        path.parent.mkdir()
        path.touch()
    return Registry.open(folder)


@cache
def wildcards() -> Wildcards:
    """Those of the same folder."""
    return registry().wildcards()


def _prompts_of(text: str, dice: random.Random) -> Iterator[str]:
    """Read a text as a template, and make prompts of it by a method."""
    parse_template(text)
    yield "template"
    method = dice.choice(get_args(DynamicMethod))
    with suppress(RequestError):
        expand_template(text, wildcards(), 3, method=method, seed=dice.randint(0, 9))
    yield f"{method} prompts of the template"


def _asked_by_editors(text: str, dice: random.Random) -> Iterator[str]:
    """Ask all that an editor asks about a text."""
    syntax = PromptSyntax(
        dialect=dice.choice(list(DIALECTS.builtins)),
        negative=dice.random() < 0.2,
        dynamic=dice.random() < 0.5,
    )
    start, end = sorted(dice.randint(0, len(text)) for _ in range(2))
    vocabulary = Vocabulary(registry())
    diagnose(text, syntax, vocabulary)
    yield "diagnose"
    code_actions(text, Span(start, end), syntax, vocabulary)
    yield "code actions"
    complete(text, end, vocabulary, syntax, explicit=True)
    yield "complete"
    hover(text, end, vocabulary, syntax)
    yield "hover"
    semantic_tokens(text, syntax)
    yield "tokens"
    format_prompt(text, syntax)
    yield "format"
    for change in weight_up, weight_down:
        edit = change(text, start, end, syntax=syntax)
        assert edit is None or 0 <= edit.start <= edit.end <= len(text)
    yield "weight"


def read(text: str, dice: random.Random) -> Iterator[str]:
    """Read a prompt as everything does that reads prompts; after each reading comes its name."""
    steps, hires_steps = dice.choice((1, 4, 9)), dice.choice((None, None, 7))
    comments = dice.random() < 0.8
    prompts: list[Prompt] = []
    for dialect in DIALECTS.builtins:
        prompts.append(parse(text, dialect=dialect, comments=comments))
        yield f"parse in {dialect}"
    for prompt in prompts:
        assert all(
            0 <= d.span.start <= d.span.end <= len(text) for d in prompt.diagnostics if d.span
        )
    assert prompts[0].parts == prompts[1].parts, "a dialect reads other texts"
    for other in prompts[2:]:
        assert ScheduledPrompt(other, steps, hires_steps).schedules
        yield f"schedule in {other.dialect}"
    source, target = dice.choice(prompts), dice.choice(list(DIALECTS.builtins))
    unparse(source, target)
    yield f"translate from {source.dialect} to {target}"
    yield from _prompts_of(text, dice)
    prompt = dice.choice(prompts)
    scheduled = ScheduledPrompt(prompt, steps, hires_steps)
    json.dumps(prompt_document(scheduled, prompt.diagnostics))
    yield "JSON"
    if prompt.tags:
        nothing = parse("", negative=True)
        make_plan(scheduled, nothing, registry())
        yield "plan"
    if dice.random() < 0.05:
        yield from _read_at_length(text, steps, dice)


def _read_at_length(text: str, steps: int, dice: random.Random) -> Iterator[str]:
    yield from _asked_by_editors(text, dice)
    attention(text)
    yield "attention"
    emphasis(text)
    yield "emphasis"
    parse(text, negative=True)
    yield "parse as a negative prompt"
    prompt = parse(text, dialect="extended")
    scheduled = ScheduledPrompt(prompt, steps)
    timelines = tag_timelines(scheduled)
    yield "timelines"
    marks_of(prompt, scheduled.schedules)
    yield "marks"
    infotext = write_infotext(text, text, {**ENTRIES, "Hires prompt": text})
    assert infotext_with_prompts(infotext, text, text).entries["Hires prompt"] == text
    yield "infotext"
    webui_fields(infotext)
    yield "WebUI's fields"
    recipe_from_infotext(read_infotext(infotext), registry())
    yield "recipe"
    if dice.random() < 0.1:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            show_prompt(scheduled, prompt.diagnostics)
            show_timelines(timelines)
        yield "terminal"
    try:
        recipe_from_infotext(read_infotext(text), registry())
        make_plan(scheduled, parse(""), registry(), policy="strict")
    except PromptEngineError:
        pass
    yield "recipe of the prompt itself"


@dataclass(slots=True)
class Outcome:
    """What became of a chunk: how many prompts, what failed, and the slowest reading with its prompt."""

    count: int = 0
    failures: list[str] = field(default_factory=list[str])
    slowest: tuple[float, str, str] = (0.0, "", "")


def tried(
    chunk: tuple[int, int, int],
    reading: Callable[[str, random.Random], Iterator[str]] = read,
) -> Outcome:
    """Read the prompts of a chunk: the run's seed, the chunk's number and its size."""
    seed, number, size = chunk
    dice = random.Random(f"{seed} {number}")
    outcome = Outcome()
    for _ in range(size):
        text = mutated(dice, grown(dice, dice.randint(0, 3)))
        try:
            slowest = max(_timed(reading(text, dice)), default=(0.0, ""))
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            outcome.failures.append(f"chunk {number}: {text!r}\n{traceback.format_exc()}")
            slowest = (0.0, "")
        seconds, name = slowest
        if seconds > MOST_SECONDS:
            outcome.failures.append(f"chunk {number}: {name} took {seconds:.2f} s: {text!r}")
        outcome.count += 1
        outcome.slowest = max(outcome.slowest, (seconds, name, text))
    return outcome


def _timed(readings: Iterator[str]) -> Iterator[tuple[float, str]]:
    """Yield each reading's seconds of CPU time and its name."""
    start = time.process_time()
    for name in readings:
        yield time.process_time() - start, name
        start = time.process_time()


def main(arguments: list[str] | None = None) -> int:
    """Try the prompts that a command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--first", type=int, default=0, help="number of the first chunk")
    options = parser.parse_args(arguments)
    sizes = [CHUNK] * (options.count // CHUNK) + [options.count % CHUNK] * bool(
        options.count % CHUNK
    )
    chunks = [(options.seed, options.first + n, size) for n, size in enumerate(sizes)]
    total = Outcome()
    with multiprocessing.Pool(options.processes) as pool:
        for outcome in pool.imap_unordered(tried, chunks):
            total.count += outcome.count
            total.failures += outcome.failures
            total.slowest = max(total.slowest, outcome.slowest)
            for failure in outcome.failures:
                print(failure, flush=True)
            if total.count % (50 * CHUNK) == 0:
                print(f"{total.count} prompts, {len(total.failures)} failures", flush=True)
    seconds, name, text = total.slowest
    print(f"slowest: {name}, {seconds:.3f} s: {text[:200]!r} ({len(text)} characters)")
    print(f"{total.count} prompts, {len(total.failures)} failures")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
