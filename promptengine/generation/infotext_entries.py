"""What a generation writes into its infotext about sampling, where it differs from the defaults.

Keys, their order and the forms of numbers are WebUI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial

from promptengine.generation.cond_batch import PromptCond
from promptengine.prompt import Prompt, schedule
from promptengine.request.options import SETTINGS, Options
from promptengine.request.plan import Plan
from promptengine.request.samplers import Sampler, SigmaSampler
from promptengine.request.schedulers import (
    AUTOMATIC,
    SCHEDULERS,
    Scheduler,
    scheduler_label,
)
from promptengine.sampling.sigmas import DiscreteSchedule

__all__ = [
    "hires_schedule_told",
    "noise_level_entries",
    "pass_entries",
    "score_entries",
    "sign_entries",
    "text_entries",
    "writes_ensd",
]


def noise_level_entries(options: Options) -> dict[str, object]:
    """Return what was done to the model's noise levels."""
    zero = options.noise_schedule == "zero_terminal_snr"
    return {
        "Downcast alphas_cumprod": options.downcast_alphas or None,
        "Noise Schedule": "Zero Terminal SNR" if zero else None,
    }


def text_entries(
    prompts: Sequence[Prompt],
    plan: Plan,
    options: Options,
    *,
    steps: int,
    hires_steps: int | None = None,
) -> dict[str, object]:
    """Return how prompts were read.

    Args:
        prompts: Prompt and negative prompt.
        plan: What was made of them.
        options: The request's.
        steps: What their schedules were computed for.
        hires_steps: Likewise, of the second pass, where they are that one's.
    """
    entries: dict[str, object] = {}
    if options.old_timelines:
        parts = [part for prompt in prompts for part in prompt.parts]
        timeline = partial(schedule, steps=steps, hires_steps=hires_steps)
        if any(timeline(part, old=True) != timeline(part) for part in parts):
            entries["Old prompt editing timelines"] = True
    if not options.comments and any("#" in prompt.source for prompt in prompts):
        entries["Prompt comments"] = False
    if options.old_emphasis:
        # WebUI tells neither this nor the mode with it, so that its reader makes another image.
        entries["Old emphasis"] = options.emphasis
    elif options.emphasis != "Original":
        schedules = [plan.negative, *(part.schedule for part in plan.positive)]
        texts = [segment.text for one in schedules for segment in one.segments]
        if any("(" in text or "[" in text for text in texts):
            entries["Emphasis"] = options.emphasis
    return entries


def pass_entries(
    sampler: Sampler,
    guidance: PromptCond,
    table: DiscreteSchedule,
    options: Options,
    *,
    starts_late: bool = False,
) -> dict[str, object]:
    """Return how latents were sampled.

    Args:
        sampler: With what.
        guidance: By what; padding is told only where it did something.
        table: The model's noise levels; a limit that equals the model's is not told.
        options: The request's.
        starts_late: Whether the pass starts from an image and not from pure noise.
    """
    entries: dict[str, object] = {}
    if isinstance(sampler, SigmaSampler):
        discards = options.discard_penultimate and not sampler.discards
        entries["Discard penultimate sigma"] = discards or None
        if sampler.scheduler != AUTOMATIC:
            levels = sampler.levels(table)
            entries |= _schedule_entries(SCHEDULERS[sampler.scheduler], levels, options)
        entries["SGM noise multiplier"] = (options.sgm_noise and not starts_late) or None
    if starts_late:
        entries["Extra noise"] = options.extra_noise or None
    entries |= _setting_entries(sampler, options)
    if guidance.uneven:
        last = options.pad_with_last
        entries["Pad conds"] = (options.pad_with_empty and not last) or None
        entries["Pad conds v0"] = last or None
    entries["Skip Early CFG"] = options.unguided_early or None
    entries["NGMS"] = options.unguided_below or None
    always = options.unguided_below and options.unguided_below_always
    entries["NGMS all steps"] = True if always else None
    return entries


def score_entries(guidance: PromptCond, options: Options) -> dict[str, object]:
    """Return the aesthetic scores that a model was told where they are not the defaults.

    WebUI does not write them, so that its reader makes another image.
    """
    if guidance.negative.aesthetic_score is None:
        return {}
    changed = options.changed()
    return {
        SETTINGS[Options.webui_name(own)].label: changed[own]
        for own in ("aesthetic_score", "negative_aesthetic_score")
        if own in changed
    }


def sign_entries(guidance: PromptCond, options: Options) -> dict[str, object]:
    """Return how negative weights were applied, where a text has one that was not scaled as in WebUI."""
    if not guidance.signed:
        return {}
    setting = SETTINGS[Options.webui_name("negative_weights")]
    return {setting.label: setting.theirs(options.negative_weights)}


def _schedule_entries(
    scheduler: Scheduler, table: DiscreteSchedule, options: Options
) -> dict[str, object]:
    low, high, rho = options.sigma_min, options.sigma_max, options.rho
    bent = scheduler.rho is not None and rho not in (0, scheduler.rho)
    read = scheduler.settings.values()
    return {
        "Schedule min sigma": low if low not in (0, table.lowest) else None,
        "Schedule max sigma": high if high not in (0, table.highest) else None,
        "Schedule rho": rho if bent else None,
        # Told at their defaults too, as in WebUI.
        **{
            SETTINGS[Options.webui_name(own)].label: getattr(options, own)
            for own in ("beta_alpha", "beta_beta")
            if own in read
        },
    }


def _setting_entries(sampler: Sampler, options: Options) -> dict[str, object]:
    changed = options.changed()
    read = set(sampler.settings.values())
    settings = {own.name: own.metadata["setting"] for own in fields(options)}
    return {
        setting.label: changed[name]
        for name, setting in settings.items()
        if setting.of_sampler and name in read and name in changed
    }


def hires_schedule_told(first: Sampler, second: Sampler) -> str | None:
    """Return the label of the second pass's schedule type, where a reader could not tell it.

    Without one a reader takes the first pass's. WebUI leaves the plain list unsaid as well, so that
    its reader takes the wrong one there.
    """
    if not isinstance(second, SigmaSampler):
        return None
    idle = not isinstance(first, SigmaSampler)
    if second.scheduler == first.scheduler and not (idle and second.scheduler != AUTOMATIC):
        return None
    return scheduler_label(second.scheduler)


def writes_ensd(sampler: Sampler, options: Options) -> bool:
    """Return whether ENSD belongs into the infotext: with WebUI's samplers that draw noise on the way."""
    if not isinstance(sampler, SigmaSampler):
        return bool(sampler.settings.get("eta") and options.eta_ddim)
    return sampler.delta_told and options.eta_ancestral != 0
