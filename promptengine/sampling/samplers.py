"""The samplers by name: their spellings, schedules and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from promptengine.request.options import Options
from promptengine.request.sampler_names import (
    SAMPLER_NAMES,
    choose_sampler,
)
from promptengine.sampling.algorithms.ddim import sample_ddim, sample_plms
from promptengine.sampling.algorithms.dpm import (
    sample_dpm2,
    sample_dpm2_ancestral,
    sample_dpm_adaptive,
    sample_dpm_fast,
)
from promptengine.sampling.algorithms.dpmpp import (
    sample_dpmpp_2m,
    sample_dpmpp_2m_sde,
    sample_dpmpp_2s_ancestral,
    sample_dpmpp_3m_sde,
    sample_dpmpp_sde,
)
from promptengine.sampling.algorithms.euler import (
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
    sample_lms,
    sample_restart,
)
from promptengine.sampling.algorithms.unipc import sample_unipc
from promptengine.sampling.schedulers import (
    SCHEDULERS,
    DiscreteSchedule,
    Scheduler,
    ddim_timesteps,
    without_penultimate,
)

__all__ = [
    "SAMPLERS",
    "Sampler",
    "SigmaSampler",
    "TimestepSampler",
    "find_sampler",
    "sampler_settings",
]

_OLD_KARRAS_RANGE = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class SigmaSampler:
    """A sampler whose schedule is sigmas and whose model answers with x0.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function, of the shape in ``samplers/shape.py``.
        settings: Its settings, and the fields of :class:`promptengine.request.options.Options` they come from.
        scheduler: The schedule type that the name stands for.
        chosen: Whether the schedule type was asked for beside the name.
        second_order: Whether prompt schedules count two calls a step.
        discards: Whether the last sigma but one is left out.
        brownian: Whether its noise is a Brownian motion's.
        spans: Whether it picks its own sigmas between the two ends.
        adaptive: Whether it does so by how wrong it finds its last step, which hangs on the last digits.
        delta_told: Whether WebUI writes ENSD into its infotexts.
    """

    name: str
    run: Callable[..., Tensor]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    scheduler: str = "uniform"
    chosen: bool = False
    second_order: bool = False
    discards: bool = False
    brownian: bool = False
    spans: bool = False
    adaptive: bool = False
    delta_told: bool = False

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other spellings that WebUI accepts."""
        return SAMPLER_NAMES[self.name]

    def schedule_type(self, options: Options) -> Scheduler:
        """The schedule type in force: one asked for, else the option's, else the name's."""
        if not self.chosen and options.schedule_type != "automatic":
            return SCHEDULERS[options.schedule_type]
        return SCHEDULERS[self.scheduler]

    def picks_schedule(self, options: Options) -> bool:
        """Whether the schedule type is one that the user chose; only these have settings."""
        return self.chosen or options.schedule_type != "automatic"

    def schedule(
        self, table: DiscreteSchedule, steps: int, options: Options | None = None
    ) -> Tensor:
        """Sigmas ``[steps + 1]``, high to low, ending in 0 (but see ``Scheduler.sigmas``)."""
        options = options or Options()
        scheduler = self.schedule_type(options)
        lowest = highest = rho = 0.0
        picked = self.picks_schedule(options)
        if options.old_karras_range and (picked or scheduler.name == "karras"):
            lowest, highest = _OLD_KARRAS_RANGE
        if picked:
            lowest, highest = options.sigma_min or lowest, options.sigma_max or highest
            rho = options.rho
        discards = self.discards or options.discard_penultimate
        sigmas = scheduler.sigmas(table, steps + discards, lowest=lowest, highest=highest, rho=rho)
        return without_penultimate(sigmas) if discards else sigmas


