"""A prompt over the steps of a pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.prompt import parse, schedule
from promptengine.prompt.scheduled import ScheduledPrompt

PIECES = st.sampled_from(["cat", " ", "[", "]", "(", ")", ":", "|", "0.5", "3", "AND", "BREAK"])
PROMPTS = st.lists(PIECES, max_size=14).map("".join)
STEPS = st.integers(1, 12)


@given(PROMPTS, STEPS, st.none() | STEPS, st.booleans())
def test_the_schedules_are_those_of_the_parts(
    text: str, steps: int, hires_steps: int | None, old: bool
) -> None:
    prompt = parse(text)
    assert ScheduledPrompt(prompt, steps, hires_steps, old=old).schedules == tuple(
        schedule(part, steps, hires_steps=hires_steps, old=old) for part in prompt.parts
    )


@given(PROMPTS, STEPS, st.none() | STEPS)
def test_no_schedule_is_larger_than_is_told_before(
    text: str, steps: int, hires_steps: int | None
) -> None:
    scheduled = ScheduledPrompt(parse(text), steps, hires_steps)
    said = (len(s.text) for timeline in scheduled.schedules for s in timeline.segments)
    assert sum(said) <= scheduled.size


def test_the_schedules_are_worked_out_once() -> None:
    scheduled = ScheduledPrompt(parse("a [b|c] AND (d:1.2)"), 20)
    assert scheduled.schedules is scheduled.schedules


def test_a_prompt_that_is_not_parsed_is_refused() -> None:
    with pytest.raises(RequestError, match="prompt"):
        ScheduledPrompt("a cat", 20)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="steps"):
        ScheduledPrompt(parse("a cat"), 2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", ["webui", "swarmui"])
@pytest.mark.parametrize("hires_steps", [None, 7])
@pytest.mark.parametrize("old", [False, True])
def test_steps_are_known_without_schedules(
    dialect: str, hires_steps: int | None, old: bool
) -> None:
    prompt = ScheduledPrompt(parse("a", dialect=dialect), 4, hires_steps, old)
    assert prompt.pass_steps == prompt.schedules[0].steps
