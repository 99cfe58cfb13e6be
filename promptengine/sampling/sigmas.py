"""Which noise levels a sampler visits.

Tables are WebUI's (k-diffusion's for sigmas, CompVis' for timesteps), which differ from diffusers'
schedulers: sigmas are interpolated between trained levels, and the UNet is asked at non-integer
timesteps. What schedule types there are stands in :mod:`promptengine.request.schedulers`; the function of
each takes the table, the steps, the lowest and highest sigma, and rho, and gives ``[steps + 1]`` sigmas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.families import FAMILIES, Family

__all__ = [
    "DiscreteSchedule",
    "align_your_steps_sigmas",
    "beta_sigmas",
    "ddim_sigmas",
    "ddim_timesteps",
    "distilled_levels",
    "distilled_timestep",
    "exponential_sigmas",
    "karras_levels",
    "karras_sigmas",
    "kl_optimal_sigmas",
    "normal_sigmas",
    "polyexponential_sigmas",
    "scaled_linear_alphas",
    "sgm_uniform_sigmas",
    "simple_sigmas",
    "uniform_sigmas",
    "without_penultimate",
]

_DISTILLED_STRIDE = 20


def scaled_linear_alphas(start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> Tensor:
    """Cumulative alphas ``[steps]`` (float64) of the "scaled linear" schedule Stable Diffusion uses."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


@dataclass(frozen=True, eq=False)
class DiscreteSchedule:
    """The noise levels a model was trained on.

    Attributes:
        alphas_cumprod: ``[timesteps]``, falling from almost 1 to almost 0.
        family: Which family the model is of; tables of fixed levels depend on it.
    """

    alphas_cumprod: Tensor
    family: Family = "SD1"

    @cached_property
    def sigmas(self) -> Tensor:
        """``sqrt((1 - a) / a)`` for every timestep, rising, float32."""
        return self._native_sigmas.float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """Natural logarithm of ``sigmas``."""
        return self._native_sigmas.log().float()

    @property
    def _native_sigmas(self) -> Tensor:
        """Sigmas in float32, or in the alphas' own type where that is narrower."""
        sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        return sigmas.float() if sigmas.dtype == torch.float64 else sigmas

    @property
    def lowest(self) -> float:
        """The sigma of timestep 0."""
        return float(self.sigmas[0])

    @property
    def highest(self) -> float:
        """The sigma of the last timestep."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the (non-integer) timestep of each sigma, linear in log sigma, clamped to the table."""
        log_sigma = sigma.log().to(self.log_sigmas)
        last = len(self.log_sigmas) - 1
        high = torch.searchsorted(self.log_sigmas, log_sigma, right=True).clamp(1, last)
        low = high - 1
        below, above = self.log_sigmas[low], self.log_sigmas[high]
        fraction = ((log_sigma - below) / (above - below)).clamp(0, 1)
        return low + fraction

    def nearest_timestep(self, sigma: Tensor) -> Tensor:
        """Return the whole timestep whose log sigma is nearest to each sigma's, as float."""
        distance = (self.log_sigmas - sigma.log().to(self.log_sigmas).unsqueeze(-1)).abs()
        return distance.argmin(dim=-1).to(self.log_sigmas)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the sigma at each (non-integer) timestep; inverse of :meth:`timestep`."""
        low = timestep.floor().long()
        high = timestep.ceil().long()
        fraction = timestep - timestep.floor()
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], fraction).exp()

    def downcast(self) -> DiscreteSchedule:
        """Return the table as it is where alphas were rounded to float16, as early versions of WebUI did."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.half())

    def with_zero_terminal_snr(self) -> DiscreteSchedule:
        """Return the table stretched so that its end is pure noise (Lin et al., arXiv:2305.08891, alg. 1).

        The last alpha is a very small number instead of 0, so that sigmas stay finite.
        """
        roots = self.alphas_cumprod.double().sqrt()
        roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
        alphas = (roots**2).to(self.alphas_cumprod.dtype)
        alphas[-1] = 4.8973451890853435e-08
        return replace(self, alphas_cumprod=alphas)


