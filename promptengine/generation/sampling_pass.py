"""One sampling pass: from latents at a schedule's first level to its last.

Text to image is a pass from pure noise over a whole schedule; what starts from an image or from a
smaller image is a pass over the end of one, from latents with noise on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from promptengine.generation.cfg_denoiser import CFGDenoiser
from promptengine.generation.model_switch import (
    ModelSwitch,
    share_of_sigma,
    share_of_timestep,
)
from promptengine.request.options import Options
from promptengine.request.samplers import Sampler, SigmaSampler, sampler_settings
from promptengine.sampling.algorithms.base import Denoise, OnStep, Predict, StepNoise
from promptengine.sampling.brownian import brownian_noise
from promptengine.sampling.noise import ImageNoise
from promptengine.sampling.parameterization import consistent, denoised_from, noise_from
from promptengine.sampling.sigmas import DiscreteSchedule, distilled_timestep

__all__ = ["Blend", "SoftBlend", "first_latents", "noise_table", "run_pass"]

_NOT_ZERO: Final = 1e-5
"""Added to a length that is divided by."""


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """A part of latents that stays as it was.

    Attributes:
        start: The latents, without noise ``[images, channels, height, width]``.
        mask: ``[1, height, width]``, 1 where they may change, 0 where they stay.
    """

    start: Tensor
    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Put what stays into the finished ``x``, shaped like ``start``."""
        return x * self.mask + self.start * (1 - self.mask)

    def at(self, x: Tensor, level: Tensor) -> Tensor:
        """Put what stays into ``x`` in a call of the denoiser.

        Args:
            x: Shaped like ``start``: x0 of samplers over sigmas, what the model is to see of others.
            level: The call's sigma, or timestep.
        """
        return self(x)


