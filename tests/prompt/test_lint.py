"""What a prompt's author is told, and where."""

from __future__ import annotations

import pytest

from promptengine.prompt import Diagnostic, parse
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.quoting import MOST


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
        "# a note\na cat",
        "a cat\n#\nb",
        "C++ code, R18+, ^__^, snake__case__name, a - b, 50/50, x.blend, a {",
        "2girls, 1:1, 16:9 ratio, 10:30 pm",
        "a girl (blue hair:1.2), [[detailed]]",
    ],
)
def test_well_written_prompts_are_left_alone(text: str) -> None:
    assert parse(text).diagnostics == ()


@pytest.mark.parametrize(
    "text, place, said",
    [
        ("a.swap(b)", ".swap(", "compel's function"),
        ("(a b)1.3, c", ")1.3", "compel's weight"),
        ("a cat::2 dog", "::2", "Midjourney's weight"),
        ("a {fox}", "{fox}", "NovelAI's emphasis"),
        ("a {[b|c:0.5]|d} e", "{[b|c:0.5]|d}", "Dynamic Prompts' choice"),
        ("［cat］ b", "［cat］", "full-width bracket"),
        ("a (cat：1.2)", "：1", "full-width colon"),
        ("<wildcard:animals> a", "<wildcard:animals>", "no known kind"),
        ("[a:b:0,5] c", "[a:b:0,5]", "no schedule"),
        ("<lora:x:1:1:2:9> b", "<lora:x:1:1:2:9>", "'9' means nothing in a LoRA tag"),
    ],
)
def test_other_languages_are_named(text: str, place: str, said: str) -> None:
    found = [d for d in parse(text).diagnostics if said in d.message]
    (diagnostic,) = found
    assert diagnostic.span is not None
    assert text[diagnostic.span.start : diagnostic.span.end] == place
    assert diagnostic.hint


@pytest.mark.parametrize("text", ["a {b|c} [d:e:2]", "[a:{b|c}:0.5]", "{a|b}"])
def test_no_hint_advises_an_alternation_for_choices_in_braces(text: str) -> None:
    assert not any("[a|b]" in d.hint for d in parse(text).diagnostics)


def test_tags_in_a_negative_prompt_are_not_looked_into() -> None:
    (diagnostic,) = parse("a <lora:x__y__z:0.5> b", negative=True).diagnostics
    assert "tags count in the positive prompt only" in diagnostic.message


def test_many_of_a_sort_are_counted() -> None:
    diagnostics = parse("(" * 1000).diagnostics
    assert len(diagnostics) == 21
    assert diagnostics[-1].message == "and 980 more of this sort"
    assert diagnostics[-1].span is not None
    assert diagnostics[-1].span.start == 20


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a (big cat:-1.2), dog", ["big cat"]),
        ("[(a: -1):b:3] c AND d (e:-.5) :0.5", ["a", "e"]),
        ("((a:-1) b:2)", ["a"]),
        ("((a:-1) b:-2)", [" b"]),
        ("(a:1.2) BREAK (b BREAK c:1.2), 5:-3, (d:-0)", []),
    ],
)
def test_words_of_negative_weight_are_told_apart_from_breaks(text: str, places: list[str]) -> None:
    found = list(negative_weights(parse(text)))
    assert [text[one.span.start : one.span.end] for one in found if one.span] == places
    for one in found:
        assert one.severity == "info" and "negative_weights" in one.hint


def test_words_of_negative_weight_are_told_of_where_webuis_rule_weighs_them() -> None:
    (told,) = negative_weights(parse("a -1::big cat::, (b:-1)", dialect="novelai"))
    assert "'big cat' has a negative weight" in told.message
    for dialect in ("compel", "comfyui", "swarmui"):
        assert not list(negative_weights(parse("(a:-1), b (c)-1", dialect=dialect)))


def test_many_words_of_negative_weight_are_counted() -> None:
    assert len(list(negative_weights(parse("(a:-1) b " * (MOST + 5))))) == MOST + 1
