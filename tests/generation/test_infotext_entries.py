"""What infotexts say about sampling, entry by entry."""

from __future__ import annotations

import pytest
import torch

from promptengine.generation.cond_batch import PromptCond
from promptengine.generation.infotext_entries import pass_entries
from promptengine.request.options import Options
from promptengine.request.samplers import find_sampler
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas
from promptengine.text.conditioning import Conditioning

COND = Conditioning(torch.zeros(1, 77, 8), (20,))


@pytest.mark.parametrize(
    ("schedule_type", "rho", "written"),
    [
        ("karras", 0.0, None),
        ("karras", 7.0, None),  # karras' own
        ("karras", 5.0, 5.0),
        ("polyexponential", 1.0, None),  # polyexponential's own
        ("polyexponential", 7.0, 7.0),
        ("exponential", 5.0, None),  # it has none
    ],
)
def test_rho_is_written_where_it_differs_from_the_schedules_own(
    schedule_type: str, rho: float, written: float | None
) -> None:
    entries = pass_entries(
        find_sampler("Euler"),
        PromptCond([(COND, 1.0)], COND, 7.0),
        DiscreteSchedule(scaled_linear_alphas()),
        Options(schedule_type=schedule_type, rho=rho),
    )
    assert entries["Schedule type"] == schedule_type
    assert entries["Schedule rho"] == written
