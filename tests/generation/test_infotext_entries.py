"""What infotexts say about sampling, entry by entry."""

from __future__ import annotations

import pytest
import torch

from promptengine.generation.cond_batch import PromptCond
from promptengine.generation.infotext_entries import hires_schedule_told, pass_entries
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
        find_sampler("Euler", schedule_type),
        PromptCond([(COND, 1.0)], COND, 7.0),
        DiscreteSchedule(scaled_linear_alphas()),
        Options(rho=rho),
    )
    assert entries["Schedule rho"] == written


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("Euler", "Euler", None),
        ("Euler Karras", "DPM++ 2M", None),
        ("Euler", "DPM++ 2M", "Karras"),
        ("DPM++ 2M", "Euler", "Automatic"),
        ("DPM++ 2M", "DDIM", None),
        ("DDIM", "Euler Beta", "Beta"),
    ],
)
def test_the_schedule_type_of_a_second_pass_is_told_where_it_is_another(
    first: str, second: str, told: str | None
) -> None:
    assert hires_schedule_told(find_sampler(first), find_sampler(second)) == told
