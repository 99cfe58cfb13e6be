"""What a UNet's output means, and the noise levels it was trained on.

With ``x = sqrt(a) * x0 + sqrt(1 - a) * noise``, a model of ``epsilon`` answers with the noise, one of
``v`` with ``sqrt(a) * noise - sqrt(1 - a) * x0`` (arXiv:2202.00512).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from promptengine.families import Family, ModelConfig, Prediction
from promptengine.sampling.sigmas import DiscreteSchedule, scaled_linear_alphas

__all__ = [
    "consistent",
    "denoised_from",
    "model_target",
    "noise_from",
    "noise_table",
    "predicts_v",
    "zero_terminal",
]

_MOST_TIMESTEPS = 100_000

_LAST_ALPHA = 4.8973451890853435e-08
"""Stands for a last alpha of 0, whose sigma would be infinite; WebUI and its kin use this number."""

_DATA_DEVIATION = 0.5
_TIMESTEP_SCALING = 10.0


def noise_from(prediction: Prediction, output: Tensor, x: Tensor, alpha: Tensor | float) -> Tensor:
    """Return the noise that a UNet's output implies.

    Args:
        prediction: What the model predicts.
        output: Its answer, guided or not: the conversion is affine, so guidance may come first.
        x: What it was asked about, as the UNet has it: signal and noise of variance 1 together.
        alpha: The cumulative alpha there, 0 to 1.
    """
    if prediction == "epsilon":
        return output
    kept = torch.as_tensor(alpha, dtype=x.dtype, device=x.device)
    return kept.sqrt() * output + (1 - kept).sqrt() * x


def denoised_from(prediction: Prediction, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the image (x0) that a UNet's output implies.

    Args:
        prediction: What the model predicts.
        output: Its answer to ``x / sqrt(sigma**2 + 1)``, guided or not.
        x: ``x0 + sigma * noise``.
        sigma: The noise level, 0 or more.
    """
    if prediction == "epsilon":
        return x - sigma * output
    return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()


def consistent(denoised: Tensor, x: Tensor, timestep: Tensor) -> Tensor:
    """Return what a latent consistency model means by an x0 (Luo et al., arXiv:2310.04378, eq. 9).

    Next to timestep 0 that is the latents themselves, everywhere else x0.

    Args:
        denoised: The x0.
        x: What the model was asked about.
        timestep: 0 to 999.
    """
    scaled = (timestep * _TIMESTEP_SCALING) ** 2
    data = _DATA_DEVIATION**2
    kept, taken = data / (scaled + data), scaled.sqrt() / (scaled + data).sqrt()
    return taken * denoised + kept * x


def model_target(prediction: Prediction, x0: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Return the output that would be right: what a model is trained towards.

    Args:
        prediction: What the model predicts.
        x0: Latents without noise.
        noise: Standard normal, shaped like ``x0``.
        alpha: The cumulative alpha, 0 to 1, of a shape that broadcasts.
    """
    if prediction == "epsilon":
        return noise
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * x0


@torch.no_grad()
def predicts_v(ask: Callable[[Tensor, Tensor, Tensor], Tensor], width: int) -> bool:
    """Find out by a trial, as WebUI does for Stable Diffusion 2, whether a UNet predicts v.

    At the noisiest timestep x is all noise: a model of epsilon gives it back, one of v answers with
    about minus the image behind it, which lies far below.

    Args:
        ask: The UNet as a function of ``x [1, 4, 8, 8]``, ``timestep [1]``, ``context [1, 2, width]``.
        width: Of the text context.
    """
    x = torch.full((1, 4, 8, 8), 0.5)
    answer = ask(x, torch.tensor([999]), torch.full((1, 2, width), 0.5))
    return float((answer.float().cpu() - x).mean()) < -1


def noise_table(
    stored: Tensor | None, scheduler: ModelConfig, family: Family = "SD1"
) -> DiscreteSchedule:
    """Return the noise levels of a model.

    Levels stored with the weights hold before those of the configuration, as in WebUI, so that a
    model of zero terminal signal to noise keeps its own. Two repairs: a last alpha of 0 becomes
    4.9e-8, since its sigma would be infinite; and levels that were rounded with the rest of a file
    until neighbors fell together, which no sampler can tell apart, are computed again.

    Args:
        stored: ``alphas_cumprod`` ``[timesteps]`` from the file, or None.
        scheduler: ``num_train_timesteps`` and ``trained_betas``, or ``beta_start``, ``beta_end`` and
            perhaps ``beta_schedule``; perhaps ``rescale_betas_zero_snr``.
        family: Of the model.

    Raises:
        ValueError: The stored levels do not fall, each below the last, within 1 and 0, or the stated
            betas make no levels.
        KeyError: The configuration lacks an entry.
    """
    if not 1 < scheduler["num_train_timesteps"] <= _MOST_TIMESTEPS:
        raise ValueError(f"{scheduler['num_train_timesteps']} timesteps; 1000 are usual")
    computed = _stated_alphas(scheduler)
    if scheduler.get("rescale_betas_zero_snr"):
        computed = zero_terminal(computed)
    return DiscreteSchedule(computed if stored is None else _usable(stored, computed), family)


def _stated_alphas(scheduler: ModelConfig) -> Tensor:
    """Return the levels that a configuration states, in diffusers' words."""
    steps, trained = scheduler["num_train_timesteps"], scheduler.get("trained_betas")
    schedule = scheduler.get("beta_schedule", "scaled_linear")
    if trained is not None:
        betas = torch.as_tensor(trained, dtype=torch.float64)
        if betas.shape != (steps,):
            raise ValueError(f"its trained_betas are {betas.numel()}, not {steps}")
    elif schedule == "squaredcos_cap_v2":
        # arXiv:2102.09672, eq. 17
        times = (torch.linspace(0, 1, steps + 1, dtype=torch.float64) + 0.008) / 1.008
        kept = (times * math.pi / 2).cos() ** 2
        betas = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    elif schedule == "linear":
        ends = scheduler["beta_start"], scheduler["beta_end"]
        betas = torch.linspace(*ends, steps, dtype=torch.float64)
    else:
        return scaled_linear_alphas(scheduler["beta_start"], scheduler["beta_end"], steps)
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError("its betas do not lie between 0 and 1")
    return torch.cumprod(1 - betas, dim=0)


def _usable(stored: Tensor, computed: Tensor) -> Tensor:
    alphas = stored.float()
    # Comparisons with NaN fail, so it gets no further.
    if not (
        alphas.ndim == 1
        and len(alphas) > 1
        and bool((alphas.diff() <= 0).all())
        and float(alphas[0]) <= 1
        and float(alphas[-1]) >= 0
    ):
        raise ValueError("its noise levels (alphas_cumprod) do not fall from 1 to 0")
    if bool((alphas.diff() == 0).any()):
        rounding = torch.finfo(stored.dtype).eps if stored.is_floating_point() else 0.0
        if alphas.shape == computed.shape and torch.allclose(
            alphas, computed.float(), rtol=0, atol=rounding
        ):
            return computed
        raise ValueError("some of its noise levels (alphas_cumprod) are the same")
    if float(alphas[-1]) == 0:
        alphas = torch.cat([alphas[:-1], alphas.new_tensor([_LAST_ALPHA])])
    return alphas


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale noise levels so that the last is (all but) pure noise (arXiv:2305.08891, 3.1)."""
    roots = alphas_cumprod.sqrt()
    first, last = roots[0], roots[-1]
    rescaled = ((roots - last) * first / (first - last)) ** 2
    return torch.cat([rescaled[:-1], rescaled.new_tensor([_LAST_ALPHA])])
