"""The extended dialect: tags that hold for a while, and WebUI's meaning for all else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.plan import tag_timelines
from promptengine.syntax import Prompt, parse, schedule

PIECES = st.sampled_from(
    [
        "cat",
        " ",
        "[",
        "]",
        "(",
        ")",
        ":",
        "|",
        "0.5",
        "3",
        "\\",
        "AND",
        "BREAK",
        ",",
        "#x\n",
        "\ufdd0",
        "<hypernet:ink:1>",
        "<lora:a:0.5>",
        "<x:y>",
        "<",
        ">",
        "\n",
    ]
)
PROMPTS = st.lists(PIECES, max_size=14).map("".join)


def holding(text: str, steps: int = 4) -> list[list[str]]:
    """At each step the names of the tags in brackets that hold."""
    (part,) = parse(text, dialect="extended").parts
    found = schedule(part, steps)
    return [[tag.arguments[0] for tag in found.at(call).tags] for call in range(1, steps + 1)]


def texts(prompt: Prompt) -> list[list[str]]:
    return [[segment.text for segment in schedule(part, 6).segments] for part in prompt.parts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[<hypernet:a:1>:<hypernet:b:1>:0.5] cat", ["a", "a", "b", "b"]),
        ("[cat<hypernet:a>:2]", ["", "", "a", "a"]),
        ("[<hypernet:a>::2]", ["a", "a", "", ""]),
        ("[x<hypernet:a>|<hypernet:b> y]", ["a", "b", "a", "b"]),
        ("[<hypernet:a> red]", ["a", "a", "a", "a"]),
        ("([[<hypernet:a>:b:2]|c]:1.2)", ["a", "", "", ""]),
        ("\\[<hypernet:a>:b:2]", ["", "", "", ""]),
    ],
)
def test_a_tag_holds_where_its_text_would(text: str, expected: list[str]) -> None:
    assert ["".join(names) for names in holding(text)] == expected


@given(PROMPTS)
def test_texts_are_those_of_webui(text: str) -> None:
    """Tags without a number's or a word's place taken by them leave the rest as it is."""
    extended, plain = parse(text, dialect="extended"), parse(text)
    assert extended.tags == plain.tags
    assert [part.weight for part in extended.parts] == [part.weight for part in plain.parts]
    if "<" not in text:
        assert extended.parts == plain.parts
        assert texts(extended) == texts(plain)
        assert extended.diagnostics == plain.diagnostics
    for segment_texts in texts(extended):
        assert not any("\ufdd0" in one for one in segment_texts) or "\ufdd0" in text


@given(st.text(st.sampled_from("ab ()[]:|0.5\\"), max_size=12), st.text("ab, ", max_size=6))
def test_a_tag_outside_of_square_brackets_means_what_it_always_did(before: str, after: str) -> None:
    text = f"<hypernet:ink:1>{before}" if "[" in before else f"{before}<hypernet:ink:1>{after}"
    extended, plain = parse(text, dialect="extended"), parse(text)
    assert extended.parts == plain.parts
    assert extended.diagnostics == plain.diagnostics
    assert tag_timelines(extended, 4) == {}


def values(text: str, steps: int = 4) -> list[float]:
    (found,) = tag_timelines(parse(text, dialect="extended"), steps).values()
    return [round(value, 4) for value in found]


def test_multipliers_move_evenly_between_their_points() -> None:
    assert values("<hypernet:ink:0@0,1@0.5>") == [0, 0.5, 1, 1, 1]
    assert values("<hypernet:ink:1@2, 0@3>") == [1, 1, 1, 0, 0]
    assert values("<hypernet:ink:0.5@0.25,-1@1.0>") == [0.5, 0.5, 0, -0.5, -1]
    assert values("[<hypernet:ink:0@0,1@4>::2] cat") == [0, 0.25, 0.5, 0, 0]
    assert values("<hypernet:ink:0@0,1@0.5>", steps=1) == [0, 1]


def test_what_never_changes_is_no_timeline() -> None:
    for text in (
        "<hypernet:ink:1@0>",
        "<hypernet:ink:1@0,1@3>",
        "[<hypernet:ink:1>]",
        "<hypernet:ink>",
    ):
        assert tag_timelines(parse(text, dialect="extended"), 4) == {}
    assert tag_timelines(parse("[<hypernet:ink:1>:2]"), 4) == {}


def test_a_text_with_every_free_character_is_read_all_the_same() -> None:
    free = "".join(map(chr, range(0xFDD0, 0xFDF0)))
    (part,) = parse(f"{free}[<hypernet:ink:1>:2]", dialect="extended").parts
    assert [len(segment.tags) for segment in schedule(part, 4).segments] == [0, 1]
    assert part.text == f"{free}[:2]"
