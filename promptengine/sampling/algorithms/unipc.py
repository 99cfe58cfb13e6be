"""UniPC (Zhao et al., "UniPC: a unified predictor-corrector framework", arXiv:2302.04867).

Written in x0, as the paper recommends for guided sampling. ``lambda`` is half the log of the
signal-to-noise ratio, ``log(alpha / sigma)``, and a step is one in ``lambda``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import expm1, factorial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from promptengine.sampling.algorithms.base import Draw, OnStep, Predict

__all__ = ["Spacing", "Variant", "sample_unipc"]

Variant = Literal["bh1", "bh2", "vary_coeff"]
"""What the paper calls B(h): ``h``, or ``exp(h) - 1``; or coefficients without it."""

Spacing = Literal["time_uniform", "time_quadratic", "logSNR"]
"""In what the steps are of equal length."""


def sample_unipc(
    predict: Predict,
    x: Tensor,
    timesteps: Tensor,
    *,
    alphas: Tensor,
    noise: Draw,
    on_step: OnStep,
    variant: Variant = "bh1",
    spacing: Spacing = "time_uniform",
    order: int = 3,
    lower_order_final: bool = True,
    whole: bool = True,
) -> Tensor:
    """Predict each step from those before, and correct it by what the model says at its end.

    Args:
        predict: The model.
        x: Latents at the first time.
        timesteps: Rising integers; only their number counts, and the last if not ``whole``.
        alphas: Cumulative alphas of all trained timesteps.
        noise: Not drawn from.
        on_step: Called after each step.
        variant: See :data:`Variant`.
        spacing: See :data:`Spacing`.
        order: Steps that a step looks back on, counting itself; at most as many as there are.
        lower_order_final: Look back on fewer in the last steps.
        whole: Start from the last trained timestep, and not from the last of ``timesteps``.

    Returns:
        Latents at the first trained timestep's noise level.
    """
    clock = _Clock(alphas)
    steps = len(timesteps)
    order = min(order, steps)
    start = 1.0 if whole else (float(timesteps[-1]) + 1) / clock.trained
    times = clock.spaced(start, steps, spacing)

    def denoise(x: Tensor, time: Tensor) -> Tensor:
        """Ask for x0 at a time from 1 / trained to 1."""
        epsilon = predict(x, (time - 1 / clock.trained) * clock.trained)
        alpha, sigma = clock.alpha_and_sigma(time)
        return (x - sigma * epsilon) / alpha

    history = [(times[0], denoise(x, times[0]))]
    for step in range(1, steps + 1):
        back = min(order, step)
        if lower_order_final and step >= order:
            back = min(back, steps + 1 - step)
        move = _Move(clock, history[-back:], times[step], variant)
        there = move.predicted(x)
        if step == steps:
            x = there
        else:
            answer = denoise(there, times[step])
            x = move.corrected(x, answer)
            history = [*history, (times[step], answer)][-order:]
        on_step(step, history[-1][1])
    return x


@dataclass(frozen=True, eq=False)
class _Clock:
    """Continuous time: timestep n of N is time ``(n + 1) / N``, and log alphas are linear between."""

    alphas: Tensor

    @property
    def trained(self) -> int:
        return len(self.alphas)

    @cached_property
    def _log_alphas(self) -> Tensor:
        return 0.5 * self.alphas.float().log()

    def log_alpha(self, time: Tensor) -> Tensor:
        """Log of the signal's share; beyond both ends the nearest two levels are extended."""
        place = time * self.trained - 1
        low = place.floor().long().clamp(0, self.trained - 2)
        below, above = self._log_alphas[low], self._log_alphas[low + 1]
        return below + (place - low) * (above - below)

    def alpha_and_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and noise in latents at a time."""
        log_alpha = self.log_alpha(time)
        return log_alpha.exp(), (1 - (2 * log_alpha).exp()).sqrt()

    def half_log_snr(self, time: Tensor) -> Tensor:
        alpha, sigma = self.alpha_and_sigma(time)
        return alpha.log() - sigma.log()

    def spaced(self, start: float, steps: int, spacing: Spacing) -> Tensor:
        """Times ``[steps + 1]`` from ``start`` to that of the first trained timestep."""
        end = 1 / self.trained
        if spacing == "time_quadratic":
            times = torch.linspace(start**0.5, end**0.5, steps + 1) ** 2
        elif spacing == "logSNR":
            ends = self.half_log_snr(torch.tensor([start, end], device=self.alphas.device))
            times = self._time_of(torch.linspace(float(ends[0]), float(ends[1]), steps + 1))
        else:
            times = torch.linspace(start, end, steps + 1)
        return times.to(self.alphas.device)

    def _time_of(self, half_log_snr: Tensor) -> Tensor:
        """Return the inverse of :meth:`half_log_snr`."""
        log_alpha = -0.5 * torch.logaddexp(torch.zeros(()), -2 * half_log_snr)
        known = self._log_alphas.cpu()
        # Log alphas fall with time; a search wants them rising.
        low = (torch.searchsorted(-known, -log_alpha) - 1).clamp(0, self.trained - 2)
        fraction = (log_alpha - known[low]) / (known[low + 1] - known[low])
        return (low + fraction + 1) / self.trained


class _Move:
    """One step: where the past predicts it leads, and where the model's answer corrects it to.

    Args:
        clock: Time.
        history: Times and x0 of the steps looked back on, the last of which is where the step starts.
        time: Where it leads.
        variant: Which coefficients.
    """

    def __init__(
        self,
        clock: _Clock,
        history: Sequence[tuple[Tensor, Tensor]],
        time: Tensor,
        variant: Variant,
    ) -> None:
        start, self._denoised = history[-1]
        self._alpha, sigma = clock.alpha_and_sigma(time)
        self._ratio = sigma / clock.alpha_and_sigma(start)[1]
        here = clock.half_log_snr(start)
        self._h = float(clock.half_log_snr(time) - here)
        self._variant: Variant = variant
        earlier = list(reversed(history[:-1]))
        self._places = [float(clock.half_log_snr(t) - here) / self._h for t, _ in earlier]
        self._slopes = [
            (denoised - self._denoised) / place
            for (_, denoised), place in zip(earlier, self._places, strict=True)
        ]

    def predicted(self, x: Tensor) -> Tensor:
        """Return the latents after the step, from the past alone."""
        weights = _weights(self._places, self._h, self._variant)
        return self._moved(x, weights, self._slopes)

    def corrected(self, x: Tensor, answer: Tensor) -> Tensor:
        """Return the latents after the step, with the x0 that the model sees at its end."""
        places = [*self._places, 1.0]
        weights = _weights(places, self._h, self._variant, correcting=True)
        return self._moved(x, weights, [*self._slopes, answer - self._denoised])

    def _moved(self, x: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
        change = expm1(-self._h) * self._denoised
        for weight, slope in zip(weights, slopes, strict=True):
            change = change + weight * slope
        return self._ratio * x - self._alpha * change


def _weights(
    places: Sequence[float], h: float, variant: Variant, *, correcting: bool = False
) -> list[float]:
    """Return how much each slope of x0 counts, by its place in units of the step.

    They solve ``sum(weight * place**k) = (k + 1)! * phi(k)`` for as many k as there are places
    (theorem 3.1); only where there is a single place do the two B(h) differ, which take half of B(h).
    """
    count = len(places)
    if count == 0:
        return []
    if count == 1 and variant != "vary_coeff":
        return [0.5 * (-h if variant == "bh1" else expm1(-h))]
    phi = np.array(_phi(count, -h))
    factorials = np.array([factorial(k + 1) for k in range(count)])
    powers = np.vander(places, count, increasing=True) / factorials
    if variant != "vary_coeff" or not correcting or count == 1:
        return np.linalg.solve(powers.T, phi).tolist()
    # The authors' code leaves parts of the sum out here, and images depend on it.
    inverse = np.linalg.inv(powers)
    return [*(phi[:-1] @ inverse[:-1, :-1]).tolist(), float(phi[-1] * inverse[-2, -1])]


def _phi(count: int, h: float) -> list[float]:
    """Remainders of the exponential series: the first is ``expm1(h) / h - 1``, each the next's start."""
    values: list[float] = []
    value = expm1(h)
    for k in range(1, count + 1):
        value = value / h - 1 / factorial(k)
        values.append(value)
    return values
