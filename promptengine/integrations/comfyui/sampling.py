"""WebUI's samplers, noise and schedules as ComfyUI's SAMPLER, NOISE and SIGMAS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.integrations.comfyui.levels import WebUILevels
from promptengine.request.options import Options
from promptengine.request.samplers import (
    Sampler,
    SigmaSampler,
    TimestepSampler,
    sampler_settings,
)
from promptengine.sampling.algorithms.base import OnStep, StepNoise
from promptengine.sampling.brownian import brownian_noise
from promptengine.sampling.img2img_steps import sigmas_for, steps_for_strength
from promptengine.sampling.noise import ImageNoise, Seeding
from promptengine.sampling.parameterization import consistent
from promptengine.sampling.sigmas import DiscreteSchedule, distilled_timestep

__all__ = ["SamplerRun", "WebUINoise", "plan_run"]


@dataclass(frozen=True, slots=True)
class WebUINoise:
    """NOISE: for each image of a batch that of its own seed, as in WebUI.

    Attributes:
        seed: Of the first image; the next has the next, or the same where there is a variation.
        variation_seed: Of the first image; the next has the next.
        strength: How far the noise moves towards that of the variation seed, 0 to 1.
        options: Who draws.
    """

    seed: int
    variation_seed: int
    strength: float
    options: Options

    def generate_noise(self, input_latent: Mapping[str, Any]) -> Tensor:
        """Return noise for latents, on the CPU.

        Args:
            input_latent: ComfyUI's LATENT; its ``samples`` are ``[images, channels, height, width]``.

        Raises:
            PromptEngineError: They are of another shape, as those of videos.
        """
        samples: Tensor = input_latent["samples"]
        return _image_noise(samples, self.seed, self.options, noise=self).first()


def _image_noise(
    x: Tensor,
    seed: int,
    options: Options,
    *,
    noise: WebUINoise | None = None,
    varies: bool = False,
) -> ImageNoise:
    if x.ndim != 4:
        message = f"latents must be [images, channels, height, width] (got {list(x.shape)})"
        raise PromptEngineError(message)
    numbers = range(len(x))
    varies = varies or (noise is not None and noise.strength > 0)
    seeding = Seeding(
        # With a variation images differ by its seed alone, as in WebUI.
        seeds=tuple(seed if varies else seed + number for number in numbers),
        delta=options.noise_seed_delta,
        source=options.noise_source,
    )
    if noise is not None and noise.strength > 0:
        others = tuple(noise.variation_seed + number for number in numbers)
        seeding = replace(seeding, variation_seeds=others, strength=noise.strength)
    _, channels, height, width = x.shape
    return ImageNoise(seeding, (channels, height, width), torch.device("cpu"))


@dataclass(frozen=True, slots=True, eq=False)
class SamplerRun:
    """A sampler of WebUI's with its settings, as the function within a SAMPLER.

    Attributes:
        sampler: Which one.
        steps: As asked for.
        options: What its settings are read from.
        levels: The model's noise levels, as far as the sampler knows them.
        schedule: Its whole schedule: sigmas, or rising timesteps.
        sigmas: What it walks of it, as SIGMAS.
        denoise: Denoising strength, above 0 to 1; below 1 it starts from latents.
        varies: Whether the images of a batch have one seed and variations of their own.
    """

    sampler: Sampler
    steps: int
    options: Options
    levels: DiscreteSchedule
    schedule: Tensor
    sigmas: Tensor
    denoise: float
    varies: bool = False

    @property
    def calls(self) -> int:
        """How many calls prompt schedules count."""
        return self.steps * (2 if self.sampler.second_order else 1)

    def __call__(  # noqa: PLR0917 - ComfyUI calls it so
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Mapping[str, Any]], None] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        """Sample.

        Args:
            model: ComfyUI's model of x0.
            x: Latents at the first sigma.
            sigmas: The levels to visit, high to low.
            extra_args: What the model is called with; its ``seed`` is that of the first image.
            callback: Called after each step.
            disable: Whether to show no progress; there is none to show here.

        Raises:
            PromptEngineError: The model has not gone through the node that made this sampler.
        """
        levels = model.inner_model.inner_model.model_sampling
        if not isinstance(levels, WebUILevels):
            message = "the SAMPLER of WebUI Sampler needs the MODEL that the same node gives"
            raise PromptEngineError(f"{message}; connect that one to the guider")
        extra = dict(extra_args or {})
        seed = int(extra.get("seed") or 0)
        noise = _image_noise(x, seed, self.options, varies=self.varies)
        noise.first()
        run = _Run(self, model, levels, extra, noise, _told(callback, sigmas))
        if isinstance(self.sampler, SigmaSampler):
            return run.over_sigmas(self.sampler, x, sigmas)
        return run.over_timesteps(self.sampler, x, sigmas)


def _told(callback: Callable[[Mapping[str, Any]], None] | None, sigmas: Tensor) -> OnStep:
    def on_step(step: int, denoised: Tensor) -> None:
        if callback is not None:
            level = sigmas[min(step, len(sigmas)) - 1]
            told = {"i": step - 1, "x": denoised, "denoised": denoised}
            callback({**told, "sigma": level, "sigma_hat": level})

    return on_step


@dataclass(slots=True, eq=False)
class _Run:
    """One run of a sampler.

    Attributes:
        plan: The sampler.
        model: ComfyUI's model of x0.
        levels: Its noise levels, ours.
        extra: What it is called with.
        noise: Noise of the steps; the first draw has been taken.
        on_step: Called after each step.
        unguided: x0 of the negative prompt in the last call, where it is wanted.
    """

    plan: SamplerRun
    model: Any
    levels: WebUILevels
    extra: dict[str, Any]
    noise: ImageNoise
    on_step: OnStep
    unguided: Tensor | None = None

    def over_sigmas(self, sampler: SigmaSampler, x: Tensor, sigmas: Tensor) -> Tensor:
        """Walk down sigmas."""
        plan = self.plan
        settings = sampler_settings(sampler, plan.options)
        own = len(sigmas) <= len(plan.schedule) and torch.allclose(
            sigmas.cpu(), plan.schedule[len(plan.schedule) - len(sigmas) :]
        )
        if sampler.spans and own and len(sigmas) == len(plan.schedule):
            settings["span"] = plan.levels.lowest, plan.levels.highest
        whole = plan.schedule if own else sigmas.cpu()

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self._denoised(sampler, x, sigma)

        return sampler.run(
            denoise,
            x,
            sigmas,
            noise=self._step_noise(sampler, whole, x),
            on_step=self.on_step,
            **settings,
        )

    def _denoised(self, sampler: SigmaSampler, x: Tensor, sigma: Tensor) -> Tensor:
        if not sampler.distilled:
            return self._ask(x, sigma)
        timestep = distilled_timestep(self.plan.levels, sigma.cpu())
        with self.levels.asking(timestep):
            return consistent(self._ask(x, sigma), x, timestep.to(x.device))

    def _ask(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.model(x, sigma.to(x) * x.new_ones(len(x)), **self.extra)

    def _step_noise(self, sampler: SigmaSampler, whole: Tensor, x: Tensor) -> StepNoise:
        if sampler.brownian:
            return brownian_noise(whole, self.noise.seeding, self.noise.shape, x.device)
        return lambda _sigma, _target: self.noise.draw().to(x)

    def over_timesteps(self, sampler: TimestepSampler, x: Tensor, sigmas: Tensor) -> Tensor:
        """Walk down timesteps, in latents of variance 1 as WebUI does."""
        table = self.levels.webui_table
        alphas = table.alphas_cumprod.to(x)
        whole = self.plan.denoise == 1 and not bool(self.model.latent_image.any())
        settings = sampler_settings(sampler, self.plan.options)
        if sampler.respaces:
            settings["whole"] = whole
        if sampler.renoises:
            self._watch_unguided(sampler)
            settings["unguided"] = lambda: self.unguided
        levels = sigmas[:-1] if self.plan.denoise == 1 else sigmas[1:-1]
        timesteps = table.nearest_timestep(levels.cpu()).long().flip(0).to(x.device)
        first = sigmas[0].to(x)

        def predict(x: Tensor, timestep: Tensor) -> Tensor:
            return self._predicted(x, timestep, table)

        return sampler.run(
            predict,
            x / (first if whole else (1 + first**2).sqrt()),
            timesteps,
            alphas=alphas,
            noise=lambda: self.noise.draw().to(x),
            on_step=self.on_step,
            **settings,
        )

    def _predicted(self, x: Tensor, timestep: Tensor, table: DiscreteSchedule) -> Tensor:
        """Return the noise in ``x``, whose variance is 1; ComfyUI's is ``1 + sigma**2``."""
        sigma = table.sigma(timestep.cpu().clamp(0, len(table.sigmas) - 1)).to(x)
        scaled = x * (1 + sigma**2).sqrt()
        with self.levels.asking(timestep.cpu().float()):
            denoised = self._ask(scaled, sigma)
        if self.unguided is not None:
            self.unguided = (scaled - self.unguided) / sigma
        return (scaled - denoised) / sigma

    def _watch_unguided(self, sampler: TimestepSampler) -> None:
        """Divide the CFG scale by the sampler's unit, and keep what the negative prompt alone predicts."""

        def after(told: Mapping[str, Any]) -> Tensor:
            self.unguided = told["uncond_denoised"]
            return self.unguided + (told["denoised"] - self.unguided) / sampler.guidance_unit

        options = dict(self.extra.get("model_options") or {})
        options["sampler_post_cfg_function"] = [
            *options.get("sampler_post_cfg_function", []),
            after,
        ]
        options["disable_cfg1_optimization"] = True
        self.extra["model_options"] = options


