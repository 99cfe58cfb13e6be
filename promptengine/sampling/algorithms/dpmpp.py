"""DPM-Solver++ (Lu et al., arXiv:2211.01095): 2S ancestral, 2M, and the SDE forms.

With ``h`` the length of a step in ``-log sigma``, all of them move by
``x <- target / sigma * x + (1 - exp(-h)) * x0`` and differ in the x0 they put there.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from promptengine.sampling.algorithms.base import (
    Denoise,
    OnStep,
    StepNoise,
    ancestral_split,
    derivative,
    log_distance,
)

__all__ = [
    "sample_dpmpp_2m",
    "sample_dpmpp_2m_sde",
    "sample_dpmpp_2m_sde_heun",
    "sample_dpmpp_2s_ancestral",
    "sample_dpmpp_3m_sde",
    "sample_dpmpp_sde",
]


def _moved(x: Tensor, sigma: Tensor, target: Tensor, denoised: Tensor) -> Tensor:
    """Go from ``sigma`` to ``target`` as if x0 were ``denoised`` all the way."""
    return target / sigma * x - torch.expm1(-log_distance(sigma, target)) * denoised


def sample_dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep
) -> Tensor:
    """DPM-Solver++(2M): second order from the step before."""
    previous: Tensor | None = None
    previous_h = sigmas.new_zeros(())
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        h = log_distance(sigma, target)
        estimate = denoised
        if previous is not None and target > 0:
            ratio = h / (2 * previous_h)
            estimate = (1 + ratio) * denoised - ratio * previous
        x = _moved(x, sigma, target, estimate)
        previous, previous_h = denoised, h
        on_step(step, denoised)
    return x


def sample_dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    noise_scale: float = 1.0,
) -> Tensor:
    """DPM-Solver++(2S) steps below the target sigma, each followed by fresh noise up to it."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = first = denoise(x, sigma)
        down, up = ancestral_split(sigma, target, eta)
        if down > 0:
            middle = (sigma * down).sqrt()
            denoised = denoise(_moved(x, sigma, middle, first), middle)
            x = _moved(x, sigma, down, denoised)
        else:
            x = x + derivative(x, sigma, denoised) * (down - sigma)
        if target > 0:
            x = x + noise(sigma, target) * noise_scale * up
        on_step(step, first)
    return x


def sample_dpmpp_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    noise_scale: float = 1.0,
) -> Tensor:
    """DPM-Solver++(2S) on the diffusion SDE: noise enters in the middle of a step and at its end."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        if target == 0:
            x = x + derivative(x, sigma, denoised) * (target - sigma)
        else:
            # There and back through the logarithm: a Brownian path differs visibly at times that
            # differ in the last digit, so these must be WebUI's to the bit.
            start, middle, end = _times(sigma, target)
            down, up = ancestral_split(start, middle, eta)
            there = _moved(x, start, down, denoised)
            there = there + noise(start, middle) * noise_scale * up
            # Half a step on, the x0 there stands for the whole step.
            estimate = denoise(there, middle)
            down, up = ancestral_split(start, end, eta)
            x = _moved(x, start, down, estimate) + noise(start, end) * noise_scale * up
        on_step(step, denoised)
    return x


def _times(sigma: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a step's start, middle in log sigma, and end."""
    start, end = -sigma.log(), -target.log()
    middle = start + (end - start) * 0.5
    return (-start).exp(), (-middle).exp(), (-end).exp()


def sample_dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    noise_scale: float = 1.0,
    heun: bool = False,
) -> Tensor:
    """DPM-Solver++(2M) on the diffusion SDE; ``heun`` picks the other second-order correction."""
    previous: Tensor | None = None
    previous_h = sigmas.new_zeros(())
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        h = log_distance(sigma, target)
        if target == 0:
            x = denoised
        else:
            far = h * (1 + eta)
            weight = -torch.expm1(-far)
            x = target / sigma * (-h * eta).exp() * x + weight * denoised
            if previous is not None:
                share = 1 - weight / far if heun else 0.5 * weight
                x = x + share * (h / previous_h) * (denoised - previous)
            x = x + _sde_noise(noise, sigma, target, h * eta, noise_scale)
        previous, previous_h = denoised, h
        on_step(step, denoised)
    return x


sample_dpmpp_2m_sde_heun = partial(sample_dpmpp_2m_sde, heun=True)
"""The same with the other correction."""


def sample_dpmpp_3m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    noise_scale: float = 1.0,
) -> Tensor:
    """DPM-Solver++(3M) on the diffusion SDE: third order from the two steps before."""
    before: list[tuple[Tensor, Tensor]] = []
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        h = log_distance(sigma, target)
        if target == 0:
            x = denoised
        else:
            far = h * (1 + eta)
            x = (-far).exp() * x - torch.expm1(-far) * denoised
            x = x + _multistep_correction(denoised, before, h, far)
            x = x + _sde_noise(noise, sigma, target, h * eta, noise_scale)
        before = [(denoised, h), *before[:1]]
        on_step(step, denoised)
    return x


def _multistep_correction(
    denoised: Tensor, before: list[tuple[Tensor, Tensor]], h: Tensor, far: Tensor
) -> Tensor:
    """Return what the change of x0 over the steps before (the latest first) adds to a step."""
    if not before:
        return torch.zeros_like(denoised)
    second = torch.expm1(-far) / far + 1
    last, last_h = before[0]
    ratio = last_h / h
    slope = (denoised - last) / ratio
    if len(before) == 1:
        return second * slope
    older, older_h = before[1]
    older_ratio = older_h / h
    bend = (slope - (last - older) / older_ratio) / (ratio + older_ratio)
    third = second / far - 0.5
    return second * (slope + bend * ratio) - third * bend


def _sde_noise(
    noise: StepNoise, sigma: Tensor, target: Tensor, spread: Tensor, noise_scale: float
) -> Tensor | float:
    if spread == 0:
        return 0.0
    up = target * (-torch.expm1(-2 * spread)).sqrt()
    return noise(sigma, target) * up * noise_scale
