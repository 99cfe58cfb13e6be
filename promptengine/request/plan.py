"""Prompts and a registry to a plan: every decision that needs no model.

A plan says what each denoiser call will be told and which networks are to run, in order. It also says
what was asked for and will not happen, because nothing may be dropped without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from promptengine.errors import PromptEngineError, PromptSyntaxError, RequestError
from promptengine.prompt import (
    Diagnostic,
    Prompt,
    Schedule,
    Span,
    Tag,
    parse,
    schedule,
)
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.lint import lora_items
from promptengine.prompt.timelines import TagClock, finite_number, tag_points
from promptengine.registry.registry import Kind, Registry, RegistryEntry
from promptengine.request.request import Policy, append_tag
from promptengine.validation import check_type

__all__ = [
    "LORA_KINDS",
    "LoraUse",
    "NetworkUse",
    "Plan",
    "SkippedTag",
    "WeightedSchedule",
    "append_default_lora",
    "make_plan",
]

LORA_KINDS: Final = ("lora", "lyco")
"""Words that open a LoRA's tag; they mean the same."""


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """One network, used once. The multiplier belongs to the use: a network may be used again.

    Attributes:
        entry: Which file.
        multiplier: Finite; 1 is full effect, 0 none, negative reverses it. Where it changes over the
            steps, the one of the largest effect.
        span: The tag's place in the prompt.
        multipliers: Where it changes, that of each call of the denoiser; the last is that of all later
            calls. Else empty.
    """

    entry: RegistryEntry
    multiplier: float
    span: Span
    multipliers: tuple[float, ...] = ()

    def at(self, call: int) -> float:
        """Return the multiplier at the 0-based denoiser call."""
        if not self.multipliers:
            return self.multiplier
        return self.multipliers[min(call, len(self.multipliers) - 1)]


@dataclass(frozen=True, slots=True)
class LoraUse:
    """One LoRA, used once.

    Attributes:
        entry: Which file.
        tag: The tag.
        name: As the tag spells it: a stem, a path or an alias.
        text: Multiplier of its changes to the text encoder; finite.
        unet: Multiplier of its changes to the UNet; finite.
        ranks: How many of its first ranks count, sliced as Python does; None for all.
    """

    entry: RegistryEntry
    tag: Tag
    name: str
    text: float
    unet: float
    ranks: int | None

    @property
    def span(self) -> Span:
        """The tag's place in the prompt."""
        return self.tag.span


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
        networks: Uses of hypernetworks in the order of their tags, which is the order of application.
        loras: Likewise of LoRAs.
        skipped: Tags that will not be applied.
        diagnostics: Of both prompts and of the look-ups.
    """

    positive: tuple[WeightedSchedule, ...]
    negative: Schedule
    networks: tuple[NetworkUse, ...]
    loras: tuple[LoraUse, ...]
    skipped: tuple[SkippedTag, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that will be encoded, piece by piece, without brackets."""
        timelines = (*(part.schedule for part in self.positive), self.negative)
        segments = (segment for timeline in timelines for segment in timeline.segments)
        return tuple(fragment.text for segment in segments for fragment in segment.fragments)


def make_plan(
    prompt: Prompt,
    negative: Prompt,
    registry: Registry,
    *,
    steps: int,
    hires_steps: int | None = None,
    policy: Policy = "warn",
    old_timelines: bool = False,
) -> Plan:
    """Decide everything that can be decided without a model.

    Args:
        prompt: The parsed prompt.
        negative: The parsed negative prompt (``parse(text, negative=True)``).
        registry: Where names are looked up.
        steps: What schedules are computed for: denoiser calls as WebUI counts them.
        hires_steps: Likewise of the second pass, where the plan is for that one.
        policy: ``strict`` raises for the first tag that cannot be applied, ``warn`` skips it with a
            diagnostic, ``ignore`` skips it and only lists it.
        old_timelines: Count steps in prompts as old versions of WebUI did.

    Raises:
        PromptSyntaxError: ``strict``, and a tag's kind or multiplier is not usable.
        UnknownNetworkError: ``strict``, and a name is in no folder.
    """
    check_type("prompt", prompt, Prompt)
    check_type("negative", negative, Prompt)
    check_type("registry", registry, Registry)
    check_type("steps", steps, int)
    timeline = partial(schedule, steps=steps, hires_steps=hires_steps, old=old_timelines)
    uses: list[NetworkUse] = []
    loras: list[LoraUse] = []
    skipped: list[SkippedTag] = []
    diagnostics = [*prompt.diagnostics, *negative.diagnostics]
    parts = tuple(WeightedSchedule(timeline(part), part.weight) for part in prompt.parts)
    clock = TagClock.of(prompt, [part.schedule for part in parts])
    for tag in prompt.tags:
        outcome = _resolve(tag, prompt, registry, clock)
        if isinstance(outcome, NetworkUse):
            uses.append(outcome)
        elif isinstance(outcome, LoraUse):
            loras.append(outcome)
        elif policy == "strict":
            raise outcome.error
        else:
            skipped.append(SkippedTag(tag, outcome.reason, outcome.multiplier))
            if policy == "warn":
                hint = "it is not applied"
                diagnostics.append(Diagnostic("warning", outcome.problem, tag.span, hint))
    diagnostics += _repetitions([*uses, *loras])
    return Plan(
        positive=parts,
        negative=timeline(negative.parts[0]),
        networks=tuple(uses),
        loras=tuple(loras),
        skipped=tuple(skipped),
        diagnostics=tuple(diagnostics),
    )