def distilled_levels(table: DiscreteSchedule) -> DiscreteSchedule:
    """Return the fifty noise levels that latent consistency models know (Luo et al., arXiv:2310.04378).

    They are those of every twentieth timestep, from 19 on.
    """
    return replace(
        table, alphas_cumprod=table.alphas_cumprod[_DISTILLED_STRIDE - 1 :: _DISTILLED_STRIDE]
    )


def distilled_timestep(levels: DiscreteSchedule, sigma: Tensor) -> Tensor:
    """Return the timestep of the level that is nearest to each sigma in its logarithm, as float.

    Args:
        levels: As :func:`distilled_levels` gives them.
        sigma: Above 0.
    """
    return levels.nearest_timestep(sigma) * _DISTILLED_STRIDE + (_DISTILLED_STRIDE - 1)


def uniform_sigmas(
    table: DiscreteSchedule, steps: int, _: float = 0.0, __: float = 0.0, ___: float = 0.0
) -> Tensor:
    """``steps`` sigmas evenly spaced in timesteps, high to low, then 0: ``[steps + 1]``."""
    return _evenly_in_time(table, len(table.sigmas) - 1, 0, steps)


def karras_sigmas(
    table: DiscreteSchedule,
    steps: int,
    lowest: float | None = None,
    highest: float | None = None,
    rho: float = 7.0,
) -> Tensor:
    """Sigmas of Karras et al. (arXiv:2206.00364, eq. 5), then 0; by default over the model's range."""
    low = table.lowest if lowest is None else lowest
    high = table.highest if highest is None else highest
    return _ending_in_zero(karras_levels(steps, low, high, rho))


def karras_levels(count: int, lowest: float, highest: float, rho: float = 7.0) -> Tensor:
    """``count`` sigmas of Karras et al. from ``highest`` to ``lowest``, without a 0 behind them."""
    low, high = lowest ** (1 / rho), highest ** (1 / rho)
    return (high + torch.linspace(0, 1, count) * (low - high)) ** rho


def exponential_sigmas(
    _: DiscreteSchedule, steps: int, lowest: float, highest: float, __: float
) -> Tensor:
    """Sigmas evenly spaced in their logarithm."""
    return _ending_in_zero(torch.linspace(math.log(highest), math.log(lowest), steps).exp())


def polyexponential_sigmas(
    _: DiscreteSchedule, steps: int, lowest: float, highest: float, rho: float
) -> Tensor:
    """Return the same, bent by ``rho``."""
    ramp = torch.linspace(1, 0, steps) ** rho
    bottom, top = math.log(lowest), math.log(highest)
    return _ending_in_zero((ramp * (top - bottom) + bottom).exp())


def normal_sigmas(
    table: DiscreteSchedule, steps: int, lowest: float, highest: float, _: float
) -> Tensor:
    """Sigmas evenly spaced in timesteps, between the two ends."""
    start, end = _times(table, lowest, highest)
    return _evenly_in_time(table, start, end, steps)


def sgm_uniform_sigmas(
    table: DiscreteSchedule, steps: int, lowest: float, highest: float, _: float
) -> Tensor:
    """As Stability's generative models space them: the lowest level is left out."""
    start, end = _times(table, lowest, highest)
    return _ending_in_zero(table.sigma(torch.linspace(start, end, steps + 1)[:-1]))


def simple_sigmas(table: DiscreteSchedule, steps: int, _: float, __: float, ___: float) -> Tensor:
    """Return every n-th trained level, from the highest."""
    stride = len(table.sigmas) / steps
    return _ending_in_zero(table.sigmas[[-1 - int(step * stride) for step in range(steps)]])


