"""The dialects of other programs, by the numbers that their documentation gives."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import DIALECTS, Prompt, Segment, parse, schedule
from tests.prompt.counting import lines_run

OTHERS = ("compel", "novelai", "comfyui", "swarmui")
MARKS = st.lists(
    st.sampled_from(
        [
            *("cat", " ", "(", ")", "[", "]", "{", "}", '"', "\\", ":", "::", ",", ".", "|", "||"),
            *("+", "--", "1.2", "2", "-", "=", "<", ">", "<alternate:", "<fromto[0.5]:", "<lora:"),
            *("<break>", "embedding:", "withLora(x, 0.5)", ".blend(1,2)", ".and()", ".swap(", "\n"),
            *("1.5::", ".attend(1.1)", "\ud800", "\x00", "AND", "BREAK", "#", "<segment:x>", "é"),
        ]
    ),
    max_size=24,
).map("".join)


def segments(text: str, dialect: str, steps: int = 4) -> tuple[Segment, ...]:
    (part,) = parse(text, dialect=dialect).parts
    return schedule(part, steps).segments


def weights(text: str, dialect: str) -> list[tuple[str, float]]:
    """What a text without schedules says, with its weights."""
    (segment,) = segments(text, dialect)
    return [(fragment.text, round(fragment.weight, 6)) for fragment in segment.fragments]


def at_calls(text: str, steps: int = 4) -> list[str]:
    """What SwarmUI's prompt says at each call of the denoiser."""
    (part,) = parse(text, dialect="swarmui").parts
    found = schedule(part, steps)
    return [found.at(call).text for call in range(steps)]


def messages(prompt: Prompt) -> str:
    return "\n".join(one.message for one in prompt.diagnostics)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a} [b]", [("a", 1.05), (" ", 1), ("b", 1 / 1.05)]),
        ("{{a}}", [("a", 1.05**2)]),
        ("[[a]]", [("a", 1.05**-2)]),
        ("{[a]}", [("a", 1)]),
        ("1.5::rain, night ::, coat", [("rain, night ", 1.5), (", coat", 1)]),
        ("-1::monochrome::", [("monochrome", -1)]),
        (".5::a::", [("a", 0.5)]),
        ("2::a {b}:: c", [("a ", 2), ("b", 2.1), (" c", 1)]),
        ("{a 2::b} c::", [("a ", 1.05), ("b", 2.1), (" c", 2)]),
        ("0::a 3::b:: c:: d", [("a b c", 0), (" d", 1)]),
        ("{a", [("a", 1.05)]),
        ("a} (b:1.2)", [("a} (b:1.2)", 1)]),
        ("version2:: x", [("version2:: x", 1)]),
    ],
)
def test_novelai_weighs_by_1_05_and_by_numbers(
    text: str, expected: list[tuple[str, float]]
) -> None:
    assert weights(text, "novelai") == [(said, round(weight, 6)) for said, weight in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((a))", [("a", 1.21)]),
        ("(a:1.2)", [("a", 1.2)]),
        ("((a:1.2))", [("a", 1.2)]),
        ("((a):1.2)", [("a", 1.32)]),
        ("(a (b:1.2):1.5)", [("a ", 1.5), ("b", 1.2)]),
        ("(ratio 3:2:1.1)", [("ratio 3:2", 1.1)]),
        (r"\(a\)", [("(a)", 1)]),
        ("[a] {b}", [("[a] {b}", 1)]),
        ("embedding:ink, (embedding:ink:1.2)", [("ink, ", 1), ("ink", 1.2)]),
        ("anembedding:ink", [("anembedding:ink", 1)]),
        ("(a (b) c", [("(a (b) c", 1)]),
        ("(a (b)", [("a (b", 1.1)]),
        ("((((a)))", [("(a", 1.331)]),
        ("a) (b) ((c)", [("a) (b) (", 1), ("c", 1.1)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("(a:\x1d1.2)", [("a", 1.2)]),
        ("a <break> BREAK", [("a <break> BREAK", 1)]),
    ],
)
def test_comfyui_sets_weights_and_multiplies_by_1_1(
    text: str, expected: list[tuple[str, float]]
) -> None:
    assert weights(text, "comfyui") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<alternate:cat, dog>", ["cat", "dog", "cat", "dog"]),
        ("<alternate:cat || dog, red|blue>", ["cat", "dog, red|blue"] * 2),
        ("<alt:a|b|c>", ["a", "b", "c", "a"]),
        ("<fromto[0.5]:cat, dog>", ["cat", "cat", "dog", "dog"]),
        ("<fromto[3]:cat|dog>", ["cat", "cat", "cat", "dog"]),
        ("<fromto[0]:cat|dog>", ["dog"] * 4),
        ("<fromto[0.6]:cat|dog>", ["cat", "cat", "cat", "dog"]),
        ("a <fromto[2]:<alt:b|c>||d>", ["a b", "a c", "a d", "a d"]),
        ("<comment:no>a", ["a"] * 4),
        ("<embed:ink> a", ["ink a"] * 4),
    ],
)
def test_swarmui_changes_words_over_the_steps(text: str, expected: list[str]) -> None:
    assert at_calls(text) == expected


