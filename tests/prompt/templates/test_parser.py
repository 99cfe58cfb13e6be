"""Templates read: what each construct means, that every text is one, and that none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.prompt.templates import parse_template, unparse
from promptengine.prompt.templates.tree import (
    Assignment,
    Choice,
    Comment,
    Literal,
    Variable,
    Wildcard,
    Wrap,
    depth,
)

PIECES = st.sampled_from(
    [
        *("{", "}", "|", "$$", "${a", "${b:", "${c=!", "${d?=", "%{", "__", "(", ")", "#", "\n"),
        *(" ", "a", "<b:", ">", "1", "2-", "0.5::", "~", "!", "@", ",", "=", "...", "é", "\0"),
    ]
)
MARKED = st.lists(PIECES, max_size=40).map("".join)


def only(text: str) -> object:
    (node,) = parse_template(text).nodes
    return node


def texts(choice: object) -> list[str]:
    assert isinstance(choice, Choice)
    return [unparse(option.nodes) for option in choice.options]


@given(st.one_of(MARKED, st.text()))
def test_every_text_is_a_template_and_is_written_as_it_was(text: str) -> None:
    assert unparse(parse_template(text).nodes) == text


@given(MARKED)
def test_what_is_written_reads_the_same_again(text: str) -> None:
    nodes = parse_template(text).nodes
    assert parse_template(unparse(nodes)).nodes == nodes


@given(MARKED)
def test_every_place_lies_in_the_text(text: str) -> None:
    read = parse_template(text)
    for node in read.nodes:
        assert unparse([node]) == text[node.span.start : node.span.end]
    for found in read.diagnostics:
        assert found.span is not None and 0 <= found.span.start <= found.span.end <= len(text)


def test_a_choice_has_options_with_weights() -> None:
    choice = only("{ 0.7::a |b|2:: c}")
    assert texts(choice) == ["a ", "b", " c"]
    assert isinstance(choice, Choice) and [one.weight for one in choice.options] == [0.7, 1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "low", "high", "separator", "method"),
    [
        ("{a|b|c}", 1, 1, ",", ""),
        ("{2$$a|b|c}", 2, 2, ",", ""),
        ("{1-2$$ and $$a|b|c}", 1, 2, " and ", ""),
        ("{2-$$a|b|c}", 2, 3, ",", ""),
        ("{-2$$a|b|c}", 1, 2, ",", ""),
        ("{3-1$$a|b|c}", 1, 3, ",", ""),
        ("{2$$|$$a|b|c}", 2, 2, "|", ""),
        ("{~a|b|c}", 1, 1, ",", "~"),
        ("{@2$$a|b|c}", 2, 2, ",", "@"),
    ],
)
def test_a_choice_says_how_many_and_how(
    text: str, low: int, high: int, separator: str, method: str
) -> None:
    choice = only(text)
    assert isinstance(choice, Choice) and texts(choice) == ["a", "b", "c"]
    assert (choice.low, choice.high) == (low, high)
    assert (choice.separator, choice.method) == (separator, method)


def test_a_wildcard_has_a_name_a_method_and_arguments() -> None:
    wildcard = only("__@clothes/*(season=winter, who={a,b|c})__")
    assert isinstance(wildcard, Wildcard)
    assert (unparse(wildcard.name), wildcard.method) == ("clothes/*", "@")
    told = {one.name: unparse(one.value) for one in wildcard.arguments}
    assert told == {"season": "winter", "who": "{a,b|c}"}


def test_a_wildcards_name_may_hold_variables_and_choices() -> None:
    wildcard = only("__${kind:cat}/{big|small}__")
    assert isinstance(wildcard, Wildcard)
    assert [type(node) for node in wildcard.name] == [Variable, Literal, Choice]


@pytest.mark.parametrize("text", ["a__b", "__a\nb__", "__ __", "____", "{__a}b__", "snake_case_"])
def test_underscores_without_a_name_between_them_are_text(text: str) -> None:
    nodes = parse_template(text).nodes
    assert not any(isinstance(node, Wildcard) for node in nodes)


def test_variables_are_set_and_looked_up() -> None:
    now, once, plain, usual = parse_template("${a=!{x|y}}${b?=z}${a}${b: q}").nodes
    assert isinstance(now, Assignment) and (now.name, now.immediate, now.overwrites) == (
        "a",
        True,
        True,
    )
    assert isinstance(once, Assignment) and (once.name, once.overwrites) == ("b", False)
    assert isinstance(plain, Variable) and plain.default is None
    assert isinstance(usual, Variable) and unparse(usual.default or ()) == "q"


def test_a_wrap_holds_two_texts() -> None:
    wrap = only("%{a photo of ..., {sharp|soft}$$a cat}")
    assert isinstance(wrap, Wrap)
    assert (unparse(wrap.around), unparse(wrap.within)) == ("a photo of ..., {sharp|soft}", "a cat")


def test_a_comment_reaches_to_the_end_of_its_line() -> None:
    comment, rest = parse_template("# {a|\nb").nodes
    assert isinstance(comment, Comment) and unparse([rest]) == "\nb"


@pytest.mark.parametrize(
    "tag", ["<lora:{a|b}:1>", "<hypernet:__x__:${y}>", "<lora:a#b:1>", "<x:|>", "<x:%{a$$b}>"]
)
def test_nothing_inside_a_tag_is_touched(tag: str) -> None:
    assert parse_template(tag).is_plain
    assert texts(only(f"{{{tag}|b}}")) == [tag, "b"]


@pytest.mark.parametrize("text", ["{a|b", "x ${a=b", "${a:", "%{a ... b", "%{a}"])
def test_what_is_never_closed_is_text_and_told(text: str) -> None:
    read = parse_template(text)
    assert read.is_plain
    assert [found.severity for found in read.diagnostics] == ["warning"]
    assert "is text" in read.diagnostics[0].message


@pytest.mark.parametrize(
    "text", ["a}b", "a|b", "cost: $5", "50% off", "$$", "a cat, (b:1.2) [c|d]"]
)
def test_marks_that_are_none_are_plain_text_and_nothing_is_said(text: str) -> None:
    read = parse_template(text)
    assert read.is_plain and read.diagnostics == ()


def test_nesting_has_no_limit_here() -> None:
    text = "{a|" * 5_000 + "b" + "}" * 5_000
    nodes = parse_template(text).nodes
    assert depth(nodes) == 5_001
    assert unparse(nodes) == text


def test_numbers_of_any_length_are_read() -> None:
    choice = only("{" + "9" * 10_000 + "$$" + "9" * 10_000 + "::a|b}")
    assert isinstance(choice, Choice)
    assert choice.low == 1_000_000 and choice.options[0].weight == 1e9


def test_a_thousand_unclosed_braces_need_no_thousand_sentences() -> None:
    assert len(parse_template("{" * 1_000).diagnostics) < 50


def test_only_text_is_a_template() -> None:
    with pytest.raises(RequestError, match="template is 3; it must be text"):
        parse_template(3)  # type: ignore[arg-type]
