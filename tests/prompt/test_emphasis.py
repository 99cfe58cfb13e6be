"""Weights: products of factors, in the reference's order, at any depth; and the tree to draw."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import Break, Emphasis, Span, Text, attention, emphasis

TOKENS = st.lists(
    st.sampled_from(["(", "[", ")", "]", ":1.3)", ":0.7)", ":-2)", ":0)", "a", "b", "\\"]),
    max_size=60,
)


def folded(tokens: list[str]) -> list[tuple[str, float]]:
    """The reference's way, span by span: slow, and plain to see."""
    said: list[list[float | str]] = []
    rounds: list[int] = []
    squares: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for entry in said[start:]:
            entry[1] = float(entry[1]) * factor

    for token in tokens:
        if token in "([":
            (rounds if token == "(" else squares).append(len(said))
        elif token.endswith(")") and rounds:
            multiply(rounds.pop(), 1.1 if token == ")" else float(token[1:-1]))
        elif token == "]" and squares:
            multiply(squares.pop(), 1 / 1.1)
        else:
            said.append([token.removeprefix("\\"), 1.0])
    for start in rounds:
        multiply(start, 1.1)
    for start in squares:
        multiply(start, 1 / 1.1)
    merged: list[tuple[str, float]] = []
    for text, weight in said:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + str(text), float(weight))
        else:
            merged.append((str(text), float(weight)))
    return merged or [("", 1.0)]


def escaped(tokens: list[str]) -> bool:
    """Whether a backslash stands before what it would escape."""
    return any(a == "\\" and b in "()[]\\" for a, b in pairwise(tokens))


@given(TOKENS.filter(lambda tokens: not escaped(tokens)))
def test_weights_equal_the_fold_to_the_last_bit(tokens: list[str]) -> None:
    ours = [(fragment.text, fragment.weight) for fragment in attention("".join(tokens))]
    assert ours == folded(tokens)


@pytest.mark.parametrize("depth", [40, 200, 3000])
def test_deep_weights_stay_within_a_trillionth(depth: int) -> None:
    tokens = []
    for level in range(depth):
        tokens += ["(" if level % 3 else "[", f"w{level} "]
    tokens += [")", ":1.05)", "]", ":0.97)"] * (depth // 4)
    ours = attention("".join(tokens))
    theirs = folded(tokens)
    assert [f.text for f in ours] == [text for text, _ in theirs]
    for fragment, (_, weight) in zip(ours, theirs, strict=True):
        assert math.isclose(fragment.weight, weight, rel_tol=1e-12)


def test_products_leave_the_range_of_floats_and_come_back() -> None:
    (fragment,) = attention("([" * 20_000 + "a")
    assert math.isclose(fragment.weight, 1.0, rel_tol=1e-9)
    assert attention("(" * 20_000 + "a")[0].weight == math.inf
    assert attention("[" * 20_000 + "a")[0].weight == 0


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", [("", 1.0)]),
        ("()", [("", 1.0)]),
        ("(a:1.2.3) b", [("a:1.2.3) b", 1.1)]),
        ("(a:.)", [("a:.)", 1.1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("a)", [("a)", 1.0)]),
        ("a:1.2)", [("a:1.2)", 1.0)]),
        ("(a:٣)", [("a", 3.0)]),
        ("(a:0) b", [("a", 0.0), (" b", 1.0)]),
        ("(a)\\", [("a", 1.1), ("", 1.0)]),
        ("(BREAK:2)", [("", 2.0), ("BREAK", -2.0), ("", 2.0)]),
        ("a BREAK BREAK b", [("a", 1.0), ("BREAK", -1), ("", 1.0), ("BREAK", -1), ("b", 1.0)]),
        ("xBREAK BREAKS _BREAK", [("xBREAK BREAKS _BREAK", 1.0)]),
    ],
)
def test_examples(text: str, expected: list[tuple[str, float]]) -> None:
    assert [(fragment.text, fragment.weight) for fragment in attention(text)] == expected


def test_tree_nests_as_the_brackets_do() -> None:
    assert emphasis("(a [b]:1.2)BREAK") == (
        Emphasis(
            (
                Text("a ", Span(1, 3)),
                Emphasis((Text("b", Span(4, 5)),), 1 / 1.1, Span(3, 6)),
            ),
            1.2,
            Span(0, 11),
        ),
        Text("", Span(11, 11)),
        Break(Span(11, 16)),
        Text("", Span(16, 16)),
    )


def test_unclosed_brackets_reach_to_the_end() -> None:
    (outer,) = emphasis("(a (b")
    assert isinstance(outer, Emphasis)
    assert (outer.factor, outer.span) == (1.1, Span(0, 5))


def test_crossing_brackets_are_drawn_piece_by_piece() -> None:
    assert emphasis("([a:1.5)b]") == (
        Emphasis((Text("a", Span(2, 3)),), 1.5 * (1 / 1.1), Span(2, 3)),
        Emphasis((Text("b", Span(8, 9)),), 1 / 1.1, Span(8, 9)),
    )
