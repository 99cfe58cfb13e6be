"""Which samplers and schedule types there are, and how people spell them; what they compute is elsewhere."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from promptengine.errors import RequestError
from promptengine.validation import shown

__all__ = [
    "SAMPLER_NAMES",
    "SCHEDULE_TYPES",
    "ScheduleType",
    "choose_sampler",
    "choose_schedule",
]


class ScheduleType(NamedTuple):
    """How a schedule type is called.

    Attributes:
        label: As WebUI shows it and writes it into infotexts.
        aliases: Other spellings than label and name.
    """

    label: str
    aliases: tuple[str, ...] = ()


class Choice(NamedTuple):
    """A sampler and its schedule, as asked for.

    Attributes:
        sampler: One of :data:`SAMPLER_NAMES`.
        scheduler: One of :data:`SCHEDULE_TYPES` that it shall have beside its name; None is that of the name.
    """

    sampler: str
    scheduler: str | None


SAMPLER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "DPM++ 2M Karras": ("k_dpmpp_2m_ka",),
    "DPM++ SDE Karras": ("k_dpmpp_sde_ka",),
    "DPM++ 2M SDE Exponential": ("k_dpmpp_2m_sde_exp",),
    "DPM++ 2M SDE Karras": ("k_dpmpp_2m_sde_ka",),
    "Euler a": ("k_euler_a", "k_euler_ancestral"),
    "Euler": ("k_euler",),
    "LMS": ("k_lms",),
    "Heun": ("k_heun",),
    "DPM2": ("k_dpm_2",),
    "DPM2 a": ("k_dpm_2_a",),
    "DPM++ 2S a": ("k_dpmpp_2s_a",),
    "DPM++ 2M": ("k_dpmpp_2m",),
    "DPM++ SDE": ("k_dpmpp_sde",),
    "DPM++ 2M SDE": ("k_dpmpp_2m_sde_ka",),
    "DPM++ 2M SDE Heun": ("k_dpmpp_2m_sde_heun",),
    "DPM++ 2M SDE Heun Karras": ("k_dpmpp_2m_sde_heun_ka",),
    "DPM++ 2M SDE Heun Exponential": ("k_dpmpp_2m_sde_heun_exp",),
    "DPM++ 3M SDE": ("k_dpmpp_3m_sde",),
    "DPM++ 3M SDE Karras": ("k_dpmpp_3m_sde_ka",),
    "DPM++ 3M SDE Exponential": ("k_dpmpp_3m_sde_exp",),
    "DPM fast": ("k_dpm_fast",),
    "DPM adaptive": ("k_dpm_ad",),
    "LMS Karras": ("k_lms_ka",),
    "DPM2 Karras": ("k_dpm_2_ka",),
    "DPM2 a Karras": ("k_dpm_2_a_ka",),
    "DPM++ 2S a Karras": ("k_dpmpp_2s_a_ka",),
    "Restart": ("restart",),
    "DDIM": ("ddim",),
    "PLMS": ("plms",),
    "UniPC": ("unipc",),
}
"""Every sampler with the other spellings that WebUI accepts, in its order; of two with one alias the later
has it."""

_OF_TIMESTEPS: Final = frozenset({"DDIM", "PLMS", "UniPC"})
"""Samplers with schedules of their own, which no schedule type changes."""

SCHEDULE_TYPES: Final[Mapping[str, ScheduleType]] = {
    "uniform": ScheduleType("Uniform"),
    "karras": ScheduleType("Karras"),
    "exponential": ScheduleType("Exponential"),
    "polyexponential": ScheduleType("Polyexponential"),
    "sgm_uniform": ScheduleType("SGM Uniform", ("SGMUniform",)),
    "kl_optimal": ScheduleType("KL Optimal"),
    "align_your_steps": ScheduleType("Align Your Steps"),
    "simple": ScheduleType("Simple"),
    "normal": ScheduleType("Normal"),
    "ddim": ScheduleType("DDIM"),
    "beta": ScheduleType("Beta"),
}
"""Every schedule type by its name, as APIs spell it."""


def choose_sampler(name: str, scheduler: str = "automatic") -> Choice:
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
    wanted = choose_schedule(scheduler)
    found, suffix = _split(name)
    if found in _OF_TIMESTEPS:
        return Choice(found, None)
    named = suffix or next((t for t in SCHEDULE_TYPES if found.lower().endswith(f" {t}")), None)
    if wanted is not None and named is not None and wanted != named:
        labels = SCHEDULE_TYPES[named].label, SCHEDULE_TYPES[wanted].label
        message = f"sampler {shown(name)} names the schedule {labels[0]!r}, scheduler {labels[1]!r}"
        raise RequestError(f"{message}; name one of them only", field="scheduler")
    return Choice(found, suffix or (wanted if named is None else None))


def choose_schedule(name: str) -> str | None:
    """Look a schedule type up by name, label or alias, in any case; None means automatic.

    Raises:
        RequestError: No such schedule type; the message lists what there is.
    """
    wanted = name.strip().lower()
    if wanted in ("", "automatic"):
        return None
    known = {spelling.lower(): own for own in SCHEDULE_TYPES for spelling in _spellings(own)}
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else ""
    there = "there are " + ", ".join(["automatic", *SCHEDULE_TYPES])
    raise RequestError(f"unknown scheduler {shown(name)}; {hint or there}", field="scheduler")


def _spellings(schedule: str) -> tuple[str, ...]:
    label, aliases = SCHEDULE_TYPES[schedule]
    return (label, schedule, *aliases)


def _split(name: str) -> tuple[str, str | None]:
    """The sampler, and the schedule type that its name does not have but what was given does."""
    known = {
        _normal(spelling): sampler
        for sampler, aliases in SAMPLER_NAMES.items()
        for spelling in (*aliases, sampler)
    }
    wanted = _normal(name)
    if wanted in known:
        return known[wanted], None
    for schedule in SCHEDULE_TYPES:
        for spelling in _spellings(schedule):
            base = wanted.removesuffix(f" {_normal(spelling)}")
            if base != wanted and base in known and known[base] not in _OF_TIMESTEPS:
                return known[base], schedule
    names = {sampler.lower(): sampler for sampler in SAMPLER_NAMES}
    near = difflib.get_close_matches(name.strip().lower(), names, n=1)
    hint = f"did you mean {names[near[0]]!r}?" if near else ""
    there = "known samplers: " + ", ".join(SAMPLER_NAMES)
    raise RequestError(f"unknown sampler {shown(name)}; {hint or there}", field="sampler")


def _normal(name: str) -> str:
    words = re.sub(r"[\s_]+", " ", name.strip().lower()).removeprefix("k ")
    return words.replace("dpmpp", "dpm++")