def plan_run(
    sampler: Sampler,
    table: DiscreteSchedule,
    steps: int,
    options: Options,
    denoise: float = 1.0,
    *,
    varies: bool = False,
) -> SamplerRun:
    """Work out what a sampler walks.

    Args:
        sampler: Which one, with the schedule type in force.
        table: The model's noise levels.
        steps: 1 or more.
        options: The sampler's settings.
        denoise: Denoising strength, above 0 to 1.
        varies: Whether the images of a batch have one seed and variations of their own.

    Raises:
        PromptEngineError: So low a strength that nothing is walked, or more steps than the sampler takes.
    """
    schedule = sampler.schedule(table, steps, options)
    over_sigmas = isinstance(sampler, SigmaSampler)
    levels = sampler.levels(table) if over_sigmas else table
    part, joined = schedule, schedule[:0]
    if denoise < 1:
        walk = steps_for_strength(steps, denoise)
        part = sigmas_for(sampler, schedule, walk)
        joined = schedule[walk.last : walk.last + 1]
    if not over_sigmas:
        if len(part) < 2:
            message = f"denoise {denoise:g} of {steps} steps leaves {sampler.name} nothing to do"
            raise PromptEngineError(f"{message}; raise one of them")
        sigmas = table.sigma(torch.cat([part, joined]).flip(0).float())
        part = torch.cat([sigmas, sigmas.new_zeros(1)])
    return SamplerRun(sampler, steps, options, levels, schedule, part, denoise, varies)
