"""When a refiner takes over, as a function of levels and calls."""

from __future__ import annotations

from functools import partial
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptengine.generation.cfg_denoiser import CFGDenoiser
from promptengine.generation.model_switch import (
    ModelSwitch,
    share_of_calls,
    share_of_sigma,
    share_of_timestep,
)
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas

TABLE = DiscreteSchedule(scaled_linear_alphas())


class Counter:
    """What a switch reads of a denoiser."""

    def __init__(self, planned: int) -> None:
        self.calls, self.planned = 0, planned


@pytest.mark.parametrize(
    ("timestep", "share"), [(999, 0.0), (998.7, 0.001), (499, 0.5), (0, 0.999)]
)
def test_the_share_at_a_timestep(timestep: float, share: float) -> None:
    assert share_of_timestep(torch.tensor(timestep)) == share


@given(st.integers(0, 999), st.floats(-0.4, 0.4))
def test_the_share_at_a_sigma_is_that_of_the_nearest_level(index: int, aside: float) -> None:
    sigmas = TABLE.sigmas
    other = sigmas[max(0, min(999, index + (1 if aside > 0 else -1)))]
    sigma = sigmas[index] + abs(aside) * (other - sigmas[index])
    assert share_of_sigma(sigmas, sigma) == (999 - index) / 1000


def test_the_largest_of_several_levels_counts() -> None:
    assert share_of_sigma(TABLE.sigmas, TABLE.sigmas[[3, 700]]) == 0.299
    assert share_of_timestep(torch.tensor([3, 700])) == 0.299


def test_the_share_of_calls() -> None:
    assert [share_of_calls(n, 4) for n in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("at", "by_calls", "first"),
    [(None, False, 0), (0.0, False, 0), (0.5, False, 3), (1.0, False, None), (0.25, True, 1)],
)
def test_a_change_comes_once(at: float | None, by_calls: bool, first: int | None) -> None:
    changes: list[int] = []
    model = Counter(planned=4)

    def change(model: CFGDenoiser) -> DiscreteSchedule:
        changes.append(model.calls)
        return TABLE

    switch = ModelSwitch(at, by_calls, change)
    for call, share in enumerate((0.0, 0.2, 0.4, 0.6)):
        model.calls = call
        found = switch.changed(cast("CFGDenoiser", model), partial(float, share))
        assert (found is TABLE) == (call == first)
    assert changes == ([] if first is None else [first])
    assert switch.done == (first is not None)
