"""Which noise levels a sampler visits.

Tables are WebUI's (k-diffusion's for sigmas, CompVis' for timesteps), which differ from diffusers'
schedulers: sigmas are interpolated between trained levels, and the UNet is asked at non-integer
timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from promptengine.errors import RequestError

__all__ = [
    "NoiseTable",
    "ddim_timesteps",
    "karras_sigmas",
    "scaled_linear_alphas",
    "uniform_sigmas",
]


def scaled_linear_alphas(start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> Tensor:
    """Cumulative alphas ``[steps]`` (float64) of the "scaled linear" schedule Stable Diffusion uses."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """The noise levels a model was trained on.

    Attributes:
        alphas_cumprod: ``[timesteps]``, falling from almost 1 to almost 0.
    """

    alphas_cumprod: Tensor

    @cached_property
    def sigmas(self) -> Tensor:
        """``sqrt((1 - a) / a)`` for every timestep, rising, float32."""
        return (((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5).float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """Natural logarithm of ``sigmas``."""
        return self.sigmas.log()

    def timestep(self, sigma: Tensor) -> Tensor:
        """The (non-integer) timestep of each sigma, linear in log sigma, clamped to the table."""
        log_sigma = sigma.log().to(self.log_sigmas)
        high = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        low = high - 1
        below, above = self.log_sigmas[low], self.log_sigmas[high]
        fraction = ((log_sigma - below) / (above - below)).clamp(0, 1)
        return low + fraction

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigma at each (non-integer) timestep; inverse of :meth:`timestep`."""
        low = timestep.floor().long()
        high = timestep.ceil().long()
        fraction = timestep - timestep.floor()
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], fraction).exp()


def uniform_sigmas(table: NoiseTable, steps: int) -> Tensor:
    """``steps`` sigmas evenly spaced in timesteps, high to low, then 0: ``[steps + 1]``."""
    last = len(table.sigmas) - 1
    return _ending_in_zero(table.sigma(torch.linspace(last, 0, steps)))


def karras_sigmas(table: NoiseTable, steps: int, *, rho: float = 7.0) -> Tensor:
    """Sigmas of Karras et al. (arXiv:2206.00364, eq. 5) over the model's own range, then 0."""
    lowest, highest = table.sigmas[0] ** (1 / rho), table.sigmas[-1] ** (1 / rho)
    ramp = torch.linspace(0, 1, steps)
    return _ending_in_zero((highest + ramp * (lowest - highest)) ** rho)


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def ddim_timesteps(table: NoiseTable, steps: int) -> Tensor:
    """Timesteps for DDIM and its kin, rising: every ``1000 // steps``-th, from 1.

    As in WebUI there may be more than ``steps`` of them where ``steps`` does not divide 1000.

    Raises:
        RequestError: More steps than trained timesteps.
    """
    trained = len(table.alphas_cumprod)
    if steps > trained:
        message = f"this sampler takes at most {trained} steps, not {steps}"
        raise RequestError(message, field="steps")
    return (torch.arange(0, trained, trained // steps) + 1).clamp(0, trained - 1)