@dataclass(frozen=True, slots=True, eq=False)
class SoftBlend(Blend):
    """A part of latents that stays by degrees: WebUI's soft inpainting.

    The less noise is left, the less the original holds where the mask is gray. What was painted is left
    as it is in the end; the original comes back only as it is laid over the image.

    Attributes:
        bias: What the level is raised to.
        strength: What the result is multiplied by; the mask is raised to that.
        boost: Power mean of both lengths that the mix of two latents gets.
    """

    bias: float
    strength: float
    boost: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` as it is."""
        return x

    def at(self, x: Tensor, level: Tensor) -> Tensor:
        """Mix ``x`` with what stays; the mix is as long over the channels as the two were."""
        share = self.mask ** (level.to(x) ** self.bias * self.strength)
        mixed = self.start * (1 - share) + x * share
        # In float64, since powers of long latents leave float32's range.
        old, new = (_lengths(one).double() ** self.boost for one in (self.start, x))
        wanted = (old * (1 - share) + new * share) ** (1 / self.boost)
        return mixed * (wanted / (_lengths(mixed) + _NOT_ZERO)).to(x)


def _lengths(x: Tensor) -> Tensor:
    """Return the Euclidean norm over the channels, ``[images, 1, height, width]``."""
    return x.norm(dim=1, keepdim=True)


def noise_table(table: DiscreteSchedule, options: Options) -> DiscreteSchedule:
    """Return the model's noise levels as the options want them."""
    if options.downcast_alphas:
        table = table.downcast()
    if options.noise_schedule == "zero_terminal_snr":
        table = table.with_zero_terminal_snr()
    return table


def first_latents(
    sampler: Sampler, schedule: Tensor, noise: ImageNoise, options: Options
) -> Tensor:
    """Pure noise as a sampler starts from it ``[images, channels, height, width]``, float32."""
    x = noise.first()
    if not isinstance(sampler, SigmaSampler):
        return x
    sigma = schedule[0].to(x)
    return x * ((1 + sigma**2).sqrt() if options.sgm_noise else sigma)


def run_pass(
    sampler: Sampler,
    model: CFGDenoiser,
    table: DiscreteSchedule,
    x: Tensor,
    schedule: Tensor,
    *,
    noise: ImageNoise,
    options: Options,
    on_step: OnStep,
    part: Tensor | None = None,
    blend: Blend | None = None,
    switch: ModelSwitch | None = None,
) -> Tensor:
    """Sample.

    Args:
        sampler: Which sampler.
        model: The guided UNet; its call counter starts where it stands.
        table: The noise levels, as :func:`noise_table` gives them.
        x: Latents at the first level to visit (the last of rising timesteps), float32.
        schedule: All levels, as ``sampler.schedule`` gives them.
        noise: Where noise comes from; its first draw has been taken.
        options: What the sampler's settings are read from.
        on_step: Called after each step; may raise to stop.
        part: The levels to visit, where these are only the end of ``schedule``.
        blend: What stays as it was. As in WebUI, samplers over sigmas see it in every x0; samplers
            over timesteps show it to the model and step on without it.
        switch: The change to a refiner on the way, if any; the sampler goes on as it was.

    Returns:
        Latents ``[images, channels, height, width]``, float32.
    """
    levels = (schedule if part is None else part).to(x.device)
    settings = sampler_settings(sampler, options)
    if isinstance(sampler, SigmaSampler):
        if sampler.spans and part is None:
            settings["span"] = table.lowest, table.highest
        return sampler.run(
            _denoiser(
                sampler, model, table, blend, quantized=options.quantize_timesteps, switch=switch
            ),
            x,
            levels,
            noise=_step_noise(sampler, schedule, noise, options),
            on_step=on_step,
            **settings,
        )
    alphas = table.alphas_cumprod.to(x.device)
    if alphas.dtype != torch.float16:
        alphas = alphas.to(x)
    if sampler.respaces:
        settings["whole"] = part is None
    if sampler.renoises:
        settings["unguided"] = lambda: model.unconditional
    return sampler.run(
        _predictor(model, alphas, blend, switch),
        x,
        levels,
        alphas=alphas,
        noise=noise.draw,
        on_step=on_step,
        **settings,
    )


def _predictor(
    model: CFGDenoiser, alphas: Tensor, blend: Blend | None, switch: ModelSwitch | None
) -> Predict:
    """Return the guided UNet as a function of a timestep that answers with noise."""

    def predict(x: Tensor, timestep: Tensor) -> Tensor:
        if switch is not None:
            switch.changed(model, lambda: share_of_timestep(timestep))
        seen = x if blend is None else blend.at(x, timestep)
        alpha = alphas[timestep.long()].to(x)
        return model(
            seen,
            timestep,
            level=timestep,
            reading=lambda output: noise_from(model.prediction, output, seen, alpha),
        )

    return predict


def _denoiser(
    sampler: SigmaSampler,
    model: CFGDenoiser,
    table: DiscreteSchedule,
    blend: Blend | None,
    *,
    quantized: bool,
    switch: ModelSwitch | None,
) -> Denoise:
    """Return the guided UNet as a function of sigma that answers with x0."""
    levels = sampler.levels(table)

    def take_over(switch: ModelSwitch, sigma: Tensor) -> None:
        nonlocal levels
        changed = switch.changed(model, lambda: share_of_sigma(levels.sigmas, sigma))
        levels = levels if changed is None else sampler.levels(changed)

    def timestep_at(sigma: Tensor) -> Tensor:
        if sampler.distilled:
            return distilled_timestep(levels, sigma)
        return levels.nearest_timestep(sigma) if quantized else levels.timestep(sigma)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if switch is not None:
            take_over(switch, sigma.cpu())
        timestep = timestep_at(sigma.cpu()).to(x.device)

        def read(output: Tensor) -> Tensor:
            denoised = denoised_from(model.prediction, output, x, sigma)
            return consistent(denoised, x, timestep) if sampler.distilled else denoised

        denoised = model(x * (1 / (sigma**2 + 1).sqrt()), timestep, level=sigma, reading=read)
        return denoised if blend is None else blend.at(denoised, sigma)

    return denoise


def _step_noise(
    sampler: SigmaSampler, schedule: Tensor, noise: ImageNoise, options: Options
) -> StepNoise:
    """Return the noise of a sampler's steps: along a Brownian path, or drawn afresh for each."""
    if sampler.brownian:
        return brownian_noise(
            schedule,
            noise.seeding,
            noise.shape,
            noise.device,
            per_batch=options.sde_noise_per_batch,
        )

    def draw(_sigma: Tensor, _target: Tensor) -> Tensor:
        return noise.draw()

    return draw
