"""A prompt and a negative prompt put into ComfyUI's objects, and told of in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from promptengine.errors import RequestError
from promptengine.families import FAMILIES, Family
from promptengine.integrations.comfyui.guidance import conditioning_entries, guide
from promptengine.integrations.comfyui.host import open_folders
from promptengine.integrations.comfyui.networks import apply_networks, weight_changes
from promptengine.integrations.comfyui.patches import RunClock
from promptengine.integrations.comfyui.text import ClipText
from promptengine.integrations.comfyui.told import PromptOrigin, PromptSettings, PromptTold
from promptengine.prompt import Diagnostic, Schedule, parse
from promptengine.prompt.dialects import find_dialect
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.request.options import Options
from promptengine.request.plan import Plan, make_plan
from promptengine.request.result import NetworkReport
from promptengine.request.weighing import check_weighing
from promptengine.text.conditioning import Conditioning, encode_schedule
from promptengine.text.textual_inversion.loader import (
    EmbeddingCache,
    misfit_diagnostics,
    with_bundled,
)

__all__ = ["AppliedPrompt", "apply_prompt"]


@dataclass(frozen=True, slots=True, eq=False)
class AppliedPrompt:
    """Prompts in ComfyUI's objects.

    Attributes:
        model: With networks and WebUI's guidance; the conditionings mean what they say with it alone.
        positive: CONDITIONING.
        negative: Likewise.
        report: What was applied and what was not, a line each.
        told: The same for an infotext.
    """

    model: Any
    positive: list[tuple[Tensor, Any]]
    negative: list[tuple[Tensor, Any]]
    report: str
    told: PromptTold


@torch.no_grad()
def apply_prompt(model: Any, clip: Any, settings: PromptSettings) -> AppliedPrompt:
    """Parse, plan, load and encode prompts, and put them into clones of a model and a text encoder.

    Args:
        model: A ``ModelPatcher``; left as it is.
        clip: A ``CLIP``; likewise.
        settings: What is asked for.

    Raises:
        PromptEngineError: As :meth:`promptengine.generation.engine.Engine.generate` says of prompts; or a
            prompt has regions, or the objects are of another kind of model.
    """
    find_dialect(settings.dialect)
    check_weighing(settings.dialect, Options(emphasis=settings.emphasis))
    read = partial(parse, dialect=settings.dialect)
    prompts = read(settings.prompt), read(settings.negative_prompt, negative=True)
    if any(part.regions is not None for one in prompts for part in one.parts):
        message = "these nodes have no regions; take ADDCOL and its like out of the prompt"
        raise RequestError(message, field="prompt")
    registry = open_folders()
    scheduled = ScheduledPrompt(prompts[0], settings.calls)
    plan = make_plan(scheduled, prompts[1], registry, policy=settings.policy)
    clock = RunClock()
    found = apply_networks(model, clip, plan, registry, policy=settings.policy, clock=clock)
    guide(found.model, clock)
    if settings.clip_skip > 1:
        found.clip.clip_layer(-settings.clip_skip)
    text = ClipText.of(found.clip)
    own = EmbeddingCache(registry).words(text.widths)
    words = with_bundled(own, found.words, text.widths)
    rule = find_dialect(settings.dialect).weights
    webui = partial(encode_schedule, emphasis=settings.emphasis)
    by_rule = partial(rule.encode or webui, embeddings=words.table, comma_backtrack=20)

    def encode(timeline: Schedule) -> Conditioning:
        return by_rule(timeline, [text] * len(timeline.segments))

    positive = [(encode(part.schedule), part.weight) for part in plan.positive]
    negative = _negative(encode(plan.negative), plan, text)
    told = PromptTold(
        settings,
        tuple(found.reports),
        tuple(positive),
        negative,
        prompts,
        plan.schedules,
        clip_skip=_clip_skip(found.clip, text.family),
        changes=weight_changes(model) + weight_changes(clip.patcher),
        lora_changes=weight_changes(found.model) - weight_changes(model),
        clock=clock,
    )
    misfits = misfit_diagnostics(words, plan.texts)
    diagnostics = [*plan.diagnostics, *found.diagnostics, *misfits]
    return AppliedPrompt(
        found.model,
        conditioning_entries(positive, PromptOrigin(told, negative=False)),
        conditioning_entries([(negative, 1.0)], PromptOrigin(told, negative=True)),
        "\n".join(_lines(plan, told, diagnostics, positive, negative)),
        told,
    )


def _negative(conditioning: Conditioning, plan: Plan, text: ClipText) -> Conditioning:
    """Return what the negative prompt says: all zeros where the family has an empty one so, as in WebUI."""
    zeros = FAMILIES[text.family].zero_empty_negative
    if not zeros or any(one.text for one in plan.negative.segments):
        return conditioning
    pooled = conditioning.pooled
    return replace(
        conditioning,
        embeddings=torch.zeros_like(conditioning.embeddings),
        pooled=None if pooled is None else torch.zeros_like(pooled),
    )


def _clip_skip(clip: Any, family: Family) -> int | None:
    """Return where a CLIP stops as WebUI counts; None where it is told so in another way."""
    layer = clip.layer_idx
    if layer is None:
        return 1
    return -layer if family == "SD1" and isinstance(layer, int) and layer < 0 else None


def _lines(
    plan: Plan,
    told: PromptTold,
    diagnostics: list[Diagnostic],
    positive: list[tuple[Conditioning, float]],
    negative: Conditioning,
) -> Iterator[str]:
    """Yield the lines of a report."""
    texts = sum(len(part.schedule.segments) for part in plan.positive)
    calls = told.settings.calls
    yield f"prompt: {_counted(len(plan.positive), 'part')}, {_counted(texts, 'text')} over {_counted(calls, 'call')}"
    yield f"negative prompt: {_counted(len(plan.negative.segments), 'text')}"
    for report in told.reports:
        if not report.applied:
            yield f"{report.kind} {report.name!r}: not applied, {report.reason}"
            continue
        yield f"{report.kind} {report.name!r}: applied at {_multipliers(report)}"
    words = dict.fromkeys(
        word.name for one in (*(part for part, _ in positive), negative) for word in one.words
    )
    for word in words:
        yield f"embedding {word!r}: applied"
    for one in dict.fromkeys(diagnostics):
        yield f"{one.severity}: {one.message}" + (f" ({one.hint})" if one.hint else "")


def _multipliers(report: NetworkReport) -> str:
    if report.multipliers:
        return ", ".join(f"{value:g}" for value in report.multipliers) + " over the calls"
    own = f"{report.multiplier:g}"
    if report.unet_multiplier is None or report.unet_multiplier == report.multiplier:
        return own
    return f"{own} (text encoder), {report.unet_multiplier:g} (UNet)"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
