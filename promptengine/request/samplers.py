"""The samplers, as objects; what they compute is loaded when it is first used.

The stepping functions, whose shape is described in ``sampling/algorithms/base.py``, need torch. These
objects name them, so that a request can be checked and samplers be listed without it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from promptengine.errors import RequestError
from promptengine.plugins import SCRIPT, LazyFunction, ObjectRegistry, Plugin
from promptengine.request.options import Options
from promptengine.request.schedulers import (
    AUTOMATIC,
    SCHEDULERS,
    NoiseLevels,
    Scheduler,
    find_scheduler,
)
from promptengine.validation import shown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SAMPLERS",
    "Sampler",
    "SigmaSampler",
    "TimestepSampler",
    "find_sampler",
    "register_sampler",
    "sampler_settings",
]

_OLD_KARRAS_RANGE: Final = (0.1, 10.0)
_without_penultimate: Final = LazyFunction("promptengine.sampling.sigmas:without_penultimate")
_ddim_timesteps: Final = LazyFunction("promptengine.sampling.sigmas:ddim_timesteps")


@dataclass(frozen=True, slots=True)
class SigmaSampler:
    """A sampler whose schedule is sigmas and whose model answers with x0.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function.
        aliases: Other spellings that users may write.
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
    aliases: tuple[str, ...] = ()
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
        if not self.chosen and options.schedule_type != AUTOMATIC:
            return SCHEDULERS[options.schedule_type]
        return SCHEDULERS[self.scheduler]

    def picks_schedule(self, options: Options) -> bool:
        """Whether the schedule type is one that the user chose; only these have settings."""
        return self.chosen or options.schedule_type != AUTOMATIC

    def schedule(self, table: NoiseLevels, steps: int, options: Options | None = None) -> Tensor:
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
        return _without_penultimate(sigmas) if discards else sigmas


@dataclass(frozen=True, slots=True)
class TimestepSampler:
    """A sampler whose schedule is timesteps of its own and whose model answers with the noise.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function.
        aliases: Other spellings that users may write.
        settings: Its settings, and the fields of :class:`promptengine.request.options.Options` they come from.
        timesteps: Makes rising timesteps of the model's noise levels and a number of steps.
        respaces: Whether it spaces its own times, from pure noise down.
        second_order: Never; here to be asked for.
    """

    name: str
    run: Callable[..., Tensor]
    aliases: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    timesteps: Callable[[Any, int], Tensor] = _ddim_timesteps
    respaces: bool = False
    second_order: bool = False

    def schedule(self, table: NoiseLevels, steps: int, options: Options | None = None) -> Tensor:
        """Integer timesteps, rising; no option changes them."""
        return self.timesteps(table, steps)


Sampler = SigmaSampler | TimestepSampler

_CHURN: Final = {
    "churn": "churn",
    "churn_from": "churn_from",
    "churn_to": "churn_to",
    "noise_scale": "noise_scale",
}
_ETA: Final = {"eta": "eta_ancestral"}
_SCALED: Final = {"noise_scale": "noise_scale"}
_UNIPC: Final = {
    "variant": "unipc_variant",
    "spacing": "unipc_spacing",
    "order": "unipc_order",
    "lower_order_final": "unipc_lower_order_final",
}


def _steps(place: str) -> LazyFunction:
    return LazyFunction(f"promptengine.sampling.algorithms.{place}")


_2M: Final = SigmaSampler("DPM++ 2M", _steps("dpmpp:sample_dpmpp_2m"), ("k_dpmpp_2m",))
_SDE: Final = SigmaSampler(
    "DPM++ SDE",
    _steps("dpmpp:sample_dpmpp_sde"),
    ("k_dpmpp_sde",),
    _ETA | _SCALED,
    second_order=True,
    brownian=True,
)
_2M_SDE: Final = SigmaSampler(
    "DPM++ 2M SDE",
    _steps("dpmpp:sample_dpmpp_2m_sde"),
    ("k_dpmpp_2m_sde_ka",),
    _ETA | _SCALED,
    brownian=True,
)
_2M_SDE_HEUN: Final = replace(
    _2M_SDE,
    name="DPM++ 2M SDE Heun",
    run=_steps("dpmpp:sample_dpmpp_2m_sde_heun"),
    aliases=("k_dpmpp_2m_sde_heun",),
)
_3M_SDE: Final = SigmaSampler(
    "DPM++ 3M SDE",
    _steps("dpmpp:sample_dpmpp_3m_sde"),
    ("k_dpmpp_3m_sde",),
    _ETA | _SCALED,
    discards=True,
    brownian=True,
)
_LMS: Final = SigmaSampler("LMS", _steps("euler:sample_lms"), ("k_lms",))
_DPM2: Final = SigmaSampler(
    "DPM2", _steps("dpm:sample_dpm2"), ("k_dpm_2",), _CHURN, second_order=True, discards=True
)
_DPM2_A: Final = SigmaSampler(
    "DPM2 a",
    _steps("dpm:sample_dpm2_ancestral"),
    ("k_dpm_2_a",),
    _ETA | _SCALED,
    second_order=True,
    discards=True,
    delta_told=True,
)
_2S_A: Final = SigmaSampler(
    "DPM++ 2S a",
    _steps("dpmpp:sample_dpmpp_2s_ancestral"),
    ("k_dpmpp_2s_a",),
    _ETA | _SCALED,
    second_order=True,
    delta_told=True,
)


def _karras(sampler: SigmaSampler, alias: str) -> SigmaSampler:
    return replace(sampler, name=f"{sampler.name} Karras", scheduler="karras", aliases=(alias,))


