"""The samplers by name: their spellings, schedules and settings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from promptengine.diffusion.samplers.dpm import (
    sample_dpm2,
    sample_dpm2_ancestral,
    sample_dpm_adaptive,
    sample_dpm_fast,
)
from promptengine.diffusion.samplers.dpmpp import (
    sample_dpmpp_2m,
    sample_dpmpp_2m_sde,
    sample_dpmpp_2s_ancestral,
    sample_dpmpp_3m_sde,
    sample_dpmpp_sde,
)
from promptengine.diffusion.samplers.euler import (
    sample_euler,
    sample_euler_ancestral,
    sample_heun,
    sample_lms,
    sample_restart,
)
from promptengine.diffusion.samplers.timesteps import sample_ddim, sample_plms
from promptengine.diffusion.samplers.unipc import sample_unipc
from promptengine.diffusion.schedules import (
    SCHEDULERS,
    NoiseTable,
    Scheduler,
    ddim_timesteps,
    find_scheduler,
    spellings,
    without_penultimate,
)
from promptengine.errors import RequestError
from promptengine.options import Options

__all__ = ["SAMPLERS", "Sampler", "SigmaSampler", "TimestepSampler", "find_sampler", "settings_of"]

_OLD_KARRAS_RANGE = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class SigmaSampler:
    """A sampler whose schedule is sigmas and whose model answers with x0.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        aliases: Other spellings that WebUI accepts.
        run: The stepping function, of the shape in ``samplers/shape.py``.
        settings: Its settings, and the fields of :class:`promptengine.options.Options` they come from.
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
    aliases: tuple[str, ...]
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

    def schedule_type(self, options: Options) -> Scheduler:
        """The schedule type in force: one asked for, else the option's, else the name's."""
        if not self.chosen and options.schedule_type != "automatic":
            return SCHEDULERS[options.schedule_type]
        return SCHEDULERS[self.scheduler]

    def picks_schedule(self, options: Options) -> bool:
        """Whether the schedule type is one that the user chose; only these have settings."""
        return self.chosen or options.schedule_type != "automatic"

    def schedule(self, table: NoiseTable, steps: int, options: Options | None = None) -> Tensor:
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
        aliases: Other spellings that WebUI accepts.
        run: The stepping function, of the shape in ``samplers/shape.py``.
        settings: Its settings, and the fields of :class:`promptengine.options.Options` they come from.
        respaces: Whether it spaces its own times, from pure noise down.
        second_order: Never; here to be asked for.
    """

    name: str
    aliases: tuple[str, ...]
    run: Callable[..., Tensor]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    respaces: bool = False
    second_order: bool = False

    def schedule(self, table: NoiseTable, steps: int, options: Options | None = None) -> Tensor:
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

_2M = SigmaSampler("DPM++ 2M", ("k_dpmpp_2m",), sample_dpmpp_2m)
_SDE = SigmaSampler(
    "DPM++ SDE",
    ("k_dpmpp_sde",),
    sample_dpmpp_sde,
    _ETA | _SCALED,
    second_order=True,
    brownian=True,
)
_2M_SDE = SigmaSampler(
    "DPM++ 2M SDE", ("k_dpmpp_2m_sde_ka",), sample_dpmpp_2m_sde, _ETA | _SCALED, brownian=True
)
_2M_SDE_HEUN = replace(
    _2M_SDE,
    name="DPM++ 2M SDE Heun",
    aliases=("k_dpmpp_2m_sde_heun",),
    run=partial(sample_dpmpp_2m_sde, heun=True),
)
_3M_SDE = SigmaSampler(
    "DPM++ 3M SDE",
    ("k_dpmpp_3m_sde",),
    sample_dpmpp_3m_sde,
    _ETA | _SCALED,
    discards=True,
    brownian=True,
)
_LMS = SigmaSampler("LMS", ("k_lms",), sample_lms)
_DPM2 = SigmaSampler("DPM2", ("k_dpm_2",), sample_dpm2, _CHURN, second_order=True, discards=True)
_DPM2_A = SigmaSampler(
    "DPM2 a",
    ("k_dpm_2_a",),
    sample_dpm2_ancestral,
    _ETA | _SCALED,
    second_order=True,
    discards=True,
    delta_told=True,
)
_2S_A = SigmaSampler(
    "DPM++ 2S a",
    ("k_dpmpp_2s_a",),
    sample_dpmpp_2s_ancestral,
    _ETA | _SCALED,
    second_order=True,
    delta_told=True,
)


def _karras(sampler: SigmaSampler, alias: str) -> SigmaSampler:
    return replace(sampler, name=f"{sampler.name} Karras", aliases=(alias,), scheduler="karras")


def _exponential(sampler: SigmaSampler, alias: str) -> SigmaSampler:
    return replace(
        sampler, name=f"{sampler.name} Exponential", aliases=(alias,), scheduler="exponential"
    )


SAMPLERS: Mapping[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        _karras(_2M, "k_dpmpp_2m_ka"),
        _karras(_SDE, "k_dpmpp_sde_ka"),
        _exponential(_2M_SDE, "k_dpmpp_2m_sde_exp"),
        _karras(_2M_SDE, "k_dpmpp_2m_sde_ka"),
        SigmaSampler(
            "Euler a",
            ("k_euler_a", "k_euler_ancestral"),
            sample_euler_ancestral,
            _ETA,
            delta_told=True,
        ),
        SigmaSampler("Euler", ("k_euler",), sample_euler, _CHURN),
        _LMS,
        SigmaSampler("Heun", ("k_heun",), sample_heun, _CHURN, second_order=True),
        _DPM2,
        _DPM2_A,
        _2S_A,
        _2M,
        _SDE,
        _2M_SDE,
        _2M_SDE_HEUN,
        _karras(_2M_SDE_HEUN, "k_dpmpp_2m_sde_heun_ka"),
        _exponential(_2M_SDE_HEUN, "k_dpmpp_2m_sde_heun_exp"),
        _3M_SDE,
        _karras(_3M_SDE, "k_dpmpp_3m_sde_ka"),
        _exponential(_3M_SDE, "k_dpmpp_3m_sde_exp"),
        SigmaSampler(
            "DPM fast",
            ("k_dpm_fast",),
            sample_dpm_fast,
            _ETA | _SCALED,
            spans=True,
            delta_told=True,
        ),
        SigmaSampler(
            "DPM adaptive",
            ("k_dpm_ad",),
            sample_dpm_adaptive,
            _ETA,
            spans=True,
            adaptive=True,
            delta_told=True,
        ),
        _karras(_LMS, "k_lms_ka"),
        replace(_karras(_DPM2, "k_dpm_2_ka"), delta_told=True),
        _karras(_DPM2_A, "k_dpm_2_a_ka"),
        _karras(_2S_A, "k_dpmpp_2s_a_ka"),
        SigmaSampler(
            "Restart", ("restart",), sample_restart, scheduler="karras", second_order=True
        ),
        TimestepSampler("DDIM", ("ddim",), sample_ddim, {"eta": "eta_ddim"}),
        TimestepSampler("PLMS", ("plms",), sample_plms),
        TimestepSampler("UniPC", ("unipc",), sample_unipc, _UNIPC, respaces=True),
    )
}
"""Every sampler by its name, in WebUI's order; of two with one alias the later has it."""


