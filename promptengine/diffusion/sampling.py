"""Samplers: one function each, all of one shape, and the table of their names.

A sampler over sigmas is ``f(denoise, x, sigmas, *, noise, on_step) -> latents`` with ``denoise(x,
sigma)`` giving the denoised picture x0; one over timesteps takes ``predict(x, timestep)``, giving the
noise, and the cumulative alphas. Formulas follow k-diffusion's and CompVis' definitions, which WebUI
uses; ``sigma`` is a 0-d tensor.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from promptengine.diffusion.schedules import (
    NoiseTable,
    ddim_timesteps,
    karras_sigmas,
    uniform_sigmas,
)
from promptengine.errors import RequestError

__all__ = [
    "SAMPLERS",
    "Denoise",
    "Draw",
    "OnStep",
    "Predict",
    "Sampler",
    "SigmaSampler",
    "TimestepSampler",
    "find_sampler",
    "sample_ddim",
    "sample_dpmpp_2m",
    "sample_euler",
    "sample_euler_ancestral",
]

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(x, sigma) -> x0``; x and x0 ``[batch, channels, height, width]``."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""``(x, timestep) -> noise``, shaped alike."""

Draw = Callable[[], Tensor]
"""Fresh standard normal noise, shaped like the latents."""

OnStep = Callable[[int, Tensor], None]
"""Called after every step with the steps done and the current x0."""


def sample_euler(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Draw, on_step: OnStep
) -> Tensor:
    """Euler's method on the probability-flow ODE (Karras et al., arXiv:2206.00364, algorithm 1)."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        x = x + (x - denoised) / sigma * (target - sigma)
        on_step(step, denoised)
    return x


def sample_euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Draw, on_step: OnStep
) -> Tensor:
    """Euler steps below the target sigma, each followed by fresh noise up to it."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        down, up = _ancestral_split(sigma, target)
        x = x + (x - denoised) / sigma * (down - sigma)
        if target > 0:
            x = x + noise() * up
        on_step(step, denoised)
    return x


def _ancestral_split(sigma: Tensor, target: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split ``target`` into the sigma to step down to and the noise that leads back up."""
    up = eta * (target**2 * (sigma**2 - target**2) / sigma**2).sqrt()
    up = torch.minimum(target, up)
    return (target**2 - up**2).sqrt(), up


def sample_dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Draw, on_step: OnStep
) -> Tensor:
    """DPM-Solver++(2M), Lu et al., arXiv:2211.01095: second order from the step before."""
    previous: Tensor | None = None
    previous_h = sigmas.new_zeros(())
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        h = sigma.log() - target.log()
        estimate = denoised
        if previous is not None and target > 0:
            ratio = h / (2 * previous_h)
            estimate = (1 + ratio) * denoised - ratio * previous
        x = target / sigma * x - torch.expm1(-h) * estimate
        previous, previous_h = denoised, h
        on_step(step, denoised)
    return x


def sample_ddim(
    predict: Predict, x: Tensor, timesteps: Tensor, *, alphas: Tensor, noise: Draw, on_step: OnStep
) -> Tensor:
    """DDIM (Song et al., arXiv:2010.02502) with eta 0, down to the lowest timestep.

    Walks from the last of the rising ``timesteps`` to the second: n of them give n - 1 updates, and
    the result stays at the first one's noise level, as in WebUI.
    """
    for step, index in enumerate(range(len(timesteps) - 1, 0, -1), start=1):
        epsilon = predict(x, timesteps[index])
        alpha, target = alphas[timesteps[index]], alphas[timesteps[index - 1]]
        denoised = (x - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
        x = target.sqrt() * denoised + (1 - target).sqrt() * epsilon
        on_step(step, denoised)
    return x


class SigmaStepper(Protocol):
    """What a sampler over sigmas looks like."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Draw, on_step: OnStep
    ) -> Tensor:
        """Walk from ``x`` at ``sigmas[0]`` to the end of ``sigmas``."""
        ...


class TimestepStepper(Protocol):
    """What a sampler over timesteps looks like."""

    def __call__(
        self,
        predict: Predict,
        x: Tensor,
        timesteps: Tensor,
        *,
        alphas: Tensor,
        noise: Draw,
        on_step: OnStep,
    ) -> Tensor:
        """Walk from ``x`` at ``timesteps[-1]`` down to ``timesteps[0]``."""
        ...


@dataclass(frozen=True, slots=True)
class SigmaSampler:
    """A sampler whose schedule is sigmas and whose model answers with x0.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        aliases: Other spellings that WebUI accepts.
        schedule: Steps to sigmas ``[steps + 1]``, high to low, ending in 0.
        run: The stepping function.
    """

    name: str
    aliases: tuple[str, ...]
    schedule: Callable[[NoiseTable, int], Tensor]
    run: SigmaStepper


@dataclass(frozen=True, slots=True)
class TimestepSampler:
    """A sampler whose schedule is timesteps and whose model answers with the noise.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        aliases: Other spellings that WebUI accepts.
        schedule: Steps to integer timesteps, rising.
        run: The stepping function.
    """

    name: str
    aliases: tuple[str, ...]
    schedule: Callable[[NoiseTable, int], Tensor]
    run: TimestepStepper


Sampler = SigmaSampler | TimestepSampler

SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        SigmaSampler(
            "Euler a", ("k_euler_a", "k_euler_ancestral"), uniform_sigmas, sample_euler_ancestral
        ),
        SigmaSampler("Euler", ("k_euler",), uniform_sigmas, sample_euler),
        SigmaSampler("DPM++ 2M", ("k_dpmpp_2m",), uniform_sigmas, sample_dpmpp_2m),
        SigmaSampler("DPM++ 2M Karras", ("k_dpmpp_2m_ka",), karras_sigmas, sample_dpmpp_2m),
        TimestepSampler("DDIM", ("ddim",), ddim_timesteps, sample_ddim),
    )
}
"""Every sampler by its name."""


def find_sampler(name: str) -> Sampler:
    """Look a sampler up by name or alias, in any case.

    Raises:
        RequestError: No such sampler; the message lists what there is.
    """
    spellings = {
        spelling.lower(): sampler
        for sampler in SAMPLERS.values()
        for spelling in (sampler.name, *sampler.aliases)
    }
    found = spellings.get(name.strip().lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), spellings, n=1)
    hint = f"did you mean {spellings[near[0]].name!r}?" if near else ""
    known = "known samplers: " + ", ".join(SAMPLERS)
    raise RequestError(f"unknown sampler {name!r}; {hint or known}", field="sampler")