def _exponential(sampler: SigmaSampler, alias: str) -> SigmaSampler:
    name = f"{sampler.name} Exponential"
    return replace(sampler, name=name, scheduler="exponential", aliases=(alias,))


_BUILTIN: Final[tuple[Sampler, ...]] = (
    _karras(_2M, "k_dpmpp_2m_ka"),
    _karras(_SDE, "k_dpmpp_sde_ka"),
    _exponential(_2M_SDE, "k_dpmpp_2m_sde_exp"),
    _karras(_2M_SDE, "k_dpmpp_2m_sde_ka"),
    SigmaSampler(
        "Euler a",
        _steps("euler:sample_euler_ancestral"),
        ("k_euler_a", "k_euler_ancestral"),
        _ETA,
        delta_told=True,
    ),
    SigmaSampler("Euler", _steps("euler:sample_euler"), ("k_euler",), _CHURN),
    _LMS,
    SigmaSampler("Heun", _steps("euler:sample_heun"), ("k_heun",), _CHURN, second_order=True),
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
        _steps("dpm:sample_dpm_fast"),
        ("k_dpm_fast",),
        _ETA | _SCALED,
        spans=True,
        delta_told=True,
    ),
    SigmaSampler(
        "DPM adaptive",
        _steps("dpm:sample_dpm_adaptive"),
        ("k_dpm_ad",),
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
        "Restart",
        _steps("euler:sample_restart"),
        ("restart",),
        scheduler="karras",
        second_order=True,
    ),
    TimestepSampler("DDIM", _steps("ddim:sample_ddim"), ("ddim",), {"eta": "eta_ddim"}),
    TimestepSampler("PLMS", _steps("ddim:sample_plms"), ("plms",)),
    TimestepSampler("UniPC", _steps("unipc:sample_unipc"), ("unipc",), _UNIPC, respaces=True),
)
"""In WebUI's order; of two with one alias the later has it, as there."""


def _normal(name: str) -> str:
    words = re.sub(r"[\s_]+", " ", name.strip().lower()).removeprefix("k ")
    return words.replace("dpmpp", "dpm++")


def _spellings(sampler: Sampler) -> list[str]:
    return [sampler.name, *map(_normal, (sampler.name, *sampler.aliases))]


def _check(sampler: Sampler) -> None:
    unknown = {*sampler.settings.values()} - {option.name for option in fields(Options)}
    if unknown:
        raise ValueError(
            f"its settings name options that there are not: {', '.join(sorted(unknown))}"
        )
    if isinstance(sampler, SigmaSampler) and sampler.scheduler not in SCHEDULERS:
        raise ValueError(
            f"its schedule type {sampler.scheduler!r} is not one of {', '.join(SCHEDULERS)}"
        )


SAMPLERS: Final[ObjectRegistry[Sampler]] = ObjectRegistry(
    "promptengine.samplers",
    "sampler",
    (SigmaSampler, TimestepSampler),
    _BUILTIN,
    spellings=_spellings,
    check=_check,
)
"""Every sampler by its name, in WebUI's order."""


def sampler_settings(sampler: Sampler, options: Options) -> dict[str, Any]:
    """The settings of a sampler's stepping function, with their values."""
    return {name: getattr(options, own) for name, own in sampler.settings.items()}


def find_sampler(name: str, scheduler: str = AUTOMATIC) -> Sampler:
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
    found, suffix = _split(name)
    if isinstance(found, TimestepSampler):
        return found
    named = suffix or _named_schedule(found)
    if wanted is not None and named is not None and wanted != named:
        message = (
            f"sampler {shown(name)} names the schedule {named.label!r}, scheduler {wanted.label!r}"
        )
        raise RequestError(f"{message}; name one of them only", field="scheduler")
    chosen = suffix or (wanted if named is None else None)
    return found if chosen is None else replace(found, scheduler=chosen.name, chosen=True)


def _named_schedule(sampler: SigmaSampler) -> Scheduler | None:
    """The schedule type that the name says; the one of Restart, say, is in no name."""
    own = SCHEDULERS[sampler.scheduler]
    return own if sampler.name.lower().endswith(f" {own.label.lower()}") else None


def _known(samplers: Mapping[str, Sampler]) -> dict[str, Sampler]:
    return {
        _normal(spelling): sampler
        for sampler in samplers.values()
        for spelling in (*sampler.aliases, sampler.name)
    }


def _split(name: str) -> tuple[Sampler, Scheduler | None]:
    """The sampler, and the schedule type that its name does not have but what was given does."""
    wanted = _normal(name)
    known = _known(SAMPLERS.builtins)
    if wanted not in known:
        known = _known(SAMPLERS)
    if wanted in known:
        return known[wanted], None
    for scheduler in SCHEDULERS.values():
        for spelling in scheduler.spellings:
            base = wanted.removesuffix(f" {_normal(spelling)}")
            if base != wanted and isinstance(known.get(base), SigmaSampler):
                return known[base], scheduler
    names = {sampler.lower(): sampler for sampler in SAMPLERS}
    near = difflib.get_close_matches(name.strip().lower(), names, n=1)
    hint = f"did you mean {names[near[0]]!r}?" if near else ""
    there = "known samplers: " + ", ".join(SAMPLERS)
    raise RequestError(f"unknown sampler {shown(name)}; {hint or there}", field="sampler")


def register_sampler(sampler: Sampler, *, origin: str = SCRIPT) -> None:
    """Add a sampler for the rest of the process.

    Args:
        sampler: The sampler.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no sampler, or has a name or alias that is taken.
    """
    SAMPLERS.register(sampler, Plugin(origin))
