"""What a prompt's author is told, and where."""

from __future__ import annotations

import pytest

from promptengine.syntax import Diagnostic, parse


def only(text: str, *, negative: bool = False) -> Diagnostic:
    (diagnostic,) = parse(text, negative=negative).diagnostics
    return diagnostic


@pytest.mark.parametrize(
    "text, place, severity, message, hint",
    [
        ("a (b", "(", "warning", "never closed", "\\("),
        ("a [b", "[", "warning", "never closed", "\\["),
        ("a b)", ")", "warning", "no opening bracket", "\\)"),
        (
            "x [a:b] y",
            "[a:b]",
            "warning",
            "no schedule, because it does not end",
            "[before:after:0.5]",
        ),
        ("[a:b:c:3]", "[a:b:c:3]", "warning", "two texts", "\\:"),
        ("[a|b:3]", "[a|b:3]", "warning", "mixes : and |", "[a|b]"),
        ("(a:1.2.3)", "1.2.3)", "warning", "stays open", "1.2"),
        ("(a:1,2)", "1,2)", "warning", "no weight", "1.2"),
        ("(a:b)", "b)", "info", "no weight", "\\:"),
        ("a | b", "|", "info", "literal", "[a|b]"),
        ("[a:b:1] | b", "|", "warning", "all schedules of this part", "[a|b]"),
        ("[a:b:1] c\\", "\\", "warning", "end of a line", "take it out"),
        ("<Hypernet:x> y", "<Hypernet:x>", "warning", "no known kind", "did you mean 'hypernet'?"),
        ("<loar:x> y", "<loar:x>", "warning", "no known kind", "did you mean 'lora'?"),
        ("<photograph:x> y", "<photograph:x>", "warning", "no known", "hypernet, lora, lyco"),
        ("<hypernet:> y", "<hypernet:>", "warning", "is no tag", "<kind:name>"),
        ("<hypernet> y", "<hypernet>", "warning", "is no tag", "<kind:name>"),
        ("<hyper net:x> y", "<hyper net:x>", "warning", "is no tag", "one word"),
        ("a <hypernet:x y", "<hypernet:x y", "warning", "is no tag", "<kind:name>"),
        ("ratio 3:2", ":2", "warning", "weight of the whole prompt, 2", "comma"),
        ("(a BREAK b:1.2)", "BREAK", "info", "no new chunk", "close the brackets"),
    ],
)
def test_says_what_and_where(text: str, place: str, severity: str, message: str, hint: str) -> None:
    found = [d for d in parse(text).diagnostics if message in d.message]
    (diagnostic,) = found
    assert diagnostic.severity == severity
    assert diagnostic.span is not None
    assert text[diagnostic.span.start : diagnostic.span.end] == place
    assert diagnostic.span.column == text.index(place) + 1
    assert hint in diagnostic.hint
    assert parse(text).diagnostics == (diagnostic,)


def test_tag_in_the_negative_prompt() -> None:
    diagnostic = only("a <lora:x:1> b", negative=True)
    assert "read as words" in diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.span.column == 3


def test_places_count_in_the_source_behind_tags_and_comments() -> None:
    text = "# note\n<lora:x:1> a (b"
    diagnostic = only(text)
    assert diagnostic.span is not None
    assert diagnostic.span.start == text.index("(")


@pytest.mark.parametrize(
    "text",
    [
        "a photo, (b:1.2), [c], ((d)), [e:f:0.5], [g|h], (i:1.1) BREAK j AND k :0.5",
        "<hypernet:ink:0.8>, <lora:x> <3 :D",
        "artist \\(style\\), 5:30 pm, not <a tag>",
        "(a BREAK b:1)",
        "",
    ],
)
def test_well_written_prompts_are_left_alone(text: str) -> None:
    assert parse(text).diagnostics == ()


def test_many_of_a_sort_are_counted() -> None:
    diagnostics = parse("(" * 1000).diagnostics
    assert len(diagnostics) == 21
    assert diagnostics[-1].message == "and 980 more of this sort"
    assert diagnostics[-1].span is not None
    assert diagnostics[-1].span.start == 20
