"""The weight keys: what WebUI's give for words, selections and tags, and no broken prompt where those would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine import RequestError
from promptengine.language import PromptSyntax, TextEdit, weight_down, weight_up
from promptengine.prompt import parse, schedule


def applied(text: str, edit: TextEdit | None) -> str:
    return text if edit is None else text[: edit.start] + edit.text + text[edit.end :]


def keyed(marked: str, *, up: bool = True, dialect: str = "webui") -> str:
    """Press a key where ``^`` stands, or with what is between two of them selected."""
    before, *rest = marked.split("^")
    text = before + "".join(rest)
    start = len(before)
    end = start + (len(rest[0]) if len(rest) == 2 else 0)
    move = weight_up if up else weight_down
    return applied(text, move(text, start, end, syntax=PromptSyntax(dialect=dialect)))


@pytest.mark.parametrize(
    ("marked", "up", "down"),
    [
        ("a cat^", "a (cat:1.1)", "a (cat:0.9)"),
        ("a c^at, dog", "a (cat:1.1), dog", "a (cat:0.9), dog"),
        ("a well-known^ cat", "a (well-known:1.1) cat", "a (well-known:0.9) cat"),
        ("a ^big cat^", "a (big cat:1.1)", "a (big cat:0.9)"),
        ("a ^big ^cat", "a (big:1.1) cat", "a (big:0.9) cat"),
        ("(c^at:1.3)", "(cat:1.4)", "(cat:1.2)"),
        ("(cat:1.1^)", "(cat:1.2)", "cat"),
        ("(cat^:0.9)", "cat", "(cat:0.8)"),
        ("(^big cat^:1.2)", "(big cat:1.3)", "(big cat:1.1)"),
        ("(c^at)", "(cat:1.2)", "cat"),
        ("((c^at))", "(cat:1.3)", "(cat:1.1)"),
        ("[c^at]", "cat", "(cat:0.8)"),
        ("(a (b) c^:1.2)", "(a (b) (c:1.1):1.2)", "(a (b) (c:0.9):1.2)"),
        ("<lora:x^:1>", "<lora:x:1.05>", "<lora:x:0.95>"),
        ("<hypernet:ink:^0.95>", "<hypernet:ink:1.0>", "<hypernet:ink:0.9>"),
        ("<lora:x:0.5:0.7^>", "<lora:x:0.5:0.75>", "<lora:x:0.5:0.65>"),
        ("<lora:x^>", "<lora:x>", "<lora:x>"),
        ("a , ^ b", "a ,  b", "a ,  b"),
    ],
)
def test_words_selections_and_tags_change_as_with_webuis_keys(
    marked: str, up: str, down: str
) -> None:
    assert keyed(marked) == up
    assert keyed(marked, up=False) == down


@pytest.mark.parametrize(
    ("marked", "up"),
    [
        ("[day:night:5^]", "[day:night:6]"),
        ("[day:night:0.5^]", "[day:night:0.6]"),
        ("[day:ni^ght:5]", "[day:(night:1.1):5]"),
        (f"[day:night:{'9' * 400}^]", "[day:night:1000001]"),
        ("[red|bl^ue]", "[red|(blue:1.1)]"),
        ("[a:(b^:1.2):5]", "[a:(b:1.3):5]"),
        (r"cat \(ani^mal\)", r"cat \((animal:1.1)\)"),
        ("<lora:x:0@0,1@0.5^>", "<lora:x:0@0,1@0.5>"),
        ("(^big^ cat:1.2)", "((big:1.1) cat:1.2)"),
    ],
)
def test_what_webuis_keys_would_break_stays_whole(marked: str, up: str) -> None:
    assert keyed(marked) == up


@pytest.mark.parametrize(
    ("dialect", "marked", "up", "weight"),
    [
        ("novelai", "a c^at", "a 1.1::cat::", 1.1),
        ("novelai", "1.2::c^at::", "1.3::cat::", 1.3),
        ("novelai", "{c^at}", "1.15::cat::", 1.15),
        ("compel", "a c^at", "a (cat)1.1", 1.1),
        ("compel", "a (c^at)1.3", "a (cat)1.4", 1.4),
        ("compel", "a (c^at)-", "a cat", 1.0),
        ("comfyui", "a c^at", "a (cat:1.1)", 1.1),
        ("swarmui", "a c^at", "a (cat:1.1)", 1.1),
    ],
)
def test_each_dialect_has_its_own_marks(dialect: str, marked: str, up: str, weight: float) -> None:
    assert keyed(marked, dialect=dialect) == up
    told = schedule(parse(up, dialect=dialect).parts[0], 5).segments[0].fragments
    assert max(one.weight for one in told) == pytest.approx(weight)


def test_the_selection_stays_on_the_words() -> None:
    edit = weight_up("a cat", 2, 5)
    assert edit == TextEdit(2, 5, "(cat:1.1)", (3, 6))
    again = weight_up("a (cat:1.1)", *edit.select)
    assert again is not None
    assert again.select == (3, 6)


def test_the_step_can_be_another_one() -> None:
    assert applied("cat", weight_up("cat", 0, 0, 0.25)) == "(cat:1.25)"
    assert applied("<lora:x:1>", weight_up("<lora:x:1>", 3, 3, 0.2)) == "<lora:x:1.1>"


@pytest.mark.parametrize("wrong", [(-1, 0, 0.1), (0, 9, 0.1), (0, 0, 0.0), (0, 0, float("nan"))])
def test_what_is_out_of_range_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(RequestError):
        weight_up("cat", *wrong)


@given(st.text("ab ,()[]<>:|\\.0123{}\n🐱", max_size=40), st.data())
def test_up_and_down_are_total_and_finite(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    dialect = data.draw(st.sampled_from(["webui", "novelai", "compel", "swarmui"]))
    for move in (weight_up, weight_down):
        edit = move(text, start, end, syntax=PromptSyntax(dialect=dialect))
        after = applied(text, edit)
        if edit is not None:
            assert 0 <= edit.select[0] <= edit.select[1] <= len(after)
            assert "inf" not in edit.text


def test_long_texts_and_deep_brackets_take_no_time() -> None:
    text = "(" * 5000 + "a" + ")" * 5000
    assert applied(text, weight_up(text, 5000, 5000)).endswith(")")
