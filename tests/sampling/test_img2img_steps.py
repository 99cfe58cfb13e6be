"""How much of a schedule a pass over an image walks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptengine import Options, RequestError
from promptengine.request.samplers import SigmaSampler, find_sampler
from promptengine.sampling.img2img_steps import (
    StepRange,
    add_noise,
    fixed_steps_for_strength,
    sigmas_for,
    steps_for_strength,
    whole_schedule,
)
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas

TABLE = DiscreteSchedule(scaled_linear_alphas())
STEPS = st.integers(1, 150)
STRENGTHS = st.floats(0, 1)


@given(STEPS, STRENGTHS)
def test_a_plain_walk_takes_that_share_of_the_steps(steps: int, strength: float) -> None:
    walk = steps_for_strength(steps, strength)
    assert walk.total == steps
    assert 0 <= walk.last < steps
    assert walk.last <= strength * steps < walk.last + 1.2


@given(STEPS, st.floats(0.02, 1))
def test_an_exact_walk_takes_all_steps(steps: int, strength: float) -> None:
    walk = fixed_steps_for_strength(steps, strength)
    assert walk.last == steps - 1
    assert abs(walk.total * strength - steps) < 1.2


def test_nothing_is_walked_at_strength_0_and_no_endless_schedule() -> None:
    assert fixed_steps_for_strength(20, 0.0) == StepRange(0, 0)
    with pytest.raises(RequestError, match="raise the strength"):
        fixed_steps_for_strength(20, 1e-5)
    assert len(whole_schedule(find_sampler("Euler"), TABLE, StepRange(0, 0), Options())) == 0


@given(STEPS, STRENGTHS)
def test_what_is_walked_is_the_end_of_the_schedule(steps: int, strength: float) -> None:
    for name in ("Euler", "DDIM"):
        sampler = find_sampler(name)
        walk = steps_for_strength(steps, strength)
        schedule = whole_schedule(sampler, TABLE, walk, Options())
        part = sigmas_for(sampler, schedule, walk)
        if isinstance(sampler, SigmaSampler):
            assert torch.equal(part, schedule[len(schedule) - walk.last - 2 :])
            assert part[-1] == 0
        else:
            assert torch.equal(part, schedule[: walk.last])


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_noise_is_as_strong_as_where_the_pass_joins(name: str) -> None:
    sampler, walk = find_sampler(name), steps_for_strength(20, 0.5)
    schedule = whole_schedule(sampler, TABLE, walk, Options())
    start, noise = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    bare = add_noise(sampler, schedule, walk, table=TABLE, start=start, noise=noise)
    if isinstance(sampler, SigmaSampler):
        level, kept = float(sigmas_for(sampler, schedule, walk)[0]), 1.0
    else:
        alpha = float(TABLE.alphas_cumprod[int(schedule[walk.last])])
        level, kept = (1 - alpha) ** 0.5, alpha**0.5
    torch.testing.assert_close(bare, noise * level)
    other = add_noise(sampler, schedule, walk, table=TABLE, start=noise, noise=start)
    torch.testing.assert_close(other, noise * kept)
    more = add_noise(sampler, schedule, walk, table=TABLE, start=start, noise=noise, extra=0.5)
    assert (more > bare).all()
