"""Regions of prompts: how keywords divide a text, and what belongs to which region."""

from __future__ import annotations

import time

import pytest

from promptengine import parse
from promptengine.prompt import Part, Prompt, Regions, schedule
from promptengine.prompt.regions import region_at


def read(text: str) -> Prompt:
    return parse(text, dialect="extended")


def regions(text: str) -> Regions:
    (part,) = read(text).parts
    assert part.regions is not None
    return part.regions


def said(part: Part, step: int = 1) -> str:
    """What a part says at a step, counted from 1."""
    return schedule(part, 10).at(step).text


@pytest.mark.parametrize(
    ("text", "base", "texts", "separators"),
    [
        ("a cat ADDCOL a dog", None, ["a cat", "a dog"], ["ADDCOL"]),
        ("a ADDROW b ADDCOL c", None, ["a", "b", "c"], ["ADDROW", "ADDCOL"]),
        ("q ADDCOMM a ADDCOL b", None, ["q, a", "q, b"], ["ADDCOL"]),
        ("q ADDCOMM x ADDBASE a", "q, x", ["q, a"], []),
        ("x ADDBASE a\nADDROW\nb", "x", ["a", "b"], ["ADDROW"]),
        ("q ADDCOMM ADDCOL b", None, ["q", "q, b"], ["ADDCOL"]),
        ("ADDCOMM a", None, ["a"], []),
        ("ADDCOL", None, ["", ""], ["ADDCOL"]),
        ("(q:1.2) ADDCOMM (a) BREAK b", None, ["(q:1.2), (a) BREAK b"], []),
    ],
)
def test_keywords_divide(
    text: str, base: str | None, texts: list[str], separators: list[str]
) -> None:
    found = regions(text)
    assert [said(one) for one in found.texts] == texts
    assert [one.text for one in found.texts] == texts
    assert (None if found.base is None else said(found.base)) == base
    assert list(found.separators) == separators
    assert found.count == len(texts)
    assert not read(text).diagnostics


@pytest.mark.parametrize("text", ["ADDCOLS a", "SADDCOL", "addcol", "a ADD COL b", "ADDROW_"])
def test_other_words_are_text(text: str) -> None:
    assert read(text).parts[0].regions is None


def test_places_are_those_of_the_source() -> None:
    text = "q, <hypernet:a:1> ADDCOMM (b:1.3)<hypernet:b:1> # no ADDROW\nADDCOL [c:d:5] ADDROW <hypernet:d:1>e"
    found = regions(text)
    owners = [region_at(read(text), tag.span.start) for tag in read(text).tags]
    assert owners == [None, 0, 2]
    fragments = [
        one
        for part in found.texts
        for segment in schedule(part, 10).segments
        for one in segment.fragments
        if one.text not in (", ", "q, , ")
    ]
    assert fragments
    for one in fragments:
        written = text[one.span.start : one.span.end]
        assert one.text.strip(", ") in written or one.text.startswith("q")


def test_each_text_has_its_own_schedule() -> None:
    first, second = regions("[a:b:5] ADDCOL [c|d] ADDROW e").texts[:2]
    assert [said(first, step) for step in (1, 8)] == ["a", "b"]
    assert [said(second, step) for step in (2, 3)] == ["d", "c"]


def test_brackets_end_with_their_region() -> None:
    prompt = read("[a ADDCOL b:5] ADDCOL c")
    assert [said(one) for one in regions(prompt.source).texts] == ["[a", "b:5]", "c"]
    assert {one.span.start for one in prompt.diagnostics if one.span} == {0, 13}


def test_operands_of_and_have_regions_of_their_own() -> None:
    first, second, third = read("a ADDCOL b :0.5 AND c AND d ADDROW e").parts
    assert [first.weight, second.weight, third.weight] == [0.5, 1, 1]
    assert first.regions is not None and third.regions is not None
    assert second.regions is None
    assert [one.text for one in third.regions.texts] == ["d", "e"]


@pytest.mark.parametrize(
    ("text", "column"),
    [("a ADDCOL b ADDBASE c", 12), ("a ADDBASE b ADDCOMM c", 13), ("a ADDCOMM b ADDCOMM c", 13)],
)
def test_keywords_out_of_place_are_text(text: str, column: int) -> None:
    (told,) = read(text).diagnostics
    assert told.span is not None
    assert told.span.column == column
    assert "divides nothing and is text" in told.message


def test_a_negative_prompt_has_none() -> None:
    prompt = parse("a ADDCOL b", negative=True, dialect="extended")
    assert prompt.parts[0].regions is None
    assert "negative prompt" in prompt.diagnostics[0].hint


def test_webui_knows_no_regions() -> None:
    prompt = parse("a ADDCOL b")
    assert prompt.parts[0].regions is None
    assert "--dialect extended" in prompt.diagnostics[0].hint


def test_ten_thousand_regions_take_no_time() -> None:
    start = time.perf_counter()
    found = regions("word, " * 5_000 + "ADDCOMM x" + " ADDCOL y" * 10_000)
    assert (found.count, found.texts) == (10_001, ())
    assert time.perf_counter() - start < 10
    (said,) = read("a" + " ADDCOL b" * 16).diagnostics
    assert said.severity == "error"
    assert said.message == "the prompt has 17 regions; it must have up to 16"
    assert said.span is not None
    assert said.span.start == 2 + 9 * 15


def test_a_tag_that_acts_everywhere_has_no_place_in_a_region() -> None:
    text = "a <lora:x:1> ADDBASE b<lora:y:1> ADDCOL c <lora:z:1><hypernet:ink:1> ADDROW <loha:q:1>"
    told = [one for one in read(text).diagnostics if one.code == "not-in-regions"]
    assert [one.span.start for one in told if one.span] == [
        text.index("<lora:y"),
        text.index("<lora:z"),
    ]
    assert told[0].message.startswith("'y' is not applied: a region has hypernetworks alone")
    for other in (text + " AND d", text.replace("ADD", "Add")):
        assert "not-in-regions" not in {one.code for one in read(other).diagnostics}
    assert "not-in-regions" not in {one.code for one in parse(text).diagnostics}
