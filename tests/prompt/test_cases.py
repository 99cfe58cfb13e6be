"""``tests/cases/prompts.jsonl``: every prompt there is read, and told of, as its line says."""

from __future__ import annotations

import pytest

from promptengine.prompt import Diagnostic, Prompt, parse
from tests.cases import lines

LINES = lines("prompts", "prompt")

WEIGHTS = {
    "a cat:0.8\x1f": [0.8],
    "a AND b:0.8\x1c": [1.0, 0.8],
    "a:0.8\x1d AND b": [0.8, 1.0],
    "a red house at 10:30": [30.0],
    "an oak tree --ar 16:9": [9.0],
    "apple:.9, banana:.2": [0.2],
    "a cat AND_PERP a dog :0.5": [0.5],
}
"""Weights of the parts, where they are the point."""

WHOLE = ("warning", "weight of the whole prompt", "comma or a dot")
INFOTEXT = (
    "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
)
TOLD: dict[str, dict[str, tuple[str, str, str]]] = {
    "a cat:0.8\x1f": {":0.8": WHOLE},
    "a AND b:0.8\x1c": {},
    "a:0.8\x1d AND b": {},
    "a #ff0000 dress, trees": {
        "#ff0000 dress, trees": ("info", "'#ff0000 dress, trees' is a", "enable_prompt_comments")
    },
    "character #1, best quality": {
        "#1, best quality": ("info", "'#1, best quality' is a comment", "enable_prompt_comments")
    },
    "[cat:dog]": {"[cat:dog]": ("warning", "text of weight 1/1.1", "[before:after:0.5]")},
    "[artist:somebody_else]": {
        "[artist:somebody_else]": ("warning", "text of weight 1/1.1", "[before:after:0.5]")
    },
    "a red house at 10:30": {":30": WHOLE},
    "an oak tree --ar 16:9": {"--ar": ("info", "Midjourney", "--width"), ":9": WHOLE},
    "apple:.9, banana:.2": {
        ":.9": ("info", "without brackets", "(words:1.2)"),
        ":.2": ("warning", "weight of the whole prompt, 0.2", "(apple:.9)"),
    },
    "<hypernet:x:1:start=5>": {
        "<hypernet:x:1:start=5>": ("warning", "'start=5' means nothing", "name and a multiplier")
    },
    "[<lora:x:0.3>:15]": {
        "<lora:x:0.3>": ("info", "acts at all steps", "extended dialect schedules tags")
    },
    "a {red|green|blue} ball": {"{red|green|blue}": ("warning", "Dynamic Prompts", "grid --x")},
    "a {2$$red|green|blue} ball": {
        "{2$$red|green|blue}": ("warning", "Dynamic Prompts", "grid --x")
    },
    "a girl, __clothing__, __colors/bright__": {
        "__clothing__": ("info", "wildcard", "grid --x"),
        "__colors/bright__": ("info", "wildcard", "grid --x"),
    },
    "1girl, <lora:tama5___Style_v10:0.7>": {},
    "2girls ADDCOMM street ADDCOL blue dress, ADDCOL red dress": {
        "ADDCOMM": ("warning", "Regional Prompter", "whole image"),
        "ADDCOL": ("warning", "Regional Prompter", "whole image"),
    },
    "1girl, {{sparkle}}, [under]": {"{{sparkle}}": ("info", "NovelAI", "(words:1.05)")},
    "1.5::rainy night::, 0.5::cat::": {
        "1.5::": ("warning", "NovelAI", "(words:1.5)"),
        "0.5::": ("warning", "NovelAI", "(words:1.5)"),
    },
    "(a b)+ c, apricots++++": {
        ")+": ("info", "compel", "(words:1.1)"),
        "++++": ("info", "compel", "(words:1.1)"),
    },
    "a cat embedding:EasyNegative, (dog:1.2)": {
        "embedding:EasyNegative": ("warning", "ComfyUI", "the bare name is the word")
    },
    "(red hair:1,2)": {"1,2)": ("warning", "no weight", "write 1.2, with a dot")},
    "（red hair：1.3）, blue eyes": {"（red hair：1.3）": ("info", "full-width", "(words:1.3)")},
    "a cat AND_PERP a dog :0.5": {
        "AND_PERP": ("warning", "extension's keyword and is text", "only AND"),
        ":0.5": WHOLE,
    },
    INFOTEXT: {"Negative prompt: ": ("warning", "infotext", "looks like an infotext")},
    "[AND<hypernet:ink:1>cat": {"[": ("warning", "never closed", "\\[")},
}
"""What is told about each: its place in the prompt; severity, words of the message, of the hint."""


def test_every_line_has_its_check() -> None:
    assert TOLD.keys() == LINES.keys()


def by_place(prompt: Prompt) -> dict[str, Diagnostic]:
    return {
        prompt.source[d.span.start : d.span.end]: d
        for d in prompt.diagnostics
        if d.span is not None
    }


@pytest.mark.parametrize("text", LINES, ids=range(1, len(LINES) + 1))
def test_is_read_and_told_as_its_line_says(text: str) -> None:
    prompt = parse(text)
    if text in WEIGHTS:
        assert [part.weight for part in prompt.parts] == WEIGHTS[text]
    told = by_place(prompt)
    assert told.keys() == TOLD[text].keys()
    for place, (severity, message, hint) in TOLD[text].items():
        found = told[place]
        assert (found.severity, message in found.message, hint in found.hint) == (
            severity,
            True,
            True,
        ), found
        assert "literal" not in found.message
        assert "{" not in text or "[a|b]" not in found.hint


def test_no_dialect_splits_a_word_at_a_tag() -> None:
    text = "[AND<hypernet:ink:1>cat"
    assert [part.text for part in parse(text, dialect="extended").parts] == ["[ANDcat"]
