"""What is told of a text while it is written, and what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.language import PromptSyntax, Vocabulary, code_actions, diagnose, hover
from promptengine.prompt import DIALECTS, Span, parse


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    models: Path = tmp_path_factory.mktemp("language") / "models"
    for name in ("hypernetworks/ink.pt", "wildcards/pet.txt"):
        path = models / name
        path.parent.mkdir(parents=True)
        path.write_text("cat\ndog\n", "utf-8")
    (models / "hypernetworks" / "ink.txt").write_text("Lines.\nAnd more.", "utf-8")
    return Vocabulary.open(models)


def test_without_folders_it_is_what_parsing_tells() -> None:
    text = "a (cat [dog:cat] <hypernt:ink:1>"
    assert diagnose(text) == parse(text).diagnostics != ()


def test_networks_are_looked_up(words: Vocabulary) -> None:
    assert diagnose("<hypernet:ink:1>", vocabulary=words) == ()
    (found,) = diagnose("<hypernet:imk:1>", vocabulary=words)
    assert "unknown hypernetwork 'imk'" in found.message


def test_a_templates_marks_are_no_odd_brackets(words: Vocabulary) -> None:
    template = PromptSyntax(dynamic=True)
    assert diagnose("a {red|0.5::blue} __pet__ ${v=1}${v}", template, words) == ()
    assert diagnose("a {red|blue}", vocabulary=words) != ()
    (found,) = diagnose("a {red|(blue} __pet__", template, words)
    assert found.message.startswith("'('")
    (found,) = diagnose("__pat__", template, words)
    assert "unknown wildcard 'pat'" in found.message
    (found,) = diagnose("{a|<hypernet:imk:1>}", template, words)
    assert "imk" in found.message


def test_code_actions_are_the_remedies_at_a_place(words: Vocabulary) -> None:
    text = "(a, <hypernet:imk:1>"
    (action,) = code_actions(text, Span(6, 6), vocabulary=words)
    assert action.title == "Use 'ink'"
    remedy = action.remedy
    mended = text[: remedy.span.start] + remedy.text + text[remedy.span.end :]
    assert mended == "(a, <hypernet:ink:1>"
    assert len(code_actions(text, Span(0, len(text)), vocabulary=words)) == 2
    assert code_actions("a cat", Span(0, 5)) == ()


@pytest.mark.parametrize(
    ("marked", "told"),
    [
        ("a ^cat", None),
        ("a (c^at:1.3)", "weight 1.3"),
        ("a ^(cat:1.3)", "weight 1.3"),
        ("a (cat^:1.3)", "weight 1.3"),
        ("[a:(b^:2):0.5]", "'a' up to step 10 of 20, '(b:2)' from then on; this is the latter\nweight 2"),
        ("[a:b:0.5^]", "'a' up to step 10 of 20, 'b' from then on"),
        ("[^a::5]", "'a' up to step 5 of 20, nothing from then on; this is the former"),
        ("[a|^b]", "2 texts in turn, one a step, every 2 steps: this one at step 2 first"),
        ("a BR^EAK b", "BREAK begins a new chunk of 75 tokens"),
        ("a # b^c", "a comment, left out of the prompt"),
        ("<hypernet:i^nk:0.5>", "hypernetwork 'ink', multiplier 0.5\nfile ink.pt\nLines."),
        ("<nothing:i^nk:0.5>", "a tag of kind 'nothing', which does nothing here"),
    ],
)  # fmt: skip
def test_hovering_tells_what_a_place_does(words: Vocabulary, marked: str, told: str | None) -> None:
    before, _, behind = marked.partition("^")
    found = hover(before + behind, len(before), words)
    assert (found and found.text) == told


def test_hovering_over_templates_and_curves(words: Vocabulary) -> None:
    template = PromptSyntax(dynamic=True)
    found = hover("a {b|c} __pet__", 3, words, template)
    assert found is not None
    assert found.text == "1 of 2 options, drawn for each image"
    found = hover("a {b|c} __pet__", 10, words, template)
    assert found is not None
    assert found.text == "one of 2 lines of the wildcard 'pet'"
    found = hover("<hypernet:ink:0@0,1@0.5>", 3, words, PromptSyntax("extended"))
    assert found is not None
    assert "multiplier 0 to 1 over the steps" in found.text


@given(
    st.text('<hypernet:ink_{}()[]#AB, .1\n🐱$"|\\', max_size=40),
    st.sampled_from(list(DIALECTS)),
    st.booleans(),
    st.booleans(),
)
def test_every_text_is_told_of(
    words: Vocabulary, text: str, dialect: str, negative: bool, dynamic: bool
) -> None:
    syntax = PromptSyntax(dialect, negative, True, dynamic)
    for one in diagnose(text, syntax, words):
        assert one.span is None or 0 <= one.span.start <= one.span.end <= len(text)
    for offset in range(0, len(text) + 1, 3):
        found = hover(text, offset, words, syntax)
        assert found is None or (found.lines and found.span.end <= len(text))
    for action in code_actions(text, Span(0, len(text)), syntax, words):
        assert 0 <= action.remedy.span.start <= action.remedy.span.end <= len(text)
