"""The prompt matrix: every combination of the parts, once, in the order of the bits."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.registry.registry import Registry
from promptengine.request.request import GenerationRequest
from promptengine.scripts.prompt_matrix import PROMPT_MATRIX
from promptengine.scripts.script import ScriptContext, ScriptStep
from promptengine.scripts.table import named_arguments

CONTEXT = ScriptContext(Registry({}), 64)
PARTS = st.lists(st.text("abc [](),", max_size=8), min_size=1, max_size=6)


def steps(prompt: str, *, batch_size: int = 1, seed: int = 7, **arguments: Any) -> list[ScriptStep]:
    request = GenerationRequest(
        prompt=prompt, seed=seed, variation_seed=3, batch_size=batch_size, width=64, height=64
    )
    given = named_arguments(PROMPT_MATRIX, arguments)
    assert PROMPT_MATRIX.steps is not None
    return list(PROMPT_MATRIX.steps(request, given, CONTEXT))


@given(PARTS, st.integers(1, 5), st.booleans())
def test_every_combination_is_made_once_by_its_bits(
    parts: list[str], batch_size: int, different: bool
) -> None:
    found = steps("|".join(parts), batch_size=batch_size, different_seeds=different)
    requests = [request for step in found for request in step.requests]
    assert len(requests) == 2 ** (len(parts) - 1)
    varying = [part.strip().strip(",") for part in parts[1:]]
    for number, request in enumerate(requests):
        chosen = [part for bit, part in enumerate(varying) if number & (1 << bit)]
        assert request.prompt == ", ".join([parts[0], *chosen])
        assert request.seed == 7 + (number if different else 0)
        assert request.variation_seed == 3 + number
    assert all(len(step.requests) == batch_size for step in found[:-1])
    assert 1 <= len(found[-1].requests) <= batch_size


def test_parts_may_stand_before_the_fixed_one_and_in_the_negative_prompt() -> None:
    first = [step.requests[0] for step in steps("a|b|c", at_start=True, joint="space")]
    assert [request.prompt for request in first] == ["a", "b a", "c a", "b c a"]
    request = GenerationRequest(prompt="a|b", negative_prompt="x|y", width=64, height=64)
    assert PROMPT_MATRIX.steps is not None
    given = named_arguments(PROMPT_MATRIX, {"prompt_type": "negative"})
    made = [step.requests[0] for step in PROMPT_MATRIX.steps(request, given, CONTEXT)]
    assert [(one.prompt, one.negative_prompt) for one in made] == [("a|b", "x"), ("a|b", "x, y")]


def test_a_seed_is_drawn_once_for_all() -> None:
    seeds = {step.requests[0].seed for step in steps("a|b|c", seed=-1)}
    assert len(seeds) == 1
    assert min(seeds) >= 0


@pytest.mark.parametrize("bars", [40, 4000])
def test_more_images_than_memory_holds_are_refused_at_once(bars: int) -> None:
    begun = time.monotonic()
    with pytest.raises(RequestError, match=rf"2\^{bars} images of 64x64; 48828 of that size"):
        steps("a" + "|b" * bars)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"margin": 501}, "from 0 to 500"),
        ({"margin": 1.5}, "a whole number"),
        ({"joint": "dash"}, "one of comma, space"),
        ({"nonsense": 1}, "has no argument 'nonsense'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        named_arguments(PROMPT_MATRIX, arguments)
