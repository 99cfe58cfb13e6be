"""Ralston's method as a sampler: all that a plugin needs, in one file.

After ``pip install ./examples/plugin`` the sampler stands in every list::

    promptengine txt2img "a red house" --sampler Ralston
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from promptengine.request.samplers import SigmaSampler

if TYPE_CHECKING:
    from torch import Tensor

    from promptengine.sampling.algorithms.base import Denoise, OnStep, StepNoise

__all__ = ["RALSTON", "sample_ralston"]


def sample_ralston(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep
) -> Tensor:
    """Take steps of the second-order Runge-Kutta method whose error is bounded best (Ralston, 1962)."""
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        denoised = denoise(x, sigma)
        slope = (x - denoised) / sigma
        if target > 0:
            middle = sigma + (target - sigma) * 2 / 3
            there = x + slope * (middle - sigma)
            slope = slope / 4 + (there - denoise(there, middle)) / middle * 3 / 4
        x = x + slope * (target - sigma)
        on_step(step, denoised)
    return x


RALSTON = SigmaSampler("Ralston", sample_ralston, aliases=("k_ralston",), second_order=True)
