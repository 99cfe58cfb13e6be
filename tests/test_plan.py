"""Decisions that need no model."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptengine import PromptSyntaxError, Registry, UnknownNetworkError, parse
from promptengine.plan import Plan, make_plan


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name in ("ink", "style/wash"):
        path = tmp_path / "hypernetworks" / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Registry.open(tmp_path)


def plan(registry: Registry, prompt: str, negative: str = "", **options: object) -> Plan:
    reading = (parse(prompt), parse(negative, negative=True))
    return make_plan(*reading, registry, steps=10, **options)  # type: ignore[arg-type]


def test_uses_keep_order_multiplier_and_place(registry: Registry) -> None:
    uses = plan(
        registry, "<hypernet:wash:-0.5>a<hypernet:ink><hypernet:style/wash:1e-1:9>"
    ).networks
    assert [(use.entry.name, use.multiplier) for use in uses] == [
        ("wash", -0.5),
        ("ink", 1.0),
        ("wash", 0.1),
    ]
    assert [use.span.start for use in uses] == [0, 21, 35]


@pytest.mark.parametrize(("text", "value"), [("1_0", 10.0), (" .5 ", 0.5), ("-0", 0.0), ("٣", 3.0)])
def test_multipliers_are_what_python_reads(registry: Registry, text: str, value: float) -> None:
    assert plan(registry, f"<hypernet:ink:{text}>").networks[0].multiplier == value


@pytest.mark.parametrize(
    ("tag", "reason", "error"),
    [
        ("<hypernet:inkk:1>", "not found", UnknownNetworkError),
        ("<hypernet: ink:1>", "not found", UnknownNetworkError),
        ("<hypernet:INK:1>", "not found", UnknownNetworkError),
        ("<hypernet:../hypernetworks/ink:1>", "not found", UnknownNetworkError),
        ("<hypernet:ink:x>", "multiplier 'x' is not a finite number", PromptSyntaxError),
        ("<hypernet:ink:nan>", "multiplier 'nan' is not a finite number", PromptSyntaxError),
        ("<lora:ink:1>", "tags of kind 'lora' are not applied", PromptSyntaxError),
    ],
)
def test_what_cannot_be_applied_follows_the_policy(
    registry: Registry, tag: str, reason: str, error: type[Exception]
) -> None:
    prompt = f"a {tag}<hypernet:ink:0.5>"
    warned = plan(registry, prompt)
    assert [skipped.reason for skipped in warned.skipped] == [reason]
    assert [use.multiplier for use in warned.networks] == [0.5]
    (warning,) = [d for d in warned.diagnostics if d.hint == "it is not applied"]
    assert warning.span == warned.skipped[0].tag.span
    ignored = plan(registry, prompt, policy="ignore")
    assert ignored.skipped == warned.skipped
    assert not [d for d in ignored.diagnostics if d.hint == "it is not applied"]
    with pytest.raises(error, match="at column 3"):
        plan(registry, prompt, policy="strict")


def test_schedules_are_planned_for_every_part(registry: Registry) -> None:
    made = plan(registry, "[a:b:0.5] AND c:0.5", "[d:e:2] AND f:2")
    assert [part.weight for part in made.positive] == [1.0, 0.5]
    assert [s.until_step for s in made.positive[0].schedule.segments] == [5, 10]
    assert [s.until_step for s in made.negative.segments] == [2, 10]
    assert made.negative.segments[0].text == "d AND f:2"


def test_a_network_named_twice_is_said_once(registry: Registry) -> None:
    made = plan(registry, "<hypernet:ink:1><hypernet:wash:1><hypernet:ink:2><hypernet:ink:3>")
    (warning,) = made.diagnostics
    assert "'ink' is named 3 times" in warning.message
    assert len(made.networks) == 4


def test_a_tag_in_the_negative_prompt_is_words(registry: Registry) -> None:
    made = plan(registry, "a", "b <hypernet:ink:1>")
    assert made.networks == ()
    assert made.negative.segments[0].text == "b <hypernet:ink:1>"
    assert [d.severity for d in made.diagnostics] == ["warning"]