def test_a_segment_begins_where_the_one_before_ends() -> None:
    for dialect, text in (("swarmui", "<fromto[2]:a,b> <alt:c|d>"), ("webui", "[a:b:2] [c|d]")):
        timeline = schedule(parse(text, dialect=dialect).parts[0], 4)
        for first, segment in zip(timeline.first_calls, timeline.segments, strict=True):
            assert timeline.at(first) is segment
            assert first == 0 or timeline.at(first - 1) is not segment


def test_swarmui_has_comfyuis_weights_loras_and_breaks() -> None:
    prompt = parse("(a <alt:b|c>:1.3) <lora:line:0.8:0.3><break> d", dialect="swarmui")
    (part,) = prompt.parts
    first, second, *_ = schedule(part, 2).segments
    assert [(one.text, one.weight) for one in first.fragments] == [
        ("a b", 1.3),
        (" ", 1),
        ("BREAK", -1),
        (" d", 1),
    ]
    assert second.fragments[0].text == "a c"
    # SwarmUI names the backbone's weight first, a tag here the text encoder's.
    assert [(tag.kind, tag.arguments) for tag in prompt.tags] == [("lora", ("line", "0.3", "0.8"))]


def test_what_swarmui_knows_and_this_package_does_not_is_told() -> None:
    said = messages(parse("a <segment:face> b <random:x>", dialect="swarmui"))
    assert "another pass, and is left out" in said
    assert at_calls("a <segment:face> b") == ["a "] * 4
    assert "needs two entries (got 1)" in messages(parse("<fromto[1]:a>", dialect="swarmui"))
    assert "is not closed" in messages(parse("<alternate:a|b", dialect="swarmui"))
    assert "is text in a negative prompt" in messages(
        parse("<lora:x:1>", dialect="swarmui", negative=True)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picking apricots+", [("picking ", 1), ("apricots", 1.1)]),
        ("(picking apricots)--", [("picking apricots", 0.81)]),
        ("(picking apricots+)++", [("picking ", 1.21), ("apricots", 1.331)]),
        ("picking (apricots)1.1", [("picking ", 1), ("apricots", 1.1)]),
        ("(picking (apricots)1.3)1.1", [("picking ", 1.1), ("apricots", 1.43)]),
        ('"flames"- a', [("flames ", 0.9), ("a", 1)]),
        ("flames.attend(0.5)", [("flames", 0.5)]),
        ("a hot-dog", [("a hot-dog", 1)]),
        (r"mountain \(man\)++", [("mountain ", 1), ("(man)", 1.21)]),
        ("a cat.swap(dog) eating", [("a cat eating", 1)]),
        ("a cat.swap(dog)1.5 eating", [("a cat 1.5 eating", 1)]),
        ("(a cat.swap(dog)1.)1.2", [("a cat 1.", 1.2)]),
        ("a (badly formed", [("a (badly formed", 1)]),
        ("hamburger ((bun))", [("hamburger bun", 1)]),
    ],
)
def test_compel_weighs_words(text: str, expected: list[tuple[str, float]]) -> None:
    assert weights(text, "compel") == expected


