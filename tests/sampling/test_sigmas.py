"""Noise tables and the rules that pick levels from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptengine.errors import RequestError
from promptengine.request.options import Options
from promptengine.request.schedulers import SCHEDULERS, find_scheduler
from promptengine.sampling.sigmas import DiscreteSchedule, ddim_timesteps, scaled_linear_alphas

TABLE = DiscreteSchedule(scaled_linear_alphas())


@given(st.sampled_from(sorted(SCHEDULERS)), st.integers(1, 200))
def test_schedules_fall_from_the_highest_level_to_zero(name: str, steps: int) -> None:
    sigmas = SCHEDULERS[name].sigmas(TABLE, steps)
    assert len(sigmas) == steps + 1 or (name == "ddim" and len(sigmas) > steps)
    assert (sigmas.diff() < 0).all()
    assert sigmas.dtype == torch.float32
    last = TABLE.lowest if name == "kl_optimal" else 0
    assert float(sigmas[-1]) == pytest.approx(last, rel=1e-4)
    # A single step of Align Your Steps is at its lowest level.
    if name != "ddim" and (name, steps) != ("align_your_steps", 1):
        assert float(sigmas[0]) == pytest.approx(TABLE.highest, rel=1e-3)


@given(st.sampled_from(sorted(SCHEDULERS)), st.integers(2, 60))
def test_schedules_keep_to_the_range_they_are_given(name: str, steps: int) -> None:
    ranged = {"karras", "exponential", "polyexponential", "beta", "normal", "kl_optimal"}
    sigmas = SCHEDULERS[name].sigmas(TABLE, steps, lowest=0.5, highest=5.0)
    if name in ranged:
        above_zero = sigmas[sigmas > 0]
        assert float(above_zero[0]) == pytest.approx(5.0, rel=1e-4)
        assert float(above_zero[-1]) == pytest.approx(0.5, rel=1e-4)


def test_published_levels() -> None:
    aligned = SCHEDULERS["align_your_steps"]
    ten = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029, 0]
    torch.testing.assert_close(aligned.sigmas(TABLE, 11), torch.tensor(ten))
    between = aligned.sigmas(TABLE, 21)
    assert float(between[1]) == pytest.approx((14.615 * 6.475) ** 0.5, rel=1e-5)
    large = DiscreteSchedule(TABLE.alphas_cumprod, family="SDXL")
    assert float(aligned.sigmas(large, 11)[1]) == pytest.approx(6.315)


def test_beta_spreads_the_quantiles_of_its_distribution() -> None:
    # Quantiles of Beta(0.6, 0.6) at 0, 0.1, … 0.5, from scipy's betaincinv.
    quantiles = np.array(BETA_QUANTILES)
    sigmas = SCHEDULERS["beta"].sigmas(TABLE, 11, lowest=1.0, highest=2.0)
    np.testing.assert_allclose(sigmas[5:11].flip(0).numpy() - 1, quantiles, atol=1e-6)
    np.testing.assert_allclose(2 - sigmas[:6].numpy(), quantiles, atol=1e-6)


def test_beta_of_other_shapes() -> None:
    shares = np.linspace(1, 0, 11)
    for alpha, beta, quantiles in (
        (2.0, 1.0, shares**0.5),
        (1.0, 3.0, 1 - (1 - shares) ** (1 / 3)),
        (0.5, 0.5, np.sin(np.pi / 2 * shares) ** 2),
    ):
        options = Options(beta_alpha=alpha, beta_beta=beta)
        sigmas = SCHEDULERS["beta"].sigmas(TABLE, 11, lowest=1.0, highest=2.0, options=options)
        np.testing.assert_allclose(sigmas[:-1].numpy() - 1, quantiles, atol=1e-5)


BETA_QUANTILES = (0.0, 0.039584406, 0.12292175, 0.234017004, 0.362700991, 0.5)


def test_kl_optimal_levels_are_even_in_the_arc_tangent() -> None:
    sigmas = SCHEDULERS["kl_optimal"].sigmas(TABLE, 9).double()
    steps = sigmas.atan().diff()
    torch.testing.assert_close(steps, steps.mean().expand(9), rtol=1e-3, atol=0)


def test_names_labels_and_aliases() -> None:
    for scheduler in SCHEDULERS.values():
        for spelling in (scheduler.label, scheduler.name, *scheduler.aliases):
            assert find_scheduler(spelling.upper()) is scheduler
    assert find_scheduler(" Automatic ") is None
    with pytest.raises(RequestError, match="unknown scheduler 'steep'"):
        find_scheduler("steep")


@given(st.floats(0, 999))
def test_timestep_and_sigma_are_inverse(timestep: float) -> None:
    there = TABLE.sigma(torch.tensor(timestep))
    assert abs(float(TABLE.timestep(there)) - timestep) < 0.05
    assert float(TABLE.nearest_timestep(there)) in (np.floor(timestep), np.ceil(timestep))


@given(st.integers(1, 1000))
def test_ddim_timesteps_rise_and_stay_in_the_table(steps: int) -> None:
    timesteps = ddim_timesteps(TABLE, steps)
    assert len(timesteps) >= steps
    assert (timesteps.diff() >= 0).all()
    assert timesteps[0] == 1
    assert timesteps[-1] <= 999


def test_too_many_ddim_steps_are_refused() -> None:
    with pytest.raises(RequestError, match="1000"):
        ddim_timesteps(TABLE, 1001)


def test_a_downcast_table_is_coarse_and_still_rises() -> None:
    coarse = TABLE.downcast()
    torch.testing.assert_close(coarse.sigmas, TABLE.sigmas, rtol=0.1, atol=0)
    assert not torch.equal(coarse.sigmas, TABLE.sigmas)
    assert (coarse.log_sigmas.diff() >= 0).all()
    for sigma in (coarse.lowest, 1.0, coarse.highest):
        assert 0 <= float(coarse.timestep(torch.tensor(sigma))) <= 999


def test_zero_terminal_snr_ends_in_almost_pure_noise() -> None:
    stretched = TABLE.with_zero_terminal_snr()
    assert stretched.highest > 4000
    assert stretched.lowest == pytest.approx(TABLE.lowest, rel=1e-4)
    assert (stretched.sigmas.diff() > 0).all()
