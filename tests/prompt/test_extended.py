"""The extended dialect: tags that hold for a while, and WebUI's meaning for all else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import Prompt, Tag, parse, schedule
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.timelines import tag_timelines

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


def timelines(prompt: Prompt, steps: int) -> dict[Tag, tuple[float, ...]]:
    """The multipliers that change over the steps."""
    return tag_timelines(ScheduledPrompt(prompt, steps))


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
    """Wherever a tag stands, what is left is read as if it were not there."""
    extended, plain = parse(text, dialect="extended"), parse(text)
    assert extended.tags == plain.tags
    assert extended.parts == plain.parts
    assert texts(extended) == texts(plain)


@pytest.mark.parametrize(
    "text",
    [
        "[AND<hypernet:a>cat",
        "[a:b:0<hypernet:a>.5]",
        "[a:b:<hypernet:a>0.5]",
        "[a:b:0.5<hypernet:a>]",
        "[\\<hypernet:a>[b:c:2]]",
        "[BR<hypernet:a>EAK|b]",
    ],
)
def test_a_tag_splits_nothing(text: str) -> None:
    extended, plain = parse(text, dialect="extended"), parse(text)
    assert extended.parts == plain.parts and len(plain.parts) == 1
    assert texts(extended) == texts(plain)


def test_a_tag_at_a_number_or_around_a_comment_holds_as_it_is() -> None:
    for text in ("[a:b:0<hypernet:ink:1>.5]", "[a:b:<hypernet:ink:1>2]", "[<hypernet:ink:1>"):
        assert timelines(parse(text, dialect="extended"), 4) == {}
    assert holding("[<hypernet:a# note\n>:2]") == [[], [], ["a\n"], ["a\n"]]
    (tag,) = parse("[<hypernet:a# note\n>:2]", dialect="extended").tags
    assert timelines(parse("[<hypernet:a# note\n>:2]", dialect="extended"), 4) == {
        tag: (0.0, 0.0, 0.0, 1.0, 1.0)
    }


@given(st.text(st.sampled_from("ab ()[]:|0.5\\"), max_size=12), st.text("ab, ", max_size=6))
def test_a_tag_outside_of_square_brackets_means_what_it_always_did(before: str, after: str) -> None:
    text = f"<hypernet:ink:1>{before}" if "[" in before else f"{before}<hypernet:ink:1>{after}"
    extended, plain = parse(text, dialect="extended"), parse(text)
    assert extended.parts == plain.parts
    assert extended.diagnostics == plain.diagnostics
    assert timelines(extended, 4) == {}


def values(text: str, steps: int = 4) -> list[float]:
    (found,) = timelines(parse(text, dialect="extended"), steps).values()
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
        assert timelines(parse(text, dialect="extended"), 4) == {}
    assert timelines(parse("[<hypernet:ink:1>:2]"), 4) == {}
