"""What a UNet's answers mean, and the noise levels they belong to."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from promptengine.families import Prediction
from promptengine.sampling.parameterization import (
    consistent,
    denoised_from,
    model_target,
    noise_from,
    noise_table,
    predicts_v,
    zero_terminal,
)
from promptengine.sampling.sigmas import scaled_linear_alphas

SD: dict[str, float] = {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


@given(
    alpha=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**31),
    prediction=st.sampled_from(["epsilon", "v"]),
)
def test_a_perfect_answer_gives_back_image_and_noise(
    alpha: float, seed: int, prediction: Prediction
) -> None:
    random = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, 1, 4, 3, 3, generator=random, dtype=torch.float64)
    a = torch.tensor(alpha, dtype=torch.float64)
    x = a.sqrt() * x0 + (1 - a).sqrt() * noise
    sigma = ((1 - a) / a).sqrt()
    answer = model_target(prediction, x0, noise, a)
    torch.testing.assert_close(noise_from(prediction, answer, x, a), noise)
    torch.testing.assert_close(denoised_from(prediction, answer, x / a.sqrt(), sigma), x0)


def test_v_is_no_noise_and_no_image() -> None:
    x0, noise = torch.ones(1), torch.zeros(1)
    assert model_target("v", x0, noise, torch.tensor(0.36)).item() == pytest.approx(-0.8)
    assert model_target("v", noise, x0, torch.tensor(0.36)).item() == pytest.approx(0.6)


def test_the_trial_tells_v_from_epsilon() -> None:
    """At the last timestep x is noise: a model of epsilon returns it, one of v minus the image."""
    asked: list[tuple[int, ...]] = []

    def epsilon(x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        asked.append((*x.shape, int(timestep), *context.shape))
        return x + 0.1

    assert not predicts_v(epsilon, 1024)
    assert asked == [(1, 4, 8, 8, 999, 1, 2, 1024)]
    assert predicts_v(lambda x, _t, _c: x - 1.5, 1024)


def test_stored_noise_levels_hold() -> None:
    own = scaled_linear_alphas(0.001, 0.02).float()
    assert torch.equal(noise_table(own, SD).alphas_cumprod, own)
    assert torch.equal(noise_table(None, SD).alphas_cumprod, scaled_linear_alphas())


def test_levels_that_rounding_made_the_same_are_computed_anew() -> None:
    half = scaled_linear_alphas().half()
    assert torch.equal(noise_table(half, SD).alphas_cumprod, half.float())
    coarse = scaled_linear_alphas().bfloat16()
    assert (coarse.diff() == 0).any()
    assert torch.equal(noise_table(coarse, SD).alphas_cumprod, scaled_linear_alphas())
    with pytest.raises(ValueError, match="are the same"):
        noise_table(scaled_linear_alphas(0.001, 0.02).bfloat16(), SD)


def test_zero_terminal_snr_keeps_its_sigmas_finite() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    stored = torch.cumprod(1 - rescale_zero_terminal_snr(betas), dim=0).float()
    assert stored[-1] == 0
    kept = noise_table(stored, SD)
    assert torch.equal(kept.alphas_cumprod[:-1], stored[:-1])
    assert kept.sigmas.isfinite().all() and kept.sigmas[-1] > 4000
    rescaled = noise_table(None, SD | {"rescale_betas_zero_snr": True}).alphas_cumprod
    torch.testing.assert_close(rescaled.float(), kept.alphas_cumprod, atol=1e-6, rtol=0)
    assert zero_terminal(scaled_linear_alphas())[0] == pytest.approx(1 - 0.00085)


@pytest.mark.parametrize(
    "stored",
    [
        torch.tensor([0.5, 0.9]),
        torch.tensor([0.5, 0.5]),
        torch.tensor([0, 0]),
        torch.tensor([2.0, 0.5]),
        torch.tensor([0.5, float("nan")]),
        torch.tensor([float("nan"), 0.5]),
        torch.tensor([0.5, -0.1]),
        torch.tensor(0.5),
        torch.tensor([]),
    ],
)
def test_noise_levels_that_cannot_be(stored: Tensor) -> None:
    with pytest.raises(ValueError, match="alphas_cumprod"):
        noise_table(stored, SD)


def test_a_consistency_model_answers_with_the_latents_next_to_timestep_zero() -> None:
    x0, x = torch.full((1, 4, 2, 2), 3.0), torch.full((1, 4, 2, 2), -1.0)
    assert torch.equal(consistent(x0, x, torch.tensor(0.0)), x)
    torch.testing.assert_close(consistent(x0, x, torch.tensor(999.0)), x0, rtol=1e-4, atol=0)
