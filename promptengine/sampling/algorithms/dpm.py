"""The DPM-Solvers (Lu et al., arXiv:2206.00927): DPM2, DPM2 ancestral, DPM fast and DPM adaptive."""

from __future__ import annotations

from itertools import pairwise
from math import atan, isfinite

import torch
from torch import Tensor

from promptengine.sampling.algorithms.base import (
    Denoise,
    OnStep,
    StepNoise,
    ancestral_split,
    derivative,
)
from promptengine.sampling.algorithms.euler import churning

__all__ = ["sample_dpm2", "sample_dpm2_ancestral", "sample_dpm_adaptive", "sample_dpm_fast"]


def _midpoint_step(
    denoise: Denoise, x: Tensor, sigma: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return one step with the slope of its middle, or of Euler's where it ends at 0: latents, first x0."""
    denoised = denoise(x, sigma)
    slope = derivative(x, sigma, denoised)
    if target > 0:
        middle = torch.lerp(sigma.log(), target.log(), 0.5).exp()
        there = x + slope * (middle - sigma)
        slope = derivative(there, middle, denoise(there, middle))
    return x + slope * (target - sigma), denoised


sample_dpm2 = churning(_midpoint_step)
"""DPM-Solver-2: the slope is taken in the middle of the step, in log sigma."""


def sample_dpm2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    noise_scale: float = 1.0,
) -> Tensor:
    """DPM-Solver-2 steps below the target sigma, each followed by fresh noise up to it."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        down, up = ancestral_split(sigma, target, eta)
        x, denoised = _midpoint_step(denoise, x, sigma, down)
        if down > 0:
            x = x + noise(sigma, target) * noise_scale * up
        on_step(step, denoised)
    return x


class _Solver:
    """Steps of order 1 to 3 in time ``t = -log sigma``, sharing the calls they have in common.

    A step asks the model first at its start; the calls on the way are kept, because the adaptive
    sampler compares steps of two orders over the same stretch.
    """

    def __init__(self, denoise: Denoise, x: Tensor, start: Tensor) -> None:
        self._denoise = denoise
        self._x, self._start = x, start
        sigma = (-start).exp()
        self.denoised = denoise(x, sigma)
        self._slope = derivative(x, sigma, self.denoised)
        self._on_the_way: dict[float, Tensor] = {}

    def step(self, end: Tensor, order: int, *, middle: float | None = None) -> Tensor:
        """Return the latents at time ``end``; ``middle`` is where a step of order 2 looks, 0.5 by default."""
        if order == 1:
            return self._moved(1.0, end)
        if order == 2:
            place = 0.5 if middle is None else middle
            change = self._slope_at(place, self._moved(place, end), end) - self._slope
            grown = -(-end).exp() / (2 * place) * (end - self._start).expm1()
            return self._moved(1.0, end) + grown * change
        return self._third_order(end)

    def _third_order(self, end: Tensor) -> Tensor:
        h = end - self._start
        early = self._slope_at(1 / 3, self._moved(1 / 3, end), end) - self._slope
        grown = -(-(self._start + 2 / 3 * h)).exp() * 2 * ((2 / 3 * h).expm1() / (2 / 3 * h) - 1)
        there = self._moved(2 / 3, end) + grown * early
        late = self._slope_at(2 / 3, there, end) - self._slope
        return self._moved(1.0, end) - (-end).exp() * 1.5 * (h.expm1() / h - 1) * late

    def _moved(self, share: float, end: Tensor) -> Tensor:
        """Return a step of order 1 over a share of the way to ``end``."""
        h = share * (end - self._start)
        reached = end if share == 1 else self._start + h
        return self._x - (-reached).exp() * h.expm1() * self._slope

    def _slope_at(self, share: float, x: Tensor, end: Tensor) -> Tensor:
        if share not in self._on_the_way:
            sigma = (-(self._start + share * (end - self._start))).exp()
            self._on_the_way[share] = derivative(x, sigma, self._denoise(x, sigma))
        return self._on_the_way[share]


def _ends(sigmas: Tensor, span: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """First and last time of a walk."""
    lowest, highest = (float(sigmas[-2]), float(sigmas[0])) if span is None else span
    start, end = -torch.tensor([highest, lowest], device=sigmas.device).log()
    return start, end


def _below(start: Tensor, end: Tensor, last: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Return the time to step to, and the noise that leads back up to ``end``."""
    if eta == 0:
        return end, torch.zeros_like(end)
    down, _ = ancestral_split((-start).exp(), (-end).exp(), eta)
    reached = torch.minimum(last, -down.log())
    return reached, ((-end).exp() ** 2 - (-reached).exp() ** 2).clamp(min=0).sqrt()


