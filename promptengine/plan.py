"""Prompts and a registry to a plan: every decision that needs no model.

A plan says what each denoiser call will be told and which networks are to run, in order. It also says
what was asked for and will not happen, because nothing may be dropped without a word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptengine.errors import PromptEngineError, PromptSyntaxError
from promptengine.registry import Registry, RegistryEntry
from promptengine.request import Policy
from promptengine.syntax import Diagnostic, Prompt, Schedule, Span, Tag, schedule

__all__ = ["NetworkUse", "Plan", "SkippedTag", "WeightedSchedule", "make_plan"]


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """One network, used once. The multiplier belongs to the use: a network may be used again.

    Attributes:
        entry: Which file.
        multiplier: Finite; 1 is full effect, 0 none, negative reverses it.
        span: The tag's place in the prompt.
    """

    entry: RegistryEntry
    multiplier: float
    span: Span


@dataclass(frozen=True, slots=True)
class SkippedTag:
    """A tag that will not be applied.

    Attributes:
        tag: The tag as read.
        reason: Why, in a few words.
        multiplier: What it asked for, or None where that is no usable number.
    """

    tag: Tag
    reason: str
    multiplier: float | None = None


@dataclass(frozen=True, slots=True)
class WeightedSchedule:
    """One operand of ``AND`` over the steps, with its weight."""

    schedule: Schedule
    weight: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generation will do.

    Attributes:
        positive: The prompt's parts; several where it holds ``AND``.
        negative: The negative prompt, never split.
        networks: Uses in the order of their tags, which is the order of application.
        skipped: Tags that will not be applied.
        diagnostics: Of both prompts and of the look-ups.
    """

    positive: tuple[WeightedSchedule, ...]
    negative: Schedule
    networks: tuple[NetworkUse, ...]
    skipped: tuple[SkippedTag, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def texts(self) -> Iterator[str]:
        """Every text that will be encoded, piece by piece, without brackets."""
        for each in (*(part.schedule for part in self.positive), self.negative):
            for segment in each.segments:
                yield from (fragment.text for fragment in segment.fragments)


def make_plan(
    prompt: Prompt,
    negative: Prompt,
    registry: Registry,
    *,
    steps: int,
    policy: Policy = "warn",
    old_timelines: bool = False,
) -> Plan:
    """Decide everything that can be decided without a model.

    Args:
        prompt: The parsed prompt.
        negative: The parsed negative prompt (``parse(text, negative=True)``).
        registry: Where names are looked up.
        steps: What schedules are computed for: denoiser calls as WebUI counts them.
        policy: ``strict`` raises for the first tag that cannot be applied, ``warn`` skips it with a
            diagnostic, ``ignore`` skips it and only lists it.
        old_timelines: Count steps in prompts as old versions of WebUI did.

    Raises:
        PromptSyntaxError: ``strict``, and a tag's kind or multiplier is not usable.
        UnknownNetworkError: ``strict``, and a name is in no folder.
    """
    uses: list[NetworkUse] = []
    skipped: list[SkippedTag] = []
    diagnostics = [*prompt.diagnostics, *negative.diagnostics]
    for tag in prompt.tags:
        outcome = _resolve(tag, prompt, registry)
        if isinstance(outcome, NetworkUse):
            uses.append(outcome)
            continue
        if policy == "strict":
            raise outcome.error
        skipped.append(SkippedTag(tag, outcome.reason, outcome.multiplier))
        if policy == "warn":
            hint = "it is not applied"
            diagnostics.append(Diagnostic("warning", outcome.problem, tag.span, hint))
    diagnostics += _repetitions(uses)
    return Plan(
        positive=tuple(
            WeightedSchedule(schedule(p, steps, old=old_timelines), p.weight) for p in prompt.parts
        ),
        negative=schedule(negative.parts[0], steps, old=old_timelines),
        networks=tuple(uses),
        skipped=tuple(skipped),
        diagnostics=tuple(diagnostics),
    )


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a tag cannot be applied: in a few words, in a sentence, and as the error to raise."""

    reason: str
    problem: str
    multiplier: float | None
    error: PromptEngineError


def _resolve(tag: Tag, prompt: Prompt, registry: Registry) -> NetworkUse | _Refusal:
    if tag.kind != "hypernet":
        reason = f"tags of kind {tag.kind!r} are not applied"
        return _unusable(tag, prompt, reason, f"this version applies no <{tag.kind}:…> tags")
    name, *rest = tag.arguments
    multiplier = _number(rest[0]) if rest else 1.0
    if multiplier is None:
        reason = f"multiplier {rest[0]!r} is not a finite number"
        problem = f"multiplier {rest[0]!r} of hypernetwork {name!r} is not a finite number"
        return _unusable(tag, prompt, reason, problem)
    entry = registry.find("hypernet", name)
    if entry is None:
        placed = registry.unknown("hypernet", name, place=f"at column {tag.span.column}")
        problem = str(registry.unknown("hypernet", name))
        return _Refusal("not found", problem, multiplier, placed)
    return NetworkUse(entry, multiplier, tag.span)


def _unusable(tag: Tag, prompt: Prompt, reason: str, problem: str) -> _Refusal:
    span = (tag.span.start, tag.span.end)
    error = PromptSyntaxError(problem, source=prompt.source, span=span)
    return _Refusal(reason, problem, None, error)


def _number(text: str) -> float | None:
    """What Python's ``float`` reads, as in WebUI, save what no picture can be made with."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _repetitions(uses: Sequence[NetworkUse]) -> list[Diagnostic]:
    counts = Counter(use.entry.path for use in uses)
    repeated = {use.entry.path: use for use in uses if counts[use.entry.path] > 1}
    return [
        Diagnostic(
            "warning",
            f"hypernetwork {use.entry.name!r} is named {counts[path]} times",
            use.span,
            "it is applied as often, in order; name it once to apply it once",
        )
        for path, use in repeated.items()
    ]