def ddim_sigmas(table: DiscreteSchedule, steps: int, _: float, __: float, ___: float) -> Tensor:
    """DDIM's levels; where the steps do not divide the table there is one more, or several."""
    stride = max(len(table.sigmas) // steps, 1)
    return _ending_in_zero(table.sigmas[1::stride].flip(0))


def kl_optimal_sigmas(
    _: DiscreteSchedule, steps: int, lowest: float, highest: float, __: float
) -> Tensor:
    """Return the levels of least error for data of unit variance (Sabour et al., arXiv:2404.14507, th. 3.1).

    They end at the lowest level and not at 0, as in WebUI. The noise of SDE samplers hangs on the last
    digits of sigmas, which are WebUI's where the two ends are weighed in float32.
    """
    share = torch.arange(steps + 1) / steps
    low, high = torch.tensor([lowest, highest]).atan()
    return (share * low + (1 - share) * high).tan()


def align_your_steps_sigmas(
    table: DiscreteSchedule, steps: int, _: float, __: float, ___: float
) -> Tensor:
    """Return the optimized levels of Sabour et al. (arXiv:2404.14507), interpolated in log sigma."""
    levels = np.array(FAMILIES[table.family].aligned_sigmas)
    # From the lowest level up: a single step is at the lowest, as in WebUI.
    places = np.linspace(0, 1, steps), np.linspace(0, 1, len(levels))
    sigmas = np.exp(np.interp(*places, np.log(levels[::-1])))[::-1]
    return _ending_in_zero(torch.from_numpy(sigmas.copy()).float())


def beta_sigmas(
    _: DiscreteSchedule,
    steps: int,
    lowest: float,
    highest: float,
    __: float,
    *,
    alpha: float = 0.6,
    beta: float = 0.6,
) -> Tensor:
    """Quantiles of a Beta distribution (Lee et al., arXiv:2407.12173), spread over the sigmas.

    Args:
        steps: 1 or more.
        lowest: Where the distribution's 0 lies.
        highest: Where its 1 lies.
        alpha: Its first shape parameter, above 0.
        beta: Its second.
    """
    shares = 1 - np.linspace(0, 1, steps)
    quantiles = torch.from_numpy(_beta_quantiles(shares, alpha, beta)).float()
    return _ending_in_zero(lowest + quantiles * (highest - lowest))


def _beta_quantiles(shares: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Quantiles of a Beta distribution, for shares from 0 to 1."""
    low_half, low_mass = _beta_half(alpha, beta)
    high_half, high_mass = _beta_half(beta, alpha)
    wanted = shares * (low_mass[-1] + high_mass[-1])
    low = np.interp(wanted, low_mass, low_half) ** (1 / alpha)
    high = np.interp(low_mass[-1] + high_mass[-1] - wanted, high_mass, high_half) ** (1 / beta)
    return np.where(wanted <= low_mass[-1], low, 1 - high)


def _beta_half(alpha: float, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower half of a Beta distribution: ``x**alpha`` for x from 0 to 1/2, and the mass below.

    In ``x**alpha`` the density has no pole at 0, so the trapezoid rule is exact to 1e-7 on this grid.
    """
    v = np.linspace(0, 0.5**alpha, 20_001)
    density = (1 - v ** (1 / alpha)) ** (beta - 1) / alpha
    steps = (density[1:] + density[:-1]) * (v[1] / 2)
    return v, np.concatenate([[0.0], np.cumsum(steps)])


def _times(table: DiscreteSchedule, lowest: float, highest: float) -> tuple[float, float]:
    start, end = table.timestep(torch.tensor([highest, lowest])).tolist()
    return start, end


def _evenly_in_time(table: DiscreteSchedule, start: float, end: float, steps: int) -> Tensor:
    return _ending_in_zero(table.sigma(torch.linspace(start, end, steps)))


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def without_penultimate(sigmas: Tensor) -> Tensor:
    """Leave the last sigma but one out; for n steps build n + 1 first."""
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def ddim_timesteps(table: DiscreteSchedule, steps: int) -> Tensor:
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
