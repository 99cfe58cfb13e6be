"""Marks of other programs are named with their remedy in every dialect, and prompts that are fine left alone."""

from __future__ import annotations

import json

import pytest

from promptengine.prompt import DIALECTS, Prompt, parse
from promptengine.prompt.diagnostic_kinds import DIAGNOSTIC_KINDS
from promptengine.prompt.other_syntax import dialect_of
from promptengine.prompt.translate import translate
from tests.conformance.golden import DATA

HINTS = {code for code in DIAGNOSTIC_KINDS if code.endswith("-syntax")} | {"bare-weight"}
MARKS = {
    "webui": ["<lora:x:0.8>", "(cat:1.3)", "((cat))", "[cat:dog:0.5]", "[cat|dog]", "BREAK", "AND"],
    "extended": ["ADDCOL"],
    "compel": ["cat++", "(a cat)1.3", '("cat", "dog").blend(1, 2)', "withLora(x, 0.8)"],
    "novelai": ["{{cat}}", "1.5::cat::"],
    "comfyui": ["embedding:x"],
    "swarmui": ["<alternate:cat, dog>", "<fromto[0.5]:cat, dog>", "<break>"],
}
ALSO_READ = {
    "comfyui": {"(cat:1.3)", "((cat))"},
    "swarmui": {"(cat:1.3)", "((cat))", "<lora:x:0.8>"},
}
FINE = ("docs", "realistic", "unicode", "long")


def hints(prompt: Prompt) -> list[str]:
    return [one.code for one in prompt.diagnostics if one.code in HINTS]


@pytest.mark.parametrize("reading", DIALECTS)
@pytest.mark.parametrize(
    ("spoken", "mark"), [(name, mark) for name, marks in MARKS.items() for mark in marks]
)
def test_marks_of_another_dialect_are_named_with_the_remedy(
    spoken: str, mark: str, reading: str
) -> None:
    text = f"a house, {mark} and more"
    own = spoken == reading or (spoken == "webui" and reading == "extended")
    own |= spoken == "webui" and mark in ALSO_READ.get(reading, ())
    found = [one for one in parse(text, dialect=reading).diagnostics if one.code in HINTS]
    if own or (spoken == "extended" and reading == "extended"):
        assert found == []
        return
    assert {dialect_of(one.code) for one in found} == {spoken}
    for one in found:
        assert one.span is not None
        assert 9 <= one.span.start < one.span.end <= len(text)
        assert f"--dialect {spoken}" in one.hint
        into = "" if reading in ("webui", "extended") else f" --to {reading}"
        assert f"translate --from {spoken}{into} " in one.hint


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", ["a {red|blue} ball", "a __color__ ball"])
def test_templates_are_told_of_their_option(text: str, dialect: str) -> None:
    found = [one for one in parse(text, dialect=dialect).diagnostics if one.code in HINTS]
    assert [one.code for one in found] == ["dynamic-prompts-syntax"]
    assert "--dynamic" in found[0].hint


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("compel", "a (red ball)1.2, a dog--, 16:9"),
        ("novelai", "asuka (evangelion), [ratio 16:9], {{sky}}, 1.2::rain::"),
        ("comfyui", "(sky:1.2), embedding:x, CAT AND DOG, [note]"),
        ("swarmui", "<alternate:a, b>, (sky:1.2), BREAK DANCE"),
    ],
)
def test_own_marks_and_words_are_left_alone(dialect: str, text: str) -> None:
    assert hints(parse(text, dialect=dialect)) == []


def test_a_code_names_its_dialect() -> None:
    assert dialect_of("compel-syntax") == "compel"
    assert dialect_of("midjourney-syntax") is None
    assert dialect_of("compel") is None
    told = {dialect_of(code) for code in HINTS} - {None}
    assert told == DIALECTS.keys()


def prompts() -> list[str]:
    lines = (DATA / "prompts" / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["prompt"] for row in rows if row["class"] in FINE]


@pytest.mark.parametrize("dialect", ["webui", "extended"])
def test_prompts_of_all_sorts_raise_no_false_alarm(dialect: str) -> None:
    texts = prompts()
    assert len(texts) == 1806
    alarms = [text for text in texts if hints(parse(text, dialect=dialect))]
    # Behind "AND freckles:0.5" of the one stands a comma, which makes text of its weight: it is right.
    assert len(alarms) == 1
    assert "AND freckles:0.5\n," in alarms[0]
    assert len(alarms) / len(texts) <= 0.003


@pytest.mark.parametrize("dialect", ["compel", "novelai", "comfyui", "swarmui"])
def test_fine_prompts_written_in_a_dialect_raise_no_false_alarm(dialect: str) -> None:
    fine = [text for text in prompts() if not parse(text).diagnostics]
    assert len(fine) > 1000
    written = [translate(text, "webui", dialect).text for text in fine]
    alarms = [text for text in written if hints(parse(text, dialect=dialect))]
    assert len(alarms) / len(written) <= 0.003, alarms
