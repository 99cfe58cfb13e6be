"""Samplers over timesteps: DDIM, DDIM CFG++ and PLMS. UniPC has a file of its own.

They walk from the last of the rising timesteps to the second: n of them give n - 1 updates, and the
result stays at the first one's noise level, as in WebUI.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from promptengine.sampling.algorithms.base import Draw, OnStep, Predict

__all__ = ["sample_ddim", "sample_plms"]


def sample_ddim(
    predict: Predict,
    x: Tensor,
    timesteps: Tensor,
    *,
    alphas: Tensor,
    noise: Draw,
    on_step: OnStep,
    eta: float = 0.0,
    unguided: Callable[[], Tensor] | None = None,
) -> Tensor:
    """DDIM (Song et al., arXiv:2010.02502, eq. 12), down to the lowest timestep.

    Args:
        predict: The model.
        x: Latents at the last timestep.
        timesteps: Rising integers.
        alphas: Cumulative alphas of all trained timesteps, in half precision where they are downcast.
        noise: Drawn from at each step once ``eta`` is above 0.
        on_step: Called after each step.
        eta: Fresh noise: 0 none, 1 as much as DDPM.
        unguided: The noise that the model predicted without guidance in its last call. Where it is
            given, steps lead back towards it (CFG++, Chung et al., arXiv:2406.08070).
    """
    for step, index in enumerate(range(len(timesteps) - 1, 0, -1), start=1):
        epsilon = predict(x, timesteps[index])
        alpha, target = alphas[timesteps[index]].to(x), alphas[timesteps[index - 1]].to(x)
        spread = _noise_share(alphas[timesteps[index]]).to(x)
        denoised = (x - spread * epsilon) / alpha.sqrt()
        up = eta * ((1 - target) / (1 - alpha) * (1 - alpha / target)).sqrt()
        back = epsilon if unguided is None else unguided()
        x = target.sqrt() * denoised + (1 - target - up**2).sqrt() * back
        if eta > 0:
            x = x + up * noise()
        on_step(step, denoised)
    return x


def sample_plms(
    predict: Predict, x: Tensor, timesteps: Tensor, *, alphas: Tensor, noise: Draw, on_step: OnStep
) -> Tensor:
    """Pseudo linear multistep (Liu et al., arXiv:2202.09778): DDIM with the slopes of steps before.

    The first step asks the model twice, as an improved Euler step.
    """
    before: list[Tensor] = []
    for step, index in enumerate(range(len(timesteps) - 1, 0, -1), start=1):
        alpha, target = alphas[timesteps[index]], alphas[timesteps[index - 1]].to(x)
        epsilon = predict(x, timesteps[index])
        if before:
            weights = _MULTISTEP[len(before)]
            known = zip(weights, [epsilon, *before], strict=True)
            slope = sum((weight * one for weight, one in known), start=0 * epsilon)
        else:
            there, _ = _moved(x, epsilon, alpha, target)
            slope = (epsilon + predict(there, timesteps[index - 1])) / 2
        x, denoised = _moved(x, slope, alpha, target)
        before = [epsilon, *before[:2]]
        on_step(step, denoised)
    return x


_MULTISTEP = {
    1: (3 / 2, -1 / 2),
    2: (23 / 12, -16 / 12, 5 / 12),
    3: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Adams and Bashforth's weights by the number of steps before, the newest slope first."""


def _moved(x: Tensor, epsilon: Tensor, alpha: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return a DDIM step without noise: latents at ``target``, and x0."""
    denoised = (x - _noise_share(alpha).to(x) * epsilon) / alpha.to(x).sqrt()
    return target.sqrt() * denoised + (1 - target).sqrt() * epsilon, denoised


def _noise_share(alpha: Tensor) -> Tensor:
    """Return how much of latents is noise, in the precision of the alphas: half where these are downcast."""
    return (1 - alpha).sqrt()
