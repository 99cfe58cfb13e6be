"""Euler's method and its kin: Euler, Euler ancestral, Heun, LMS and Restart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import Protocol

import numpy as np
import torch
from numpy.polynomial.polynomial import polyfromroots
from torch import Tensor

from promptengine.sampling.algorithms.base import (
    Denoise,
    OnStep,
    StepNoise,
    ancestral_split,
    derivative,
)
from promptengine.sampling.sigmas import karras_levels

__all__ = [
    "ChurningSampler",
    "Step",
    "churning",
    "restarted",
    "sample_euler",
    "sample_euler_ancestral",
    "sample_heun",
    "sample_lms",
    "sample_restart",
]

_MOST_CHURN = 2**0.5 - 1


Step = Callable[[Denoise, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(denoise, x, sigma, target) -> (latents at target, x0)``: a step without fresh noise."""


class ChurningSampler(Protocol):
    """What :func:`churning` makes of a step."""

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: StepNoise,
        on_step: OnStep,
        churn: float = 0.0,
        churn_from: float = 0.0,
        churn_to: float = 0.0,
        noise_scale: float = 1.0,
    ) -> Tensor:
        """Walk down the sigmas.

        Args:
            denoise: The model.
            x: Latents at the first sigma.
            sigmas: Falling.
            noise: Drawn from at each step once ``churn`` is above 0, whatever the sigma.
            on_step: Called after each step.
            churn: How much noise to add over the pass.
            churn_from: Least sigma at which noise is added.
            churn_to: Greatest sigma at which it is; 0 is no limit.
            noise_scale: Standard deviation of the noise.
        """
        ...


def churning(step: Step) -> ChurningSampler:
    """Return the sampler that raises the noise level before each step (arXiv:2206.00364, algorithm 2)."""

    def sample(
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: StepNoise,
        on_step: OnStep,
        churn: float = 0.0,
        churn_from: float = 0.0,
        churn_to: float = 0.0,
        noise_scale: float = 1.0,
    ) -> Tensor:
        steps = len(sigmas) - 1
        for done, (sigma, target) in enumerate(pairwise(sigmas), start=1):
            raised = sigma
            if churn > 0:
                fresh = noise(sigma, target)
                if churn_from <= float(sigma) <= (churn_to or inf):
                    raised = sigma * (1 + min(churn / steps, _MOST_CHURN))
                    x = x + fresh * noise_scale * (raised**2 - sigma**2).sqrt()
            x, denoised = step(denoise, x, raised, target)
            on_step(done, denoised)
        return x

    return sample


def _euler_step(
    denoise: Denoise, x: Tensor, sigma: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    denoised = denoise(x, sigma)
    return x + derivative(x, sigma, denoised) * (target - sigma), denoised


def _heun_step(denoise: Denoise, x: Tensor, sigma: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return one step of Heun's method, or of Euler's where it ends at 0: latents and first x0."""
    denoised = denoise(x, sigma)
    slope = derivative(x, sigma, denoised)
    if target > 0:
        guess = x + slope * (target - sigma)
        slope = (slope + derivative(guess, target, denoise(guess, target))) / 2
    return x + slope * (target - sigma), denoised


sample_euler = churning(_euler_step)
"""Euler's method on the probability-flow ODE (Karras et al., arXiv:2206.00364, algorithm 1)."""

sample_heun = churning(_heun_step)
"""Heun's method (Karras et al., arXiv:2206.00364, algorithm 2): two calls a step, the last one."""


def sample_euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """Euler steps below the target sigma, each followed by fresh noise up to it."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        down, up = ancestral_split(sigma, target, eta)
        x = x + derivative(x, sigma, denoised) * (down - sigma)
        if target > 0:
            x = x + noise(sigma, target) * up
        on_step(step, denoised)
    return x


def sample_lms(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    order: int = 4,
) -> Tensor:
    """Linear multistep (Adams and Bashforth) of up to ``order`` steps, for uneven sigmas."""
    levels = sigmas.cpu().double().numpy()
    slopes: list[Tensor] = []
    for step in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[step])
        slopes = [derivative(x, sigmas[step], denoised), *slopes[: order - 1]]
        known = levels[step - len(slopes) + 1 : step + 1][::-1]
        shares = _multistep_shares(known, levels[step], levels[step + 1])
        x = x + sum(slope * share for slope, share in zip(slopes, shares, strict=True))
        on_step(step + 1, denoised)
    return x


def _multistep_shares(known: np.ndarray, start: float, end: float) -> list[float]:
    """Integrals from ``start`` to ``end`` of the Lagrange polynomials through ``known`` places."""
    shares: list[float] = []
    for index, place in enumerate(known):
        others = np.delete(known, index)
        polynomial = np.polynomial.Polynomial(polyfromroots(others))
        antiderivative = (polynomial / np.prod(place - others)).integ()
        shares.append(float(antiderivative(end) - antiderivative(start)))
    return shares


def sample_restart(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep
) -> Tensor:
    """Heun's method that goes back up from low noise and comes down again.

    Xu et al., "Restart sampling", arXiv:2306.14878, with the settings that WebUI picks by the number of
    steps: see :func:`restarted`.
    """
    last: Tensor | None = None
    for step, (sigma, target) in enumerate(restarted(sigmas), start=1):
        if last is not None and last < sigma:
            x = x + noise(last, sigma) * (sigma**2 - last**2).sqrt()
        x, denoised = _heun_step(denoise, x, sigma, target)
        on_step(step, denoised)
        last = target
    return x


def restarted(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the steps of Restart, each from one sigma to another.

    From 20 steps on, part of them is saved for coming down again from sigma 2 to 0.1, once, and
    twice from 36 steps on.
    """
    steps = len(sigmas) - 1
    if steps < 20:
        return list(pairwise(sigmas))
    times, extra = (2, steps // 4) if steps >= 36 else (1, 9)
    lowest, highest = float(sigmas[-2]), float(sigmas[0])
    levels = karras_levels(steps - extra * times, lowest, highest).to(sigmas)
    levels = torch.cat([levels, levels.new_zeros(1)])
    bottom = int((levels - 0.1).abs().argmin())
    top = int((levels - 2).abs().argmin())
    path = list(pairwise(levels))
    if top >= bottom:
        return path
    again = karras_levels(extra + 1, float(levels[bottom]), float(levels[top])).to(sigmas)
    return [*path[:bottom], *list(pairwise(again)) * times, *path[bottom:]]