def append_default_lora(prompt: str, name: str, multiplier: float = 1.0) -> str:
    """Append a LoRA's tag to a prompt that does not name that LoRA: WebUI's setting ``sd_lora``.

    Args:
        prompt: Any prompt.
        name: Of a LoRA that exists. Empty or ``None`` appends nothing.
        multiplier: WebUI's ``extra_networks_default_multiplier``.

    Raises:
        RequestError: No tag can hold this name.
    """
    tags = [tag for tag in parse(prompt).tags if tag.kind in LORA_KINDS]
    if name in ("", "None") or any(lora_items(tag)[0][:1] == [name] for tag in tags):
        return prompt
    if any(mark in name for mark in "<>:=\r\n"):
        message = f"{name!r} is no name of a LoRA that a tag can hold"
        raise RequestError(message, field="sd_lora")
    return append_tag(prompt, f"<lora:{name}:{multiplier}>")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a tag cannot be applied: in a few words, in a sentence, and as the error to raise."""

    reason: str
    problem: str
    multiplier: float | None
    error: PromptEngineError


def _resolve(
    tag: Tag, prompt: Prompt, registry: Registry, clock: TagClock
) -> NetworkUse | LoraUse | _Refusal:
    if tag.kind in LORA_KINDS:
        curve = DIALECTS[prompt.dialect].curves and any("@" in item for item in tag.arguments[1:])
        if curve or clock.changes(tag):
            reason = "LoRAs cannot change over the steps"
            remedy = "write one number" if curve else "take the tag out of the brackets"
            return _unusable(tag, prompt, reason, f"{reason}; {remedy}")
        return _resolve_lora(tag, prompt, registry)
    if tag.kind != "hypernet":
        reason = f"tags of kind {tag.kind!r} are not applied"
        return _unusable(tag, prompt, reason, f"this version applies no <{tag.kind}:…> tags")
    name, *rest = tag.arguments
    points = tag_points(tag, prompt, clock)
    if points is None:
        reason = f"multiplier {rest[0]!r} is not a finite number"
        problem = f"multiplier {rest[0]!r} of hypernetwork {name!r} is not a finite number"
        return _unusable(tag, prompt, reason, problem)
    values = clock.over_calls(tag, points)
    multiplier = max(values, key=abs)
    entry = registry.find("hypernet", name)
    if entry is None:
        return _unknown("hypernet", name, tag, registry, multiplier)
    return NetworkUse(entry, multiplier, tag.span, values if len(values) > 1 else ())


def _resolve_lora(tag: Tag, prompt: Prompt, registry: Registry) -> LoraUse | _Refusal:
    """Reads ``<lora:name:te:unet:dyn>``, where ``te=``, ``unet=`` and ``dyn=`` may stand anywhere."""
    positional, named = lora_items(tag)
    if not positional:
        reason = f"{tag.arguments[0]!r} is no name, because of its '='"
        problem = f"in a <{tag.kind}:…> tag {tag.arguments[0]!r} is no name, because of its '='"
        return _unusable(tag, prompt, reason, problem)
    name, *numbers = positional
    asked = dict(zip(("te", "unet", "dyn"), numbers, strict=False)) | named
    for key, read in (("te", finite_number), ("unet", finite_number), ("dyn", _whole_number)):
        if key in asked and read(asked[key]) is None:
            sort = "whole" if key == "dyn" else "finite"
            reason = f"{key} {asked[key]!r} is not a {sort} number"
            return _unusable(tag, prompt, reason, f"LoRA {name!r}: {reason}")
    text = finite_number(asked.get("te", "1")) or 0.0
    unet = text if "unet" not in asked else finite_number(asked["unet"]) or 0.0
    entry = registry.find("lora", name)
    if entry is None:
        return _unknown("lora", name, tag, registry, text)
    return LoraUse(entry, tag, name, text, unet, _whole_number(asked.get("dyn", "")))


def _unknown(kind: Kind, name: str, tag: Tag, registry: Registry, multiplier: float) -> _Refusal:
    placed = registry.unknown(kind, name, place=f"at column {tag.span.column}")
    return _Refusal("not found", str(registry.unknown(kind, name)), multiplier, placed)


def _unusable(tag: Tag, prompt: Prompt, reason: str, problem: str) -> _Refusal:
    span = (tag.span.start, tag.span.end)
    error = PromptSyntaxError(problem, source=prompt.source, span=span)
    return _Refusal(reason, problem, None, error)


def _whole_number(text: str) -> int | None:
    """What Python's ``int`` reads, as in WebUI, cut to what can be a number of ranks."""
    try:
        return max(min(int(text), _MOST_RANKS), -_MOST_RANKS)
    except ValueError:
        return None


def _repetitions(uses: Sequence[NetworkUse | LoraUse]) -> list[Diagnostic]:
    counts = Counter(use.entry.path for use in uses)
    repeated = {use.entry.path: use for use in uses if counts[use.entry.path] > 1}
    return [
        Diagnostic(
            "warning",
            f"{_WORDS[type(use)]} {use.entry.name!r} is named {counts[path]} times",
            use.span,
            "it is applied as often, in order; name it once to apply it once",
        )
        for path, use in repeated.items()
    ]


_MOST_RANKS: Final = 1 << 31
_WORDS: Final = {NetworkUse: "hypernetwork", LoraUse: "LoRA"}
