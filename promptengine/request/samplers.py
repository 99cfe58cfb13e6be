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
    "find_hires_sampler",
    "find_sampler",
    "register_sampler",
    "sampler_settings",
    "split_sampler",
]

_OLD_KARRAS_RANGE: Final = (0.1, 10.0)
_uniform_sigmas: Final = LazyFunction("promptengine.sampling.sigmas:uniform_sigmas")
_without_penultimate: Final = LazyFunction("promptengine.sampling.sigmas:without_penultimate")
_distilled_levels: Final = LazyFunction("promptengine.sampling.sigmas:distilled_levels")
_ddim_timesteps: Final = LazyFunction("promptengine.sampling.sigmas:ddim_timesteps")


@dataclass(frozen=True, slots=True)
class SigmaSampler:
    """A sampler whose schedule is sigmas and whose model answers with x0.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function.
        aliases: Other spellings that users may write.
        settings: Its settings, and the fields of :class:`promptengine.request.options.Options` they come from.
        scheduler: The schedule type in force, by name: as registered, the sampler's own. ``automatic``
            is the model's plain list, which no option about schedule types changes.
        second_order: Whether prompt schedules count two calls a step.
        discards: Whether the last sigma but one is left out.
        brownian: Whether its noise is a Brownian motion's.
        spans: Whether it picks its own sigmas between the two ends.
        adaptive: Whether it does so by how wrong it finds its last step, which hangs on the last digits.
        delta_told: Whether WebUI writes ENSD into its infotexts.
        guidance_unit: The CFG scale that counts as 1.
        distilled: Whether it is for models distilled into consistency models: it knows fifty of the
            noise levels only, and reads the model's answers as such models mean them.
    """

    name: str
    run: Callable[..., Tensor]
    aliases: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    scheduler: str = AUTOMATIC
    second_order: bool = False
    discards: bool = False
    brownian: bool = False
    spans: bool = False
    adaptive: bool = False
    delta_told: bool = False
    guidance_unit: float = 1.0
    distilled: bool = False

    def levels(self, table: Any) -> Any:
        """Return the noise levels that it knows of all of a model's."""
        return _distilled_levels(table) if self.distilled else table

    def schedule(self, table: NoiseLevels, steps: int, options: Options | None = None) -> Tensor:
        """Sigmas ``[steps + 1]``, high to low, ending in 0 (but see ``Scheduler.sigmas``).

        Args:
            table: The model's noise levels.
            steps: 1 or more.
            options: Range and bend of the schedule type, and what is left out; the defaults if None.
        """
        options, table = options or Options(), self.levels(table)
        discards = self.discards or options.discard_penultimate
        count = steps + discards
        if self.scheduler == AUTOMATIC:
            sigmas = _uniform_sigmas(table, count)
        else:
            lowest, highest = _OLD_KARRAS_RANGE if options.old_karras_range else (0.0, 0.0)
            sigmas = SCHEDULERS[self.scheduler].sigmas(
                table,
                count,
                lowest=options.sigma_min or lowest,
                highest=options.sigma_max or highest,
                rho=options.rho,
                options=options,
            )
        return _without_penultimate(sigmas) if discards else sigmas


@dataclass(frozen=True, slots=True)
class TimestepSampler:
    """A sampler whose schedule is timesteps of its own and whose model answers with the noise.

    Attributes:
        name: As WebUI spells it, in infotexts too.
        run: The stepping function.
        aliases: Other spellings that users may write.
        settings: Its settings, and the fields of :class:`promptengine.request.options.Options` they come from.
        scheduler: The schedule type that was asked for. It changes nothing; infotexts name it, as WebUI's do.
        timesteps: Makes rising timesteps of the model's noise levels and a number of steps.
        respaces: Whether it spaces its own times, from pure noise down.
        guidance_unit: The CFG scale that counts as 1.
        renoises: Whether its steps lead back towards the noise that was predicted without guidance,
            which its stepping function is then told by ``unguided``.
        second_order: Never; here to be asked for.
    """

    name: str
    run: Callable[..., Tensor]
    aliases: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    scheduler: str = AUTOMATIC
    timesteps: Callable[[Any, int], Tensor] = _ddim_timesteps
    respaces: bool = False
    guidance_unit: float = 1.0
    renoises: bool = False
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


_2M_SDE: Final = SigmaSampler(
    "DPM++ 2M SDE",
    _steps("dpmpp:sample_dpmpp_2m_sde"),
    ("k_dpmpp_2m_sde",),
    _ETA | _SCALED,
    scheduler="exponential",
    brownian=True,
)
_DDIM: Final = TimestepSampler("DDIM", _steps("ddim:sample_ddim"), ("ddim",), {"eta": "eta_ddim"})

