"""Samplers on problems whose answer is known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.request.options import Options
from promptengine.request.samplers import (
    SAMPLERS,
    SigmaSampler,
    TimestepSampler,
    find_sampler,
)
from promptengine.sampling.algorithms.dpm import sample_dpm2, sample_dpm_adaptive
from promptengine.sampling.algorithms.dpmpp import sample_dpmpp_2m
from promptengine.sampling.algorithms.euler import (
    restarted,
    sample_euler,
    sample_heun,
    sample_lms,
)
from promptengine.sampling.algorithms.unipc import sample_unipc
from promptengine.sampling.noise import ImageNoise
from promptengine.sampling.sigmas import (
    DiscreteSchedule,
    ddim_timesteps,
    distilled_timestep,
    karras_sigmas,
    scaled_linear_alphas,
    uniform_sigmas,
)

TABLE = DiscreteSchedule(scaled_linear_alphas())
SIGMA_SAMPLERS = [s for s in SAMPLERS.values() if isinstance(s, SigmaSampler)]
PICTURE = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)


def no_report(_step: int, _denoised: Tensor) -> None:
    pass


@pytest.mark.parametrize("sampler", SIGMA_SAMPLERS, ids=lambda s: s.name)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 40])
def test_a_denoiser_that_knows_the_image_is_believed(sampler: SigmaSampler, steps: int) -> None:
    noise = ImageNoise.seeded([3], (4, 4, 4))
    sigmas = sampler.schedule(TABLE, steps)
    reported: list[int] = []
    span = {"span": (TABLE.lowest, TABLE.highest)} if sampler.spans else {}
    result = sampler.run(
        lambda x, sigma: PICTURE,
        noise.draw() * sigmas[0],
        sigmas,
        noise=lambda sigma, target: noise.draw(),
        on_step=lambda step, _: reported.append(step),
        **span,
    )
    # What picks its own steps ends at the lowest sigma, with so much noise still there.
    torch.testing.assert_close(result, PICTURE, atol=0.15 if sampler.spans else 1e-5, rtol=0)
    assert reported == list(range(1, len(reported) + 1))
    assert sampler.spans or len(reported) == steps


def test_restart_comes_down_again_from_20_steps_on() -> None:
    def climbs(steps: int) -> int:
        path = restarted(karras_sigmas(TABLE, steps))
        return sum(bool(a[1] < b[0]) for a, b in pairwise(path))

    assert [climbs(steps) for steps in (19, 20, 35, 36, 60)] == [0, 1, 1, 2, 2]
    assert [len(restarted(karras_sigmas(TABLE, steps))) for steps in (19, 20, 36)] == [19, 20, 36]


@pytest.mark.parametrize("sampler", ["DDIM", "PLMS", "UniPC"])
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_a_predictor_that_knows_the_noise_is_believed(sampler: str, steps: int) -> None:
    epsilon = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    alphas = TABLE.alphas_cumprod.float()
    found = find_sampler(sampler)
    timesteps = found.schedule(TABLE, steps)
    start, end = (timesteps[-1], timesteps[0]) if sampler != "UniPC" else (999, 0)
    result = found.run(
        lambda x, t: epsilon,
        alphas[start].sqrt() * PICTURE + (1 - alphas[start]).sqrt() * epsilon,
        timesteps,
        alphas=alphas,
        noise=lambda: epsilon,
        on_step=no_report,
    )
    expected = alphas[end].sqrt() * PICTURE + (1 - alphas[end]).sqrt() * epsilon
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
@pytest.mark.parametrize("spacing", ["time_uniform", "time_quadratic", "logSNR"])
def test_unipc_converges_whatever_its_settings(variant: Any, spacing: Any) -> None:
    """For a Gaussian of spread s the ODE is solved exactly by scaling."""
    alphas = TABLE.alphas_cumprod.float()
    spread, start = 0.5, torch.ones(1, 1, 1, 1)

    def predict(x: Tensor, timestep: Tensor) -> Tensor:
        sigma = TABLE.sigma(timestep.clamp(0, 999))
        alpha = 1 / (1 + sigma**2).sqrt()
        return x * sigma * alpha / (alpha**2 * (spread**2 + sigma**2))

    def error(steps: int) -> float:
        timesteps = ddim_timesteps(TABLE, steps)
        end = sample_unipc(
            predict,
            start,
            timesteps,
            alphas=alphas,
            noise=lambda: start,
            on_step=no_report,
            variant=variant,
            spacing=spacing,
        )
        spreads = [((a * spread**2) + 1 - a).sqrt() for a in (alphas[0], alphas[-1])]
        return abs(float(end) - float(spreads[0] / spreads[1]))

    assert error(50) < 0.02
    # The authors' corrector with varying coefficients leaves out a part of the sum.
    assert variant == "vary_coeff" or error(50) < error(8)


def test_orders_of_convergence() -> None:
    """For a Gaussian of spread s the ODE is solved exactly; more order, less error."""
    spread = 0.5

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x * spread**2 / (spread**2 + sigma**2)

    def error(run: object, steps: int) -> float:
        sigmas = karras_sigmas(TABLE, steps).double()
        start = torch.ones(1, dtype=torch.float64) * sigmas[0]
        end = run(denoise, start, sigmas[:-1], noise=lambda *_: start, on_step=no_report)  # type: ignore[operator]
        exact = start * ((spread**2 + sigmas[-2] ** 2) / (spread**2 + sigmas[0] ** 2)).sqrt()
        return float((end - exact).abs())

    assert 1.7 < error(sample_euler, 100) / error(sample_euler, 200) < 2.3
    for second_order in (sample_dpmpp_2m, sample_heun, sample_dpm2):
        assert 3.0 < error(second_order, 100) / error(second_order, 200) < 5.0
    assert error(sample_lms, 100) < error(sample_heun, 100) / 3


def test_names_and_aliases_in_any_case() -> None:
    for sampler in SAMPLERS.values():
        for spelling in (sampler.name, *sampler.aliases):
            assert find_sampler(spelling.upper()) is sampler
    assert find_sampler("euler_a") is SAMPLERS["Euler a"]
    assert find_sampler(" dpmpp_2m  karras") is SAMPLERS["DPM++ 2M"]
    assert isinstance(find_sampler("DDIM"), TimestepSampler)
    with pytest.raises(RequestError, match="known samplers: DPM"):
        find_sampler("zzzzzz")
    with pytest.raises(RequestError, match="did you mean 'Euler a'"):
        find_sampler("Eular a")


@pytest.mark.parametrize(
    ("name", "scheduler", "expected"),
    [
        ("DPM++ 2M", "automatic", ("DPM++ 2M", "karras")),
        ("DPM++ 3M SDE", "automatic", ("DPM++ 3M SDE", "exponential")),
        ("Euler", "automatic", ("Euler", "automatic")),
        ("Euler", "Uniform", ("Euler", "uniform")),
        ("k_dpmpp_2m_sde_ka", "automatic", ("DPM++ 2M SDE", "karras")),
        ("k_dpmpp_2m_sde_exp", "Automatic", ("DPM++ 2M SDE", "exponential")),
        ("Euler SGM Uniform", "automatic", ("Euler", "sgm_uniform")),
        ("k_euler", "sgmuniform", ("Euler", "sgm_uniform")),
        ("Euler Karras", "Simple", ("Euler", "simple")),
        ("DDIM Karras", "automatic", ("DDIM", "karras")),
    ],
)
def test_a_schedule_type_beside_the_name(
    name: str, scheduler: str, expected: tuple[str, str]
) -> None:
    found = find_sampler(name, scheduler)
    assert (found.name, found.scheduler) == expected


def test_schedules_are_those_of_their_types() -> None:
    assert find_sampler("DPM++ 2M").schedule(TABLE, 9).equal(karras_sigmas(TABLE, 9))
    assert find_sampler("Euler").schedule(TABLE, 9).equal(uniform_sigmas(TABLE, 9))
    with pytest.raises(RequestError, match="there are automatic, uniform"):
        find_sampler("Euler", "steep")


def test_options_bend_schedules() -> None:
    euler, karras = find_sampler("Euler"), find_sampler("DPM++ 2M")
    bent = karras.schedule(TABLE, 5, Options(sigma_min=0.1, sigma_max=9.0, rho=3.0))
    torch.testing.assert_close(bent, karras_sigmas(TABLE, 5, 0.1, 9.0, 3.0))
    old = karras.schedule(TABLE, 5, Options(old_karras_range=True))
    torch.testing.assert_close(old, karras_sigmas(TABLE, 5, 0.1, 10.0))
    # The plain list has no settings.
    plain = Options(sigma_min=0.1, sigma_max=9.0, rho=3.0, old_karras_range=True)
    assert euler.schedule(TABLE, 5, plain).equal(euler.schedule(TABLE, 5))
    kept = euler.schedule(TABLE, 5, Options(discard_penultimate=True))
    six = euler.schedule(TABLE, 6)
    assert torch.equal(kept, torch.cat([six[:5], six[6:]]))
    dpm2 = find_sampler("DPM2", "uniform")
    assert dpm2.schedule(TABLE, 5, Options(discard_penultimate=True)).equal(kept)


def test_a_distilled_sampler_knows_fifty_levels() -> None:
    lcm = find_sampler("LCM")
    assert isinstance(lcm, SigmaSampler)
    levels = lcm.levels(TABLE)
    assert torch.equal(levels.sigmas, TABLE.sigmas[19::20])
    sigmas = lcm.schedule(TABLE, 50)
    torch.testing.assert_close(sigmas[:-1].flip(0), levels.sigmas)
    assert distilled_timestep(levels, levels.sigmas).tolist() == list(range(19, 1000, 20))
    assert find_sampler("Euler").levels(TABLE) is TABLE  # type: ignore[union-attr]


def test_a_consistency_model_is_followed_in_one_step() -> None:
    sigmas = torch.tensor([10.0, 2.0, 0.0])
    noise = torch.ones_like(PICTURE)
    steps: list[int] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return PICTURE if sigma == 10 else x - noise * sigma

    end = find_sampler("LCM").run(
        denoise,
        noise * 10,
        sigmas,
        noise=lambda _sigma, _target: noise,
        on_step=lambda step, _: steps.append(step),
    )
    torch.testing.assert_close(end, PICTURE)
    assert steps == [1, 2]


def test_renoising_by_the_unguided_prediction() -> None:
    alphas = torch.linspace(0.99, 0.1, 10)
    unguided = torch.full_like(PICTURE, 0.5)
    settings: dict[str, Any] = {
        "alphas": alphas,
        "noise": lambda: PICTURE,
        "on_step": no_report,
    }
    times, guided = torch.tensor([1, 8]), torch.full_like(PICTURE, 0.25)
    x = PICTURE * 3
    plain = find_sampler("DDIM").run(lambda _x, _t: guided, x, times, **settings)
    turned = find_sampler("DDIM CFG++").run(
        lambda _x, _t: guided, x, times, unguided=lambda: unguided, **settings
    )
    torch.testing.assert_close(turned - plain, (1 - alphas[1]).sqrt() * (unguided - guided))


def test_numbers_that_are_none_do_not_hang_the_adaptive_sampler() -> None:
    sigmas = karras_sigmas(TABLE, 5)
    result = sample_dpm_adaptive(
        lambda x, sigma: x * torch.nan,
        PICTURE,
        sigmas,
        noise=lambda *_: PICTURE,
        on_step=no_report,
    )
    assert result.isnan().all()


def test_churn_acts_within_its_sigmas_only() -> None:
    sigmas = karras_sigmas(TABLE, 6)

    def levels(**settings: float) -> list[float]:
        asked: list[float] = []

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            asked.append(float(sigma))
            return PICTURE

        noise = ImageNoise.seeded([1], (4, 4, 4))
        sample_euler(
            denoise,
            PICTURE,
            sigmas,
            noise=lambda *_: noise.draw(),
            on_step=no_report,
            **settings,
        )
        return asked

    plain = sigmas[:-1].tolist()
    assert levels() == levels(churn=0.0, churn_from=1.0) == plain
    raised = levels(churn=1.2)
    assert raised == pytest.approx([sigma * 1.2 for sigma in plain])
    window = levels(churn=1.2, churn_from=0.3, churn_to=5.0)
    assert [a != b for a, b in zip(window, plain, strict=True)] == [0.3 <= s <= 5 for s in plain]
