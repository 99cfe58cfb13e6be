"""The shape that all samplers share, and the pieces that several of them use.

A sampler over sigmas is ``f(denoise, x, sigmas, *, noise, on_step, …) -> latents``; one over timesteps is
``f(predict, x, timesteps, *, alphas, noise, on_step, …) -> latents``. What stands for ``…`` are settings
of its own, all with the defaults of their authors. ``sigma`` is a 0-d tensor throughout.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "Denoise",
    "Draw",
    "OnStep",
    "Predict",
    "StepNoise",
    "ancestral_split",
    "derivative",
    "log_distance",
]

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(x, sigma) -> x0``; x and x0 ``[batch, channels, height, width]``."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""``(x, timestep) -> noise``, shaped alike."""

StepNoise = Callable[[Tensor, Tensor], Tensor]
"""``(sigma, target) -> noise`` for the step between them: standard normal, shaped like the latents."""

Draw = Callable[[], Tensor]
"""Fresh standard normal noise, shaped like the latents."""

OnStep = Callable[[int, Tensor], None]
"""Called after every step with the steps done and the current x0."""


def derivative(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """``dx / dsigma`` of the probability-flow ODE (Karras et al., arXiv:2206.00364, eq. 3)."""
    return (x - denoised) / sigma


def ancestral_split(sigma: Tensor, target: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Split ``target`` into the sigma to step down to and the noise that leads back up.

    ``eta`` 1 adds as much noise as ancestral sampling does, 0 none.
    """
    up = eta * (target**2 * (sigma**2 - target**2) / sigma**2).sqrt()
    up = torch.minimum(target, up)
    return (target**2 - up**2).sqrt(), up


def log_distance(sigma: Tensor, target: Tensor) -> Tensor:
    """Return how far a step leads in ``-log sigma``, the time of the DPM-Solvers; above 0 going down."""
    return sigma.log() - target.log()