def settings_of(sampler: Sampler, options: Options) -> dict[str, Any]:
    """The settings of a sampler's stepping function, with their values."""
    return {name: getattr(options, own) for name, own in sampler.settings.items()}


def find_sampler(name: str, scheduler: str = "automatic") -> Sampler:
    """Look a sampler up.

    Args:
        name: Name or alias in any case, with ``_`` or blanks, and with or without ``k_``. The label of
            a schedule type may follow, such as `` Karras``, also where WebUI has no such name.
        scheduler: A schedule type by name or label; ``automatic`` is that of the name. Samplers over
            timesteps have none and do not heed it.

    Raises:
        RequestError: No such sampler (the message lists what there is) or schedule type, or two
            different schedule types.
    """
    wanted = find_scheduler(scheduler)
    found, suffix = _find_with_suffix(name)
    if isinstance(found, TimestepSampler):
        if suffix is not None:
            raise _unknown(name)
        return found
    named = suffix or (
        SCHEDULERS[found.scheduler] if found.name.lower().endswith(f" {found.scheduler}") else None
    )
    if wanted is not None and named is not None and wanted != named:
        message = f"sampler {name!r} names the schedule {named.label!r}, scheduler {wanted.label!r}"
        raise RequestError(f"{message}; name one of them only", field="scheduler")
    picked = suffix or (wanted if named is None else None)
    return found if picked is None else replace(found, scheduler=picked.name, chosen=True)


def _find_with_suffix(name: str) -> tuple[Sampler, Scheduler | None]:
    """The sampler, and the schedule type that its name does not have but what was given does."""
    known = {
        _normal(spelling): sampler
        for sampler in SAMPLERS.values()
        for spelling in (*sampler.aliases, sampler.name)
    }
    wanted = _normal(name)
    if wanted in known:
        return known[wanted], None
    for scheduler in SCHEDULERS.values():
        for spelling in spellings(scheduler):
            base = wanted.removesuffix(f" {_normal(spelling)}")
            if base != wanted and base in known:
                return known[base], scheduler
    raise _unknown(name)


def _normal(name: str) -> str:
    words = re.sub(r"[\s_]+", " ", name.strip().lower()).removeprefix("k ")
    return words.replace("dpmpp", "dpm++")


def _unknown(name: str) -> RequestError:
    names = {sampler.lower(): sampler for sampler in SAMPLERS}
    near = difflib.get_close_matches(name.strip().lower(), names, n=1)
    hint = f"did you mean {names[near[0]]!r}?" if near else ""
    known = "known samplers: " + ", ".join(SAMPLERS)
    return RequestError(f"unknown sampler {name!r}; {hint or known}", field="sampler")