def sample_dpm_fast(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 0.0,
    noise_scale: float = 1.0,
    span: tuple[float, float] | None = None,
) -> Tensor:
    """DPM-Solver-fast: steps of order 3 and a last one or two of lower order, evenly in log sigma.

    Args:
        denoise: The model.
        x: Latents at the highest sigma.
        sigmas: Only their number counts, and their ends if ``span`` is None: as many calls are made
            as there are steps, so there are about a third as many steps of its own.
        noise: For the way back up.
        on_step: Called after each step of its own.
        eta: 0 is the ODE, 1 ancestral.
        noise_scale: Standard deviation of the noise.
        span: Lowest and highest sigma.
    """
    calls = len(sigmas) - 1
    start, end = _ends(sigmas, span)
    count = calls // 3 + 1
    rest = calls % 3
    orders = [3] * (count - 1) + [rest] if rest else [3] * (count - 2) + [2, 1]
    times = torch.linspace(float(start), float(end), count + 1, device=sigmas.device)
    for step, (order, (now, then)) in enumerate(zip(orders, pairwise(times), strict=True), start=1):
        reached, up = _below(now, then, end, eta)
        solver = _Solver(denoise, x, now)
        x = solver.step(reached, order)
        x = x + noise((-now).exp(), (-then).exp()) * noise_scale * up
        on_step(step, solver.denoised)
    return x


def sample_dpm_adaptive(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 0.0,
    span: tuple[float, float] | None = None,
    relative: float = 0.05,
    absolute: float = 0.0078,
    first: float = 0.05,
) -> Tensor:
    """DPM-Solver-12/23: steps of order 3 whose length follows from how far order 2 differs.

    Args:
        denoise: The model.
        x: Latents at the highest sigma.
        sigmas: Only their ends count, and these only if ``span`` is None.
        noise: For the way back up.
        on_step: Called after each try of a step, taken or not; their number is known at the end.
        eta: 0 is the ODE, 1 ancestral.
        span: Lowest and highest sigma.
        relative: Error allowed relative to the latents.
        absolute: Error allowed in any case.
        first: Length of the first step in log sigma.
    """
    now, end = _ends(sigmas, span)
    length, before, tries = first, x, 0
    # The error of an ancestral step falls with a lower power of its length.
    power = 1.5 if eta else 3
    while now < end - 1e-5:
        then = torch.minimum(end, now + length)
        reached, up = _below(now, then, end, eta)
        solver = _Solver(denoise, x, now)
        low = solver.step(reached, 2, middle=1 / 3)
        high = solver.step(reached, 3)
        allowed = (relative * torch.maximum(low.abs(), before.abs())).clamp(min=absolute)
        error = float(((low - high) / allowed).norm()) / x.numel() ** 0.5
        if not isfinite(error):
            return high
        factor = 1 + atan((1 / (error + 1e-8)) ** (1 / power) - 1)
        length *= factor
        # A step that would have had to be much shorter is thrown away.
        if factor >= 0.81:
            before = low
            x = high + noise((-now).exp(), (-then).exp()) * up
            now = then
        tries += 1
        on_step(tries, solver.denoised)
    return x
