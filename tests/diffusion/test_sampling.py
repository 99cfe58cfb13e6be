"""Samplers on problems whose answer is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from promptengine.diffusion.noise import ImageNoise
from promptengine.diffusion.sampling import (
    SAMPLERS,
    SigmaSampler,
    TimestepSampler,
    find_sampler,
    sample_ddim,
    sample_dpmpp_2m,
    sample_euler,
)
from promptengine.diffusion.schedules import (
    NoiseTable,
    ddim_timesteps,
    karras_sigmas,
    scaled_linear_alphas,
    uniform_sigmas,
)
from promptengine.errors import RequestError

TABLE = NoiseTable(scaled_linear_alphas())
SIGMA_SAMPLERS = [s for s in SAMPLERS.values() if isinstance(s, SigmaSampler)]
PICTURE = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)


def no_report(_step: int, _denoised: Tensor) -> None:
    pass


@pytest.mark.parametrize("sampler", SIGMA_SAMPLERS, ids=lambda s: s.name)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_denoiser_that_knows_the_picture_is_believed(sampler: SigmaSampler, steps: int) -> None:
    noise = ImageNoise.seeded([3], (4, 4, 4))
    sigmas = sampler.schedule(TABLE, steps)
    reported: list[int] = []
    result = sampler.run(
        lambda x, sigma: PICTURE,
        noise.draw() * sigmas[0],
        sigmas,
        noise=noise.draw,
        on_step=lambda step, _: reported.append(step),
    )
    torch.testing.assert_close(result, PICTURE, atol=1e-5, rtol=0)
    assert reported == list(range(1, steps + 1))


def test_ddim_with_the_true_noise_lands_at_the_first_timestep() -> None:
    epsilon = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    alphas = TABLE.alphas_cumprod.float()
    timesteps = ddim_timesteps(TABLE, 8)

    def noised(timestep: Tensor) -> Tensor:
        return alphas[timestep].sqrt() * PICTURE + (1 - alphas[timestep]).sqrt() * epsilon

    result = sample_ddim(
        lambda x, t: epsilon,
        noised(timesteps[-1]),
        timesteps,
        alphas=alphas,
        noise=lambda: epsilon,
        on_step=no_report,
    )
    torch.testing.assert_close(result, noised(timesteps[0]), atol=1e-5, rtol=0)


def test_orders_of_convergence() -> None:
    """For a Gaussian of spread s the ODE is solved exactly; more order, less error."""
    spread = 0.5

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * spread**2 / (spread**2 + sigma**2)

    def error(run: object, steps: int) -> float:
        sigmas = karras_sigmas(TABLE, steps).double()
        start = torch.ones(1, dtype=torch.float64) * sigmas[0]
        end = run(denoise, start, sigmas[:-1], noise=lambda: start, on_step=no_report)  # type: ignore[operator]
        exact = start * ((spread**2 + sigmas[-2] ** 2) / (spread**2 + sigmas[0] ** 2)).sqrt()
        return float((end - exact).abs())

    assert 1.7 < error(sample_euler, 100) / error(sample_euler, 200) < 2.3
    assert 3.0 < error(sample_dpmpp_2m, 100) / error(sample_dpmpp_2m, 200) < 5.0


@given(st.integers(1, 200))
def test_schedules_fall_to_zero(steps: int) -> None:
    for schedule in (uniform_sigmas, karras_sigmas):
        sigmas = schedule(TABLE, steps)
        assert len(sigmas) == steps + 1
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()
        torch.testing.assert_close(sigmas[0], TABLE.sigmas[-1], rtol=1e-5, atol=0)


@given(st.floats(0, 999))
def test_timestep_and_sigma_are_inverse(timestep: float) -> None:
    there = TABLE.sigma(torch.tensor(timestep))
    assert abs(float(TABLE.timestep(there)) - timestep) < 0.05


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


def test_names_and_aliases_in_any_case() -> None:
    for sampler in SAMPLERS.values():
        for spelling in (sampler.name, *sampler.aliases):
            assert find_sampler(spelling.upper()) is sampler
    assert isinstance(find_sampler("DDIM"), TimestepSampler)
    with pytest.raises(RequestError, match="known samplers: Euler a"):
        find_sampler("zzzzzz")


def test_images_have_noise_of_their_own() -> None:
    batch = ImageNoise.seeded([5, 6], (4, 4, 4))
    draws = [batch.draw() for _ in range(3)]
    alone = ImageNoise.seeded([6], (4, 4, 4))
    for draw in draws:
        assert torch.equal(draw[1:], alone.draw())
    assert not torch.equal(draws[0], draws[1])
