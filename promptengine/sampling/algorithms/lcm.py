"""The sampler of latent consistency models."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from promptengine.sampling.algorithms.base import Denoise, OnStep, StepNoise

__all__ = ["sample_lcm"]


def sample_lcm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep
) -> Tensor:
    """Jump to x0 and back up to the next level by fresh noise (Luo et al., arXiv:2310.04378, alg. 3).

    Args:
        denoise: The model, answering as a consistency model does.
        x: Latents at the first sigma.
        sigmas: Falling.
        noise: Drawn from at each step that does not end at 0.
        on_step: Called after each step.
    """
    for step, (sigma, target) in enumerate(pairwise(sigmas), start=1):
        x = denoised = denoise(x, sigma)
        if target > 0:
            x = denoised + target * noise(sigma, target)
        on_step(step, denoised)
    return x