_BUILTIN: Final[tuple[Sampler, ...]] = (
    SigmaSampler("DPM++ 2M", _steps("dpmpp:sample_dpmpp_2m"), ("k_dpmpp_2m",), scheduler="karras"),
    SigmaSampler(
        "DPM++ SDE",
        _steps("dpmpp:sample_dpmpp_sde"),
        ("k_dpmpp_sde",),
        _ETA | _SCALED,
        scheduler="karras",
        second_order=True,
        brownian=True,
    ),
    _2M_SDE,
    replace(
        _2M_SDE,
        name="DPM++ 2M SDE Heun",
        run=_steps("dpmpp:sample_dpmpp_2m_sde_heun"),
        aliases=("k_dpmpp_2m_sde_heun",),
    ),
    SigmaSampler(
        "DPM++ 2S a",
        _steps("dpmpp:sample_dpmpp_2s_ancestral"),
        ("k_dpmpp_2s_a",),
        _ETA | _SCALED,
        scheduler="karras",
        second_order=True,
        delta_told=True,
    ),
    SigmaSampler(
        "DPM++ 3M SDE",
        _steps("dpmpp:sample_dpmpp_3m_sde"),
        ("k_dpmpp_3m_sde",),
        _ETA | _SCALED,
        scheduler="exponential",
        discards=True,
        brownian=True,
    ),
    SigmaSampler(
        "Euler a",
        _steps("euler:sample_euler_ancestral"),
        ("k_euler_a", "k_euler_ancestral"),
        _ETA,
        delta_told=True,
    ),
    SigmaSampler("Euler", _steps("euler:sample_euler"), ("k_euler",), _CHURN),
    SigmaSampler("LMS", _steps("euler:sample_lms"), ("k_lms",)),
    SigmaSampler("Heun", _steps("euler:sample_heun"), ("k_heun",), _CHURN, second_order=True),
    SigmaSampler(
        "DPM2",
        _steps("dpm:sample_dpm2"),
        ("k_dpm_2",),
        _CHURN,
        scheduler="karras",
        second_order=True,
        discards=True,
    ),
    SigmaSampler(
        "DPM2 a",
        _steps("dpm:sample_dpm2_ancestral"),
        ("k_dpm_2_a",),
        _ETA | _SCALED,
        scheduler="karras",
        second_order=True,
        discards=True,
        delta_told=True,
    ),
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
    SigmaSampler(
        "Restart",
        _steps("euler:sample_restart"),
        ("restart",),
        scheduler="karras",
        second_order=True,
    ),
    _DDIM,
    replace(
        _DDIM,
        name="DDIM CFG++",
        aliases=("ddim_cfgpp",),
        guidance_unit=12.5,
        renoises=True,
    ),
    TimestepSampler("PLMS", _steps("ddim:sample_plms"), ("plms",)),
    TimestepSampler("UniPC", _steps("unipc:sample_unipc"), ("unipc",), _UNIPC, respaces=True),
    SigmaSampler("LCM", _steps("lcm:sample_lcm"), ("k_lcm",), distilled=True),
)
"""In WebUI's order."""

_SHORT_ENDINGS: Final = {"ka": "karras", "exp": "exponential"}
"""What the aliases of joined names ended in, such as ``k_dpmpp_2m_ka``."""


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
    if sampler.scheduler != AUTOMATIC and sampler.scheduler not in SCHEDULERS:
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
    """Return the settings of a sampler's stepping function, with their values."""
    return {name: getattr(options, own) for name, own in sampler.settings.items()}


def find_sampler(name: str, scheduler: str = AUTOMATIC) -> Sampler:
    """Look a sampler up.

    Args:
        name: Name or alias in any case, with ``_`` or blanks, and with or without ``k_``. The label of
            a schedule type may follow, such as `` Karras``, as in names of WebUI before 1.9.
        scheduler: A schedule type by name or label, which counts before the one in the name;
            ``automatic`` is that of the name, or where this says nothing the sampler's own. Samplers
            over timesteps have none and ignore it.

    Returns:
        The sampler, with the schedule type in force.

    Raises:
        RequestError: No such sampler or schedule type; the message lists what there is.
    """
    asked = find_scheduler(scheduler)
    found, ending = split_sampler(name)
    kind = asked or ending
    if kind is None or kind.name == found.scheduler:
        return found
    return replace(found, scheduler=kind.name)


def find_hires_sampler(
    first: tuple[str, str], sampler: str | None, scheduler: str | None
) -> Sampler:
    """Look the sampler of a second pass up.

    Args:
        first: Name and schedule type of the first pass, as :func:`find_sampler` takes them.
        sampler: Name, or None for the same. A schedule type in it counts.
        scheduler: Schedule type, or None for the one that the first pass asks for; ``automatic`` is
            the sampler's own.

    Raises:
        RequestError: No such sampler or schedule type.
    """
    name, kind = first
    base, ending = split_sampler(name)
    if sampler and split_sampler(sampler)[1] is not None:
        return find_sampler(sampler, scheduler or AUTOMATIC)
    if scheduler is not None:
        return find_sampler(sampler or base.name, scheduler)
    asked = find_scheduler(kind) or ending
    return find_sampler(sampler or base.name, AUTOMATIC if asked is None else asked.name)


def _known(samplers: Mapping[str, Sampler]) -> dict[str, Sampler]:
    return {
        _normal(spelling): sampler
        for sampler in samplers.values()
        for spelling in (*sampler.aliases, sampler.name)
    }


_BUILTINS: Final = _known(SAMPLERS.builtins)
"""This package's own by all their names."""


def split_sampler(name: str) -> tuple[Sampler, Scheduler | None]:
    """Take a sampler's name apart: the sampler as registered, and the schedule type behind it or None.

    Raises:
        RequestError: No such sampler; the message lists what there is.
    """
    wanted, known = _normal(name), _BUILTINS
    if wanted not in known:
        known = _known(SAMPLERS)
    if wanted in known:
        return known[wanted], None
    for ending, scheduler in _endings():
        base = wanted.removesuffix(f" {ending}")
        if base != wanted and base in known:
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


def _endings() -> list[tuple[str, Scheduler]]:
    spelled = [
        (_normal(spelling), scheduler)
        for scheduler in SCHEDULERS.values()
        for spelling in scheduler.spellings
    ]
    return [*spelled, *((short, SCHEDULERS[name]) for short, name in _SHORT_ENDINGS.items())]
