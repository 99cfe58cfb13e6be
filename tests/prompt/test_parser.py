"""Stages of parsing: what is taken out, where the rest came from, what is a construct."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.prompt import (
    Alternating,
    Group,
    Node,
    Prompt,
    Scheduled,
    Span,
    Text,
    attention,
    emphasis,
    parse,
    schedule,
)

PIECES = st.sampled_from(
    [
        *"()[]|:\\ <>#.1\n",
        *("a", "猫", "\ud800", "\0", "AND", "BREAK", "<hypernet:x:1>", ":0.5]", ":1.2)"),
        *(" AND ", "(a:0)", "[a:b:3]", "[a|b]", "# c\n", "word"),
    ]
)
MESSY = st.lists(PIECES, max_size=40).map("".join)
PLAIN = st.text(st.characters(exclude_characters="()[]|:\\<>#"), max_size=40).filter(
    lambda text: "BREAK" not in text and "AND" not in text
)


def texts(prompt: Prompt) -> list[str]:
    return [part.text for part in prompt.parts]


def leaves(nodes: tuple[Node, ...]) -> list[Text]:
    found: list[Text] = []
    pending = list(reversed(nodes))
    while pending:
        match pending.pop():
            case Text() as text:
                found.append(text)
            case Group(children):
                pending += reversed(children)
            case Scheduled(before, after):
                pending += reversed(before + after)
            case Alternating(arms):
                pending += reversed([node for arm in arms for node in arm])
    return found


@given(MESSY | st.text(), st.booleans(), st.booleans())
def test_every_string_is_a_prompt_and_spans_are_in_it(
    text: str, comments: bool, negative: bool
) -> None:
    prompt = parse(text, comments=comments, negative=negative)
    spans = [d.span for d in prompt.diagnostics if d.span] + [tag.span for tag in prompt.tags]
    for part in prompt.parts:
        spans.append(part.span)
        spans += [leaf.span for leaf in leaves(part.nodes)]
        for segment in schedule(part, 7).segments:
            assert segment.fragments
            spans += [fragment.span for fragment in segment.fragments]
    assert all(0 <= span.start <= span.end <= len(text) for span in spans)
    assert [d.span.start for d in prompt.diagnostics if d.span] == sorted(
        d.span.start for d in prompt.diagnostics if d.span
    )


@given(MESSY)
def test_leaves_are_the_source_in_its_order(text: str) -> None:
    for part in parse(text, comments=False).parts:
        found = leaves(part.nodes)
        for leaf in found:
            assert text[leaf.span.start : leaf.span.end] == leaf.text
        starts = [leaf.span.start for leaf in found if leaf.text]
        assert starts == sorted(set(starts))


@given(MESSY, st.integers(1, 30), st.none() | st.integers(1, 30), st.booleans())
def test_segments_ascend_to_the_last_step(
    text: str, steps: int, hires_steps: int | None, old: bool
) -> None:
    last = steps if hires_steps is None or old else hires_steps
    for part in parse(text).parts:
        ends = [
            segment.until_step
            for segment in schedule(part, steps, hires_steps=hires_steps, old=old).segments
        ]
        assert ends == sorted(set(ends))
        assert ends[0] >= 1
        assert ends[-1] == last


@given(PLAIN)
def test_text_without_syntax_is_one_fragment(text: str) -> None:
    (part,) = parse(text, comments=False).parts
    ((segment,),) = (schedule(part, 20).segments,)
    (fragment,) = segment.fragments
    assert (fragment.text, fragment.weight) == (text.rstrip(), 1.0)
    assert fragment.span == Span(0, len(text.rstrip()))


@given(st.text(st.sampled_from("ab ()[]"), max_size=40))
def test_fragments_say_the_text_without_its_brackets(text: str) -> None:
    assert all(weight > 0 for weight in (fragment.weight for fragment in attention(text)))
    said = "".join(fragment.text for fragment in attention(text))
    unmatched = said.count(")") + said.count("]")
    assert said.replace(")", "").replace("]", "") == "".join(c for c in text if c in "ab ")
    assert unmatched <= text.count(")") + text.count("]")


@pytest.mark.parametrize(
    "spellings",
    [
        ["(a)", "(a:1.1)", "(a: 1.1 )", "(a", "(a:+1.1)"],
        ["((a))", "((a", "((a)", "(a:1.2100000000000002)"],
        ["a b", "a b", "[](a b:1)", "(a b:1)"],
        ["\\(a\\)", "(\\(a\\):1.0)"],
        ["a BREAK b", "a\nBREAK\n\nb", "a BREAK   b"],
    ],
)
def test_spellings_with_equal_weights(spellings: list[str]) -> None:
    said = {tuple((f.text, f.weight) for f in attention(text)) for text in spellings}
    assert len(said) == 1


@pytest.mark.parametrize(
    "spellings",
    [
        ["[a:b:0.5]", "[a:b:10]", "[a:b: 0.50 ]", "[a:b:1e1]", "[a:b:+.5]"],
        ["[a:3]", "[:a:3]"],
        ["[a:b:99]", "[a:b:20]", "[a:b:1e999]", "[a:b:" + "9" * 400 + "]", "[a:b:1.0]"],
        ["[a:b:0]", "[a:b:-3]", "[a:b:-1e999]", "[a:b:-0.5]"],
        ["[a|b]", "[a|b|a|b]"],
    ],
)
def test_spellings_with_equal_schedules(spellings: list[str]) -> None:
    said = set()
    for text in spellings:
        (part,) = parse(text).parts
        said.add(tuple((s.until_step, s.text) for s in schedule(part, 20).segments))
    assert len(said) == 1


def test_comments_leave_one_newline() -> None:
    prompt = parse("# first\na # second\nb# third")
    assert texts(prompt) == ["\na \nb"]
    assert texts(parse("a # b", comments=False)) == ["a # b"]
    (fragment,) = schedule(prompt.parts[0], 1).segments[0].fragments
    assert fragment.span == Span(7, 20)


def test_comment_that_ends_the_text_keeps_a_newline() -> None:
    assert texts(parse("a # b", negative=True)) == ["a \n"]
    assert texts(parse("#", negative=True)) == ["\n"]


def test_tags_are_taken_out_and_the_rest_knows_its_place() -> None:
    source = "a <lora:x:1>(b<hypernet:y> c:1.2) d"
    prompt = parse(source)
    assert [(tag.kind, tag.arguments) for tag in prompt.tags] == [
        ("lora", ("x", "1")),
        ("hypernet", ("y",)),
    ]
    assert [source[t.span.start : t.span.end] for t in prompt.tags] == [
        "<lora:x:1>",
        "<hypernet:y>",
    ]
    fragments = schedule(prompt.parts[0], 1).segments[0].fragments
    assert [(f.text, f.weight, source[f.span.start : f.span.end]) for f in fragments] == [
        ("a ", 1.0, "a "),
        ("b c", 1.2, "b<hypernet:y> c"),
        (" d", 1.0, " d"),
    ]


def test_scheduled_text_points_at_the_branch_that_holds() -> None:
    source = "x [one:two:1] (y) z"
    first, second = schedule(parse(source).parts[0], 2).segments
    assert [f.text for f in first.fragments] == ["x one ", "y", " z"]
    assert first.fragments[0].span == Span(0, 14)
    assert second.fragments[0].span == Span(0, 14)
    assert source[second.fragments[1].span.start] == "y"


def test_negative_prompts_are_one_part_with_tags_as_words() -> None:
    (part,) = parse("a <lora:x> AND b:2", negative=True).parts
    assert (part.text, part.weight) == ("a <lora:x> AND b:2", 1.0)


def test_and_with_weights() -> None:
    prompt = parse(" a :2 AND b : -.5 AND c:x AND SANDY:1.")
    assert [(part.text, part.weight) for part in prompt.parts] == [
        (" a", 2.0),
        (" b", -0.5),
        (" c:x", 1.0),
        (" SANDY", 1.0),
    ]


def test_literal_brackets_take_their_ancestors_along() -> None:
    (part,) = parse("(x [a:b] [c:d:1]").parts
    assert [s.text for s in schedule(part, 2).segments] == ["(x [a:b] c", "(x [a:b] d"]
    (part,) = parse("[x (a:b:c) y:1]").parts
    assert [s.text for s in schedule(part, 2).segments] == ["[x (a:b:c) y:1]"]


@pytest.mark.parametrize("text", ["[a:b:1] | c", "[a:b:1]\\", "[a:b:1] \\\n c", "(a|b) [c:d:1]"])
def test_raw_text_has_one_step(text: str) -> None:
    (part,) = parse(text).parts
    assert part.nodes == (Text(text, Span(0, len(text))),)
    assert [(s.until_step, s.text) for s in schedule(part, 9).segments] == [(9, text)]


def test_second_pass_counts_on() -> None:
    (part,) = parse("[a:b:25] [c:d:1.5] [e:f:0.5]").parts
    second = schedule(part, 20, hires_steps=10)
    assert [(s.until_step, s.text) for s in second.segments] == [(5, "a c f"), (10, "b d f")]
    old = schedule(part, 20, hires_steps=10, old=True)
    assert [(s.until_step, s.text) for s in old.segments] == [
        (1, "a c e"),
        (10, "a d e"),
        (20, "a d f"),
    ]


def test_at_counts_calls_from_zero() -> None:
    plan = schedule(parse("[a:b:0.5]").parts[0], 8)
    assert [plan.at(call).text for call in range(8)] == ["a"] * 5 + ["b"] * 3


def test_equal_texts_share_their_fragments() -> None:
    segments = schedule(parse("[(a:1.2)|b]").parts[0], 6).segments
    assert len({id(segment.fragments) for segment in segments}) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "opener, closer, depth",
    [
        ("(", ")", 100_000),
        ("[a:", ":3]", 100_000),
        ("[a|", "]", 10_000),
        ("([a", "])", 10_000),
        ("([a", ")]", 10_000),
        ("(a", "", 10_000),
    ],
)
def test_any_depth(opener: str, closer: str, depth: int) -> None:
    prompt = parse(opener * depth + closer * depth)
    (part,) = prompt.parts
    assert schedule(part, 1).segments[0].fragments
    assert emphasis(part.text)
    assert prompt == prompt.__class__(*(getattr(prompt, name) for name in prompt.__slots__))
    assert hash(prompt)
    assert repr(prompt)


def test_import_loads_neither_torch_nor_lark() -> None:
    code = "import promptengine.prompt, sys; print({'torch', 'lark'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
