"""The places of a prompt that an editor marks."""

from __future__ import annotations

import pytest

from promptengine.language.marks import marks_of
from promptengine.prompt import parse
from promptengine.prompt.scheduled import ScheduledPrompt


def marked(source: str, steps: int = 20) -> list[tuple[str, str, float]]:
    prompt = parse(source)
    marks = marks_of(prompt, ScheduledPrompt(prompt, steps).schedules if steps else ())
    return [(one.kind, source[one.span.start : one.span.end], one.weight) for one in marks]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a cat", []),
        ("a (cat:1.3) [dog]", [("weight", "cat", 1.3), ("weight", "dog", 0.9091)]),
        ("# (note)\n((a))", [("weight", "a", 1.21)]),
        ("<hypernet:ink:1> a", [("tag", "<hypernet:ink:1>", 1.0)]),
        ("[a|(b)]", [("alternation", "[a|(b)]", 1.0), ("weight", "b", 1.1)]),
        ("[[a|b]:c:5]", [("schedule", "[[a|b]:c:5]", 1.0), ("alternation", "[a|b]", 1.0)]),
        ("a :2 <lora:x:1> AND b", [("tag", "<lora:x:1>", 1.0), ("and", "AND", 1.0)]),
        ("a BREAK b", [("break", "BREAK", 1.0)]),
        (r"\(a\)", []),
    ],
)
def test_marks_stand_where_the_syntax_does(
    source: str, expected: list[tuple[str, str, float]]
) -> None:
    assert marked(source) == expected


def test_what_a_step_weighs_is_marked_whatever_the_step() -> None:
    assert marked("[(late:1.5):10] x") == [
        ("schedule", "[(late:1.5):10]", 1.0),
        ("weight", "late", 1.5),
    ]


def test_weights_are_left_out_where_the_schedule_is() -> None:
    assert marked("(a:1.5) [b|c]", steps=0) == [("alternation", "[b|c]", 1.0)]
