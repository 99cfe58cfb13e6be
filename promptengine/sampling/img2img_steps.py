"""Which part of a schedule a pass walks that starts from an image, and what it starts from.

The less an image shall change, the later the pass joins the schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.request.options import Options
from promptengine.request.samplers import Sampler, SigmaSampler
from promptengine.sampling.sigmas import DiscreteSchedule

__all__ = [
    "StepRange",
    "add_noise",
    "fixed_steps_for_strength",
    "sigmas_for",
    "steps_for_strength",
    "whole_schedule",
]

_FULL = 0.999
"""A strength of 1 counts as this much."""

_MOST_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class StepRange:
    """How much of a schedule is walked.

    Attributes:
        total: Steps of the whole schedule; 0 where nothing is to be done.
        last: Index of the step that the pass joins at, counted from the end of the schedule at 0.
    """

    total: int
    last: int


def steps_for_strength(steps: int, strength: float) -> StepRange:
    """Walk the last part of a schedule of ``steps``: WebUI's rule for images.

    Args:
        steps: As asked for.
        strength: Denoising strength, 0 to 1.
    """
    return StepRange(steps, int(min(strength, _FULL) * steps))


def fixed_steps_for_strength(steps: int, strength: float) -> StepRange:
    """Walk ``steps`` steps of a schedule that is longer by as much as is cut off.

    This is WebUI's rule for the high-resolution pass, and for images with ``img2img_fix_steps``.

    Raises:
        RequestError: So low a strength that the schedule would be endless.
    """
    if strength <= 0:
        return StepRange(0, 0)
    total = int(steps / min(strength, _FULL))
    if total > _MOST_STEPS:
        message = (
            f"denoising strength {strength} with {steps} exact steps needs a schedule of {total}"
        )
        raise RequestError(f"{message}; raise the strength", field="denoising_strength")
    return StepRange(total, steps - 1)


def whole_schedule(
    sampler: Sampler, table: DiscreteSchedule, walk: StepRange, options: Options
) -> Tensor:
    """Return all levels of the schedule that is walked in part; empty where nothing is to be done."""
    return sampler.schedule(table, walk.total, options) if walk.total else torch.empty(0)


def sigmas_for(sampler: Sampler, schedule: Tensor, walk: StepRange) -> Tensor:
    """Return the levels a sampler is given.

    Args:
        sampler: Whose levels these are.
        schedule: All of them.
        walk: How many to take.

    Returns:
        Sigmas from the joining one down, ``walk.last + 2`` of them; or rising timesteps below the
        joining one, ``walk.last`` of them.
    """
    if isinstance(sampler, SigmaSampler):
        return schedule[min(walk.total - walk.last - 1, len(schedule) - 1) :]
    return schedule[: walk.last]


def add_noise(
    sampler: Sampler,
    schedule: Tensor,
    walk: StepRange,
    *,
    table: DiscreteSchedule,
    start: Tensor,
    noise: Tensor,
    extra: float = 0.0,
) -> Tensor:
    """Put an image's latents at the noise level where a pass joins its schedule.

    Args:
        sampler: Whose levels these are.
        schedule: All levels.
        walk: How many of them are walked.
        table: The noise levels in force.
        start: ``[images, channels, height, width]``.
        noise: Shaped alike.
        extra: How much of the same noise to add on top: WebUI's ``img2img_extra_noise``.
    """
    if isinstance(sampler, SigmaSampler):
        sigma = sigmas_for(sampler, schedule, walk)[0].to(noise)
        return start + noise * sigma + noise * extra
    alpha = table.alphas_cumprod.to(noise)[int(schedule[walk.last])]
    return start * alpha.sqrt() + noise * (1 - alpha).sqrt() + noise * (extra * alpha.sqrt())
