"""Canonical spacing changes no token, no weight and no step."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.language import PromptSyntax, format_prompt
from promptengine.prompt import DIALECTS, parse, schedule


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a  cat ,dog", "a cat, dog"),
        ("a cat,,dog", "a cat,, dog"),
        ("(a  cat:1.2) ,(dog)  ", "(a cat:1.2), (dog)"),
        ("a\n\n  b  \nc", "a\n\n b\nc"),
        ("<lora:a  b:1>  x", "<lora:a  b:1> x"),
        ("a  # b  ,c\nd ,e", "a # b  ,c\nd, e"),
        ("[a :b :0.5]  ,c", "[a :b :0.5], c"),
        ("hello ! ,you", "hello ! , you"),
        ("1,5 and 2 ,5", "1,5 and 2,5"),
        ("a cat", "a cat"),
    ],
)
def test_spacing_is_canonical(before: str, after: str) -> None:
    assert format_prompt(before) == after
    assert format_prompt(after) == after


def test_a_templates_marks_stay() -> None:
    text = "a  {2$$  ,  $$b|c}  __x__ ,d"
    assert format_prompt(text, PromptSyntax(dynamic=True)) == "a {2$$  ,  $$b|c} __x__ , d"


def test_a_long_text_stays() -> None:
    assert format_prompt("a  b" * 6000) == "a  b" * 6000


_TOKEN = re.compile(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def said(text: str, dialect: str, steps: int = 7) -> list[object]:
    prompt = parse(text, dialect=dialect)
    found: list[object] = [(tag.kind, tag.arguments) for tag in prompt.tags]
    for part in prompt.parts:
        told = schedule(part, steps)
        found += [part.weight, told.mix]
        for segment in told.segments:
            pieces = [(_TOKEN.findall(one.text), one.weight) for one in segment.fragments]
            found.append((segment.until_step, pieces))
    return found


@given(st.text('ab  ,()[]<>:|\\.05{}#+"-\nAND', max_size=50), st.sampled_from(list(DIALECTS)))
def test_the_meaning_is_the_same(text: str, dialect: str) -> None:
    written = format_prompt(text, PromptSyntax(dialect))
    assert said(written, dialect) == said(text, dialect)
    assert "".join(written.split()) == "".join(text.split())