@pytest.mark.parametrize(
    ("text", "kind", "shares", "arms"),
    [
        ('("a", "b c").blend(0.7, 0.3)', "blend", (0.7, 0.3), ["a", "b c"]),
        ("(a, b).blend()", "blend", (1, 1), ["a", "b"]),
        ('("a", "b").blend(1, -1, no_normalize)', "sum", (1, -1), ["a", "b"]),
        ('("a, x", "b++").and()', "concatenate", (1, 1), ["a, x", "b"]),
        ('("((a", "b").and(2, 1)', "concatenate", (2, 1), ["((a", "b"]),
    ],
)
def test_compel_mixes_texts(
    text: str, kind: str, shares: tuple[float, ...], arms: list[str]
) -> None:
    for negative in (False, True):
        (part,) = parse(text, dialect="compel", negative=negative).parts
        assert part.mix is not None
        assert (part.mix.kind, part.mix.weights) == (kind, shares)
        (segment,) = schedule(part, 1).segments
        assert ["".join(one.text for one in arm) for arm in segment.arms] == arms


def test_what_compel_refuses_is_text_and_told() -> None:
    for text, said in (
        ('("a", "b").blend(0.7)', "mixes nothing and is text"),
        ("(a cat, b).and()", "mixes nothing and is text"),
        ('("a", "b").blend(1, -1)', "add up to 0"),
        ("a (b", "weighs nothing and is text"),
        ("a.swap(b)", "nothing is swapped"),
    ):
        assert said in messages(parse(text, dialect="compel"))


def test_compels_loras_are_tags() -> None:
    prompt = parse("a cat withLora(my-line, 0.8) useLora(other)", dialect="compel")
    assert [tag.arguments for tag in prompt.tags] == [("my-line", "0.8"), ("other", "1")]
    assert weights(prompt.source, "compel") == [("a cat", 1)]


@given(MARKS, st.sampled_from(OTHERS), st.booleans())
def test_every_text_is_a_prompt(text: str, dialect: str, negative: bool) -> None:
    prompt = parse(text, dialect=dialect, negative=negative)
    assert (prompt.source, prompt.dialect, len(prompt.parts)) == (text, dialect, 1)
    for one in prompt.diagnostics:
        assert one.span is None or 0 <= one.span.start <= one.span.end <= len(text)
    for segment in schedule(prompt.parts[0], 3).segments:
        assert segment.fragments
        for fragment in segment.fragments:
            assert not math.isnan(fragment.weight)
            assert 0 <= fragment.span.start <= fragment.span.end <= len(text)


@given(st.text("abc ,", max_size=20), st.sampled_from(OTHERS))
def test_words_are_words_everywhere(text: str, dialect: str) -> None:
    (segment,) = segments(text, dialect)
    assert (
        "".join(one.text for one in segment.fragments).split()
        == (text.replace(",", ", ") if dialect == "compel" else text).replace(", ,", ",  ,").split()
    )
    assert {one.weight for one in segment.fragments} == {1}


def test_thirty_brackets_of_compel_take_little() -> None:
    """compel itself needs minutes. Python runs some ten lines in a microsecond."""

    def work(count: int) -> int:
        return lines_run(lambda: schedule(parse("(" * count, dialect="compel").parts[0], 1))

    work(1)
    assert work(30) < 6_000
    # Each further bracket costs as much as the one before.
    assert work(60) - work(30) == 2 * (work(45) - work(30))


def test_every_dialect_says_what_its_weights_do() -> None:
    assert all(dialect.weights.name for dialect in DIALECTS.values())


@pytest.mark.parametrize("number", ["nan", "inf", "1_0", "9" * 400, "\u0663"])
def test_what_mixes_texts_is_a_number(number: str) -> None:
    prompt = parse(f'("a", "b").blend({number}, 1)', dialect="compel")
    assert prompt.parts[0].mix is None
    assert "must be numbers" in str(prompt.diagnostics)
