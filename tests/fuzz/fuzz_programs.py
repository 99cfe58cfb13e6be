"""Mutated notes of other programs through their readers: no untyped exception, no second of CPU time.

Run as ``python -m tests.fuzz.fuzz_programs [--count N] [--seed N] [--first N]``. The notes of
:mod:`tests.infotext.programs.samples` are changed as documents (values of other types, links elsewhere,
parts taken out, doubled or swapped with another program's) or as texts. What is read of them becomes
remarks, an infotext, and a recipe. Prints what failed, the slowest and the counts; the exit status is 1
where anything failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from promptengine.errors import PromptEngineError
from promptengine.generation.from_infotext import apply_recipe
from promptengine.images.png_chunks import ImageTexts
from promptengine.images.read import describe_text, describe_texts
from promptengine.infotext.read import read_infotext
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.registry.registry import Registry
from tests.infotext.programs.samples import SAMPLES

__all__ = ["check", "main", "mutant"]

MOST_SECONDS = 1.0
_FORMS = [texts for forms in SAMPLES.values() for texts in forms]
_LEAVES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**64, 10**50, 0.5, -0.0, 1e308, float("nan")),
    *(float("inf"), "", "None", "a", "1", "1e9", "٣", "\ud800", "\0", "a:b>", "x" * 300, "[" * 50),
    *("<lora:a:1>", "(a:1.2", "a\nSteps: 1", "..\\..\\a.pt", "nan", "-0", "1,2", "{}"),
    *(
        [],
        {},
        [[]],
        [1, 2],
        ["3", 0],
        ["6", 1],
        ["nobody", 0],
        [3, True],
        {"class_type": "KSampler"},
    ),
)
_MARKS = (*'{}[]",:\\\n\0 -', "Steps: ", "Seed: ", "Civitai resources: [", "1e999", "\\ud800", "é")


def mutant(number: int, seed: int = 0) -> Mapping[str, str]:
    """Return the notes of a number, always the same."""
    random = Random(f"{seed} {number}")
    texts = dict(random.choice(_FORMS))
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        keyword = random.choice(list(texts))
        try:
            document = json.loads(texts[keyword])
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, (dict, list)) and random.random() < 0.8:
            texts[keyword] = json.dumps(_changed(document, random))
        else:
            texts[keyword] = _cut(texts[keyword], random)
        if random.random() < 0.1:
            texts[random.choice((*texts, "parameters", "Comment", "prompt"))] = texts.pop(keyword)
        if random.random() < 0.05:
            texts |= random.choice(_FORMS)
    return texts


def _changed(document: Any, random: Random) -> Any:
    """Change one place of a document, at any depth."""
    if not isinstance(document, (dict, list)) or not document or random.random() < 0.15:
        return random.choice(_LEAVES)
    copy = dict(document) if isinstance(document, dict) else list(document)
    keys = list(copy) if isinstance(copy, dict) else range(len(copy))
    key = random.choice(keys)
    match random.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, dict):
            copy[random.choice(("", "a b", "lora_1", "LoRA 1", "inputs", "\ud800"))] = copy[key]
        case 1 | 2 if isinstance(copy, list):
            copy += copy[: random.randrange(40)]
        case 2:
            copy[key] = copy[random.choice(keys)]
        case _:
            copy[key] = _changed(copy[key], random)
    return copy


def _cut(text: str, random: Random) -> str:
    start = random.randrange(len(text) + 1)
    end = start + random.choice((0, 1, 5, 50))
    return text[:start] + random.choice(_MARKS) * random.choice((0, 1, 1, 30)) + text[end:]


def check(texts: Mapping[str, str], registry: Registry) -> str:
    """Read notes and all that is made of them; returns what went wrong, or nothing."""
    start = time.process_time()
    try:
        found = (
            describe_text(texts[""]) if "" in texts else describe_texts(ImageTexts("PNG", texts))
        )
        if any("\n" in one.message for one in found.remarks):
            return "a remark of several lines"
        if found.infotext is not None:
            read_infotext(str(found.infotext))
            apply_recipe(recipe_from_infotext(found.infotext, registry), registry=registry)
    except PromptEngineError as failure:
        if "\n" in str(failure) or len(str(failure)) > 1000:
            return f"bad message {str(failure)[:300]!r}"
    except Exception:  # noqa: BLE001 - what it is, is what is looked for
        return traceback.format_exc(limit=-4)[-1200:]
    seconds = time.process_time() - start
    return f"{seconds:.2f} s of CPU time" if seconds > MOST_SECONDS else ""


def main() -> int:
    """Run what the command line asks for; 1 where anything failed."""
    parser = argparse.ArgumentParser(description="Reads mutated notes of other programs.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    failed, slowest = 0, (0.0, 0)
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.open(Path(folder))
        for number in range(options.first, options.first + options.count):
            texts = mutant(number, options.seed)
            start = time.process_time()
            fault = check(texts, registry)
            slowest = max(slowest, (time.process_time() - start, number))
            if fault:
                failed += 1
                print(f"{number}: {fault}", flush=True)
    print(f"{options.count} notes, {failed} faults, at most {slowest[0]:.2f} s ({slowest[1]})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
