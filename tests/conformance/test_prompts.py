"""Prompts against the reference: every case of every class, and inputs that it has no answer for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from promptengine.prompt import Part, Prompt, attention, parse, schedule
from tests.conformance.golden import rows


def as_data(prompt: Prompt, steps: int, hires_steps: int | None) -> dict[str, Any]:
    """What a case calls ``expected``."""
    return {
        "tags": [[tag.kind, list(tag.arguments)] for tag in prompt.tags],
        "subprompts": [
            {
                "text": part.text,
                "weight": part.weight,
                "schedule": [
                    {
                        "until": segment.until_step,
                        "text": segment.text,
                        "attention": [[f.text, f.weight] for f in segment.fragments],
                    }
                    for segment in schedule(part, steps, hires_steps=hires_steps).segments
                ],
            }
            for part in prompt.parts
        ],
    }


def same(ours: Any, theirs: Any) -> bool:
    """Equal, floats within 1e-12 of their size."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-12)
    return ours == theirs


def differing(cases: list[dict[str, Any]]) -> list[str]:
    different = []
    for case in cases:
        prompt = parse(case["prompt"], comments=False)
        if not same(as_data(prompt, case["steps"], case["hires_steps"]), case["expected"]):
            different.append(case["id"])
    return different


@pytest.mark.parametrize("name", ["cases", "undefined"])
def test_equals_what_is_expected(conformance_dir: Path, name: str) -> None:
    assert differing(rows(conformance_dir / "prompts" / f"{name}.jsonl")) == []


def test_answers_where_the_reference_raises(conformance_dir: Path) -> None:
    for case in rows(conformance_dir / "prompts" / "raises.jsonl"):
        answer = as_data(parse(case["prompt"], comments=False), case["steps"], case["hires_steps"])
        assert all(part["schedule"] for part in answer["subprompts"]), case["id"]


def without_tags(prompt: Prompt) -> str:
    """The source outside of the tags' spans."""
    kept, start = "", 0
    for tag in prompt.tags:
        kept += prompt.source[start : tag.span.start]
        start = tag.span.end
    return kept + prompt.source[start:]


def test_tags(conformance_dir: Path) -> None:
    for case in rows(conformance_dir / "webui" / "goldens" / "tags.jsonl"):
        prompt = parse(case["prompt"], comments=False)
        networks: dict[str, list[list[str]]] = {}
        for tag in prompt.tags:
            networks.setdefault(tag.kind, []).append(list(tag.arguments))
        expected = {kind: [use["items"] for use in uses] for kind, uses in case["networks"].items()}
        assert networks == expected, case["prompt"]
        assert without_tags(prompt) == case["stripped"], case["prompt"]


def segments(part: Part, steps: int, old: bool) -> list[list[Any]]:
    return [[s.until_step, s.text] for s in schedule(part, steps, old=old).segments]


def test_schedules_new_and_old(conformance_dir: Path) -> None:
    for case in rows(conformance_dir / "webui" / "goldens" / "cond_schedule.jsonl"):
        parts = parse(case["prompt"], comments=False).parts
        # The reference lists a text once and refers to it; ours lists every operand.
        order = [index for index, _ in case["and"][0]]
        assert [part.text for part in parts] == [case["and_texts"][index] for index in order]
        assert [part.weight for part in parts] == [weight for _, weight in case["and"][0]]
        for part, index in zip(parts, order, strict=True):
            assert segments(part, case["steps"], False) == case["schedules"][index], case["id"]
            assert segments(part, case["steps"], True) == case["schedules_old"][index], case["id"]


def test_emphasis(conformance_dir: Path) -> None:
    for case in rows(conformance_dir / "webui" / "goldens" / "cond_text.jsonl"):
        ours = [[fragment.text, fragment.weight] for fragment in attention(case["prompt"])]
        assert same(ours, case["parse_attention"]), case["prompt"]
