"""Mends of what diagnostics tell of: each is the obvious one, and after it nothing is left to tell."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from promptengine.prompt import Diagnostic, Remedy, parse


def mended(text: str, remedy: Remedy) -> str:
    return text[: remedy.span.start] + remedy.text + text[remedy.span.end :]


def moved(place: int, remedy: Remedy) -> int:
    """Where a place of the source is after a change."""
    if place <= remedy.span.start:
        return place
    change = len(remedy.text) - (remedy.span.end - remedy.span.start)
    return remedy.span.start if place < remedy.span.end else place + change


@pytest.mark.parametrize(
    "text, after, label",
    [
        ("a (b", "a (b)", "close it with )"),
        ("a (b, c", "a (b), c", "close it with )"),
        ("a (b:1.2, c", "a (b:1.2), c", "close it with )"),
        ("a (b c\nd", "a (b c)\nd", "close it with )"),
        ("[a (b] c", "[a (b)] c", "close it with )"),
        ("((a:1.2), b", "((a:1.2)), b", "close it with )"),
        ("(open <lora:x:1> ", "(open) <lora:x:1> ", "close it with )"),
        ("(open # note", "(open) # note", "close it with )"),
        ("a (b AND c", "a (b) AND c", "close it with )"),
        ("((a, b", "((a, b))", "close it with ))"),
        ("a [b", "a [b]", "close it with ]"),
        ("a :( b", "a :(b) b", None),
        ("a :(, b", "a :\\(, b", "write \\("),
        ("a b)", "a b\\)", "write \\)"),
        ("x [a:b] y", "x [a:b:0.5] y", "change at half of the steps"),
        ("[a:b:0,5] c", "[a:b:0.5] c", "write 0.5"),
        ("(a:1,2)", "(a:1.2)", "write 1.2"),
        ("[a:b:1] c\\", "[a:b:1] c", "take it out"),
        ("ratio 3:2", "ratio 3:2,", "keep it as text"),
        ("a cat, apple:.9", "a cat, (apple:.9)", "write (apple:.9)"),
        ("a red apple:1.3, b", "(a red apple:1.3), b", "write (a red apple:1.3)"),
        ("<Hypernet:x> y", "<hypernet:x> y", "use 'hypernet'"),
        ("<loar:x:0.5> y", "<lora:x:0.5> y", "use 'lora'"),
        ("<embed:x-1> y", "x-1 y", "write x-1"),
        ("a <hypernet:x y", "a <hypernet:x> y", "close it with >"),
        ("a <lora:x:0.8, y", "a <lora:x:0.8>, y", "close it with >"),
        ("< lora :x:1> y", "<lora:x:1> y", "take the blanks out"),
        ("<lora:x:1:1:2:9> b", "<lora:x:1:1:2> b", "leave '9' out"),
        ("<hypernet:x:1:1> b", "<hypernet:x:1> b", "leave '1' out"),
        ("a {fox}", "a (fox:1.05)", "weight it by 1.05"),
        ("{{fox}} a", "(fox:1.103) a", "weight it by 1.103"),
        ("1.3::cat:: a", "(cat:1.3) a", "weight it by 1.3"),
        ("(a b)1.3, c", "(a b:1.3), c", "weight it by 1.3"),
        ("(a b)++ c", "(a b:1.21) c", "weight it by 1.21"),
        ("cat++ c", "(cat:1.21) c", "weight it by 1.21"),
        ("embedding:foo a", "foo a", "leave 'embedding:' out"),
        ("［cat］ b", "[cat] b", "write [cat]"),
        ("a (cat：1.2)", "a (cat:1.2)", "write :1"),
        ("a #ff0000 b", "a ff0000 b", "take the # out"),
    ],
)
def test_the_obvious_mend(text: str, after: str, label: str | None) -> None:
    found = [one.remedy for one in parse(text).diagnostics if one.remedy]
    if label is None:
        assert found
        return
    assert (after, label) in [(mended(text, one), one.label) for one in found]


@pytest.mark.parametrize(
    "text", ["[a:b:c:3]", "a | b", "{a|b}", "a __animals__", "(a:b)", "(a BREAK b:1.2)", "a)1.3 b"]
)
def test_where_no_mend_is_the_obvious_one_there_is_none(text: str) -> None:
    labels = [one.remedy.label for one in parse(text).diagnostics if one.remedy]
    assert not [label for label in labels if not label.startswith("write \\")]


def test_a_tag_in_the_negative_prompt_is_taken_out() -> None:
    (diagnostic,) = parse("a <lora:x:1> b", negative=True).diagnostics
    assert diagnostic.remedy is not None
    assert mended("a <lora:x:1> b", diagnostic.remedy) == "a b"


def test_no_mend_replaces_what_was_taken_out_of_the_text() -> None:
    for text in (
        "{fo<lora:x>x}",
        "<lor # note\na:x>",
        "embed<lora:x>ding:y",
        "<hypernet:y<lora:x>z>",
    ):
        for diagnostic in parse(text).diagnostics:
            if diagnostic.remedy is not None:
                span = diagnostic.remedy.span
                assert not {"lora", "#"} & set(
                    text[span.start : span.end].replace(":", "<").split("<")
                )


PIECES = (
    *(
        "cat",
        "a red fox",
        "1.2",
        "0,5",
        "12",
        " ",
        ", ",
        "\n",
        ":",
        "::",
        "|",
        "\\",
        "BREAK",
        " AND ",
        "--ar",
    ),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "((",
        "))",
        "(cat:1.2)",
        "(cat:1,2)",
        "[a:b]",
        "[a:b:0,5]",
        "[a|b]",
    ),
    *(
        "<lora:x:1>",
        "<loar:x>",
        "<lora:",
        "< lora :x>",
        "<hypernet:x:1:2:3>",
        "<embed:y>",
        "<lora",
        ">",
    ),
    *(
        "# note",
        "#fff",
        "embedding:z",
        "1.3::",
        "cat++",
        ")+",
        ")1.3",
        "（狐）",
        "：1",
        "🦊",
        "__x__",
        "AND_X",
    ),
)


def is_told(
    diagnostic: Diagnostic, before: tuple[Diagnostic, ...], after: tuple[Diagnostic, ...]
) -> bool:
    """Whether a diagnostic is still there; another one of the same words may have moved to its place."""
    assert diagnostic.span is not None
    assert diagnostic.remedy is not None
    place = moved(diagnostic.span.start, diagnostic.remedy)
    alike = [one for one in after if one.message == diagnostic.message]
    return any(one.span and one.span.start == place for one in alike) and len(alike) >= sum(
        one.message == diagnostic.message for one in before
    )


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("dialect", ["webui", "extended"])
def test_what_is_mended_is_no_longer_told(dialect: str, negative: bool) -> None:
    rng = random.Random(f"{dialect} {negative}")
    mends: Counter[str] = Counter()
    for _ in range(2500):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 9)))
        before = parse(text, dialect=dialect, negative=negative).diagnostics
        for diagnostic in before:
            if (remedy := diagnostic.remedy) is None:
                continue
            assert 0 <= remedy.span.start <= remedy.span.end <= len(text)
            mends[remedy.label] += 1
            after = mended(text, remedy)
            assert after != text, (text, remedy)
            again = parse(after, dialect=dialect, negative=negative).diagnostics
            assert not is_told(diagnostic, before, again), (text, after, diagnostic)
    assert len(mends) > (10 if negative else 20)


@pytest.mark.parametrize(
    "unit",
    ["(", "[", ")", "a:.5, ", "{a} ", "(a)+ ", "<x:y> ", "<lora:x:1:1:1:1:9> ", "a++ ", "[a:b] "],
)
def test_mends_of_very_many_take_no_longer(unit: str) -> None:
    text = unit * (40_000 // len(unit))
    parse(unit)
    start = time.perf_counter()
    diagnostics = parse(text).diagnostics
    assert time.perf_counter() - start < 3
    assert len(diagnostics) <= 100


def test_mends_of_one_tag_with_very_many_arguments() -> None:
    start = time.perf_counter()
    parse(f"<hypernet:ink:1{':x' * 20_000}>")
    assert time.perf_counter() - start < 2