@dataclass(frozen=True, slots=True)
class TimestepSampler:
    """A sampler whose schedule is timesteps and whose model answers with the noise.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function, of the shape in ``samplers/shape.py``.
        settings: Its settings, and the fields of :class:`promptengine.request.options.Options` they come from.
        respaces: Whether it spaces its own times, from pure noise down.
        second_order: Never; here to be asked for.
    """

    name: str
    run: Callable[..., Tensor]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    respaces: bool = False
    second_order: bool = False

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other spellings that WebUI accepts."""
        return SAMPLER_NAMES[self.name]

    def schedule(
        self, table: DiscreteSchedule, steps: int, options: Options | None = None
    ) -> Tensor:
        """Integer timesteps, rising; no option changes them."""
        return ddim_timesteps(table, steps)


Sampler = SigmaSampler | TimestepSampler

_CHURN = {
    "churn": "churn",
    "churn_from": "churn_from",
    "churn_to": "churn_to",
    "noise_scale": "noise_scale",
}
_ETA = {"eta": "eta_ancestral"}
_SCALED = {"noise_scale": "noise_scale"}
_UNIPC = {
    "variant": "unipc_variant",
    "spacing": "unipc_spacing",
    "order": "unipc_order",
    "lower_order_final": "unipc_lower_order_final",
}

_2M = SigmaSampler("DPM++ 2M", sample_dpmpp_2m)
_SDE = SigmaSampler(
    "DPM++ SDE",
    sample_dpmpp_sde,
    _ETA | _SCALED,
    second_order=True,
    brownian=True,
)
_2M_SDE = SigmaSampler("DPM++ 2M SDE", sample_dpmpp_2m_sde, _ETA | _SCALED, brownian=True)
_2M_SDE_HEUN = replace(
    _2M_SDE,
    name="DPM++ 2M SDE Heun",
    run=partial(sample_dpmpp_2m_sde, heun=True),
)
_3M_SDE = SigmaSampler(
    "DPM++ 3M SDE",
    sample_dpmpp_3m_sde,
    _ETA | _SCALED,
    discards=True,
    brownian=True,
)
_LMS = SigmaSampler("LMS", sample_lms)
_DPM2 = SigmaSampler("DPM2", sample_dpm2, _CHURN, second_order=True, discards=True)
_DPM2_A = SigmaSampler(
    "DPM2 a",
    sample_dpm2_ancestral,
    _ETA | _SCALED,
    second_order=True,
    discards=True,
    delta_told=True,
)
_2S_A = SigmaSampler(
    "DPM++ 2S a",
    sample_dpmpp_2s_ancestral,
    _ETA | _SCALED,
    second_order=True,
    delta_told=True,
)


def _karras(sampler: SigmaSampler) -> SigmaSampler:
    return replace(sampler, name=f"{sampler.name} Karras", scheduler="karras")


def _exponential(sampler: SigmaSampler) -> SigmaSampler:
    return replace(sampler, name=f"{sampler.name} Exponential", scheduler="exponential")


SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        _karras(_2M),
        _karras(_SDE),
        _exponential(_2M_SDE),
        _karras(_2M_SDE),
        SigmaSampler(
            "Euler a",
            sample_euler_ancestral,
            _ETA,
            delta_told=True,
        ),
        SigmaSampler("Euler", sample_euler, _CHURN),
        _LMS,
        SigmaSampler("Heun", sample_heun, _CHURN, second_order=True),
        _DPM2,
        _DPM2_A,
        _2S_A,
        _2M,
        _SDE,
        _2M_SDE,
        _2M_SDE_HEUN,
        _karras(_2M_SDE_HEUN),
        _exponential(_2M_SDE_HEUN),
        _3M_SDE,
        _karras(_3M_SDE),
        _exponential(_3M_SDE),
        SigmaSampler(
            "DPM fast",
            sample_dpm_fast,
            _ETA | _SCALED,
            spans=True,
            delta_told=True,
        ),
        SigmaSampler(
            "DPM adaptive",
            sample_dpm_adaptive,
            _ETA,
            spans=True,
            adaptive=True,
            delta_told=True,
        ),
        _karras(_LMS),
        replace(_karras(_DPM2), delta_told=True),
        _karras(_DPM2_A),
        _karras(_2S_A),
        SigmaSampler("Restart", sample_restart, scheduler="karras", second_order=True),
        TimestepSampler("DDIM", sample_ddim, {"eta": "eta_ddim"}),
        TimestepSampler("PLMS", sample_plms),
        TimestepSampler("UniPC", sample_unipc, _UNIPC, respaces=True),
    )
}
"""Every sampler by its name, in WebUI's order."""


def sampler_settings(sampler: Sampler, options: Options) -> dict[str, Any]:
    """The settings of a sampler's stepping function, with their values."""
    return {name: getattr(options, own) for name, own in sampler.settings.items()}


def find_sampler(name: str, scheduler: str = "automatic") -> Sampler:
    """Look a sampler up, as :func:`promptengine.request.sampler_names.choose_sampler` does.

    Raises:
        RequestError: No such sampler or schedule type, or two different schedule types.
    """
    choice = choose_sampler(name, scheduler)
    found = SAMPLERS[choice.sampler]
    if choice.scheduler is None or isinstance(found, TimestepSampler):
        return found
    return replace(found, scheduler=choice.scheduler, chosen=True)
