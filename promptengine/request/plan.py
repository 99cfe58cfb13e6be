"""Prompts and a registry to a plan: every decision that needs no model.

A plan says what each denoiser call will be told and which networks are to run, in order. It also says
what was asked for and will not happen, because nothing may be dropped without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from promptengine.errors import PromptEngineError, PromptSyntaxError
from promptengine.kinds import (
    LORA,
    BlockWeights,
    NetworkKind,
    TagProblem,
    TagReading,
    find_kind,
    kind_of_word,
)
from promptengine.kinds.tag import finite_number
from promptengine.prompt import (
    Diagnostic,
    Prompt,
    Related,
    Remedy,
    Schedule,
    Span,
    Tag,
)
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.dialects import DIALECTS, WEBUI
from promptengine.prompt.quoting import quoted
from promptengine.prompt.regions import region_at
from promptengine.prompt.remedies import of_argument, taken_out
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.timelines import TagClock, read_tag
from promptengine.registry.registry import Kind, Registry, RegistryEntry
from promptengine.request.edit import append_network, names_network
from promptengine.request.request import Policy
from promptengine.validation import check_type

__all__ = [
    "LookUps",
    "NetworkUse",
    "Plan",
    "SkippedTag",
    "WeightedSchedule",
    "append_default_lora",
    "look_up",
    "make_plan",
]


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """One network, used once. The multiplier belongs to the use: a network may be used again.

    Attributes:
        entry: Which file.
        tag: The tag.
        name: As the tag spells it: a stem, a path or an alias.
        multiplier: Finite; 1 is full effect, 0 none, negative reverses it. A LoRA's is that of its
            changes to the text encoders. Where it changes over the steps, the one of the largest effect.
        unet_multiplier: That of its changes to the UNet, for kinds that have two, such as LoRAs;
            likewise.
        extra: What else the tag asks for: of a LoRA how many of its first ranks count, sliced as Python
            does, or None for all.
        multipliers: Where it changes, that of each call of the denoiser; the last is that of all later
            calls. Else empty. Of kinds that have two, the UNet's.
        text_multipliers: The same of the text encoders', for kinds that have two.
        blocks: Its weights by block, which multiply the multipliers; None where the tag asks for none.
    """

    entry: RegistryEntry
    tag: Tag
    name: str
    multiplier: float
    unet_multiplier: float | None = None
    extra: Hashable = None
    multipliers: tuple[float, ...] = ()
    text_multipliers: tuple[float, ...] = ()
    blocks: BlockWeights | None = None

    @property
    def span(self) -> Span:
        """The tag's place in the prompt."""
        return self.tag.span

    def at(self, call: int) -> float:
        """Return the multiplier at the 0-based denoiser call; of kinds that have two, the UNet's."""
        if not self.multipliers:
            return self.multiplier if self.unet_multiplier is None else self.unet_multiplier
        return self.multipliers[min(call, len(self.multipliers) - 1)]

    def text_at(self, call: int) -> float:
        """Return the multiplier that a text is encoded under which is first read at a 0-based call."""
        if not self.text_multipliers:
            return self.multiplier
        return self.text_multipliers[min(call, len(self.text_multipliers) - 1)]


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
class LookUps:
    """What the tags of a prompt come to.

    Attributes:
        networks: Uses of networks in the order of their tags.
        skipped: Tags that will not be applied.
        diagnostics: What is to be said of both.
    """

    networks: tuple[NetworkUse, ...]
    skipped: tuple[SkippedTag, ...]
    diagnostics: tuple[Diagnostic, ...]


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
        networks: Uses of networks in the order of their tags, which is the order of application among
            those of one kind.
        skipped: Tags that will not be applied.
        diagnostics: Of both prompts and of the look-ups.
    """

    positive: tuple[WeightedSchedule, ...]
    negative: Schedule
    networks: tuple[NetworkUse, ...]
    skipped: tuple[SkippedTag, ...]
    diagnostics: tuple[Diagnostic, ...]

    def of(self, kind: Kind) -> tuple[NetworkUse, ...]:
        """Return the uses of networks of one kind, such as ``lora``, in order."""
        return tuple(use for use in self.networks if use.entry.kind == kind)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """What is encoded where no part has regions, the negative prompt last."""
        return (*(part.schedule for part in self.positive), self.negative)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of these, piece by piece, without brackets."""
        return tuple(fragment.text for one in self.schedules for fragment in one.fragments)


def make_plan(
    prompt: ScheduledPrompt, negative: Prompt, registry: Registry, *, policy: Policy = "warn"
) -> Plan:
    """Decide everything that can be decided without a model.

    Args:
        prompt: The parsed prompt over the denoiser calls, as WebUI counts them, of the pass that the plan
            is for.
        negative: The parsed negative prompt (``parse(text, negative=True)``), for the same calls.
        registry: Where names are looked up.
        policy: ``strict`` raises for the first tag that cannot be applied, ``warn`` skips it with a
            diagnostic, ``ignore`` skips it and only lists it.

    Raises:
        PromptSyntaxError: ``strict``, and a tag's kind or multiplier is not usable.
        UnknownNetworkError: ``strict``, and a name is in no folder.
    """
    check_type("prompt", prompt, ScheduledPrompt)
    check_type("negative", negative, Prompt)
    check_type("registry", registry, Registry)
    parsed = prompt.prompt
    found = look_up(prompt, registry, policy=policy)
    return Plan(
        positive=tuple(
            WeightedSchedule(timeline, part.weight)
            for timeline, part in zip(prompt.schedules, parsed.parts, strict=True)
        ),
        negative=replace(prompt, prompt=negative).schedules[0],
        networks=found.networks,
        skipped=found.skipped,
        diagnostics=(*parsed.diagnostics, *negative.diagnostics, *found.diagnostics),
    )


def look_up(prompt: ScheduledPrompt, registry: Registry, *, policy: Policy = "warn") -> LookUps:
    """Decide what becomes of a prompt's tags; no text is weighed unless brackets schedule some.

    Args:
        prompt: As for :func:`make_plan`.
        registry: Likewise.
        policy: Likewise.

    Raises:
        PromptSyntaxError: As :func:`make_plan` does.
        UnknownNetworkError: Likewise.
    """
    parsed = prompt.prompt
    uses: list[NetworkUse] = []
    skipped: list[SkippedTag] = []
    diagnostics: list[Diagnostic] = []
    if not parsed.tags:
        return LookUps((), (), ())
    clock = TagClock.of(prompt)
    for tag in parsed.tags:
        outcome = _resolve(tag, parsed, registry, clock)
        if isinstance(outcome, NetworkUse):
            uses.append(outcome)
        elif policy == "strict":
            raise outcome.error()
        else:
            skipped.append(SkippedTag(tag, outcome.reason, outcome.multiplier))
            if policy == "warn":
                hint = "it is not applied"
                told = outcome.kind(outcome.problem, tag.span, hint, outcome.remedy)
                diagnostics.append(told)
    diagnostics += _repetitions(parsed, uses)
    return LookUps(tuple(uses), tuple(skipped), tuple(diagnostics))


def append_default_lora(
    prompt: str, name: str, multiplier: float = 1.0, *, dialect: str = WEBUI
) -> str:
    """Append a LoRA's tag to a prompt that does not name that LoRA: WebUI's setting ``sd_lora``.

    Args:
        prompt: Any prompt.
        name: Of a LoRA that exists. Empty or ``None`` appends nothing.
        multiplier: WebUI's ``extra_networks_default_multiplier``.
        dialect: That the prompt is written in.

    Raises:
        RequestError: No tag can hold this name, the dialect has no such tags, or the prompt is divided into regions.
    """
    if name in ("", "None") or names_network(prompt, LORA, name, dialect=dialect):
        return prompt
    return append_network(prompt, LORA, name, str(multiplier), field="sd_lora", dialect=dialect)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a tag cannot be applied: in a few words, in a sentence, and as what makes the error; and what mends it."""

    kind: kinds.DiagnosticKind
    reason: str
    problem: str
    multiplier: float | None
    error: Callable[[], PromptEngineError]
    remedy: Remedy | None = None


def _resolve(
    tag: Tag, prompt: Prompt, registry: Registry, clock: TagClock
) -> NetworkUse | _Refusal:
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None:
        reason = f"tags of kind {tag.kind!r} are not applied"
        return _unusable(tag, prompt, reason, f"this version applies no <{tag.kind}:…> tags")
    curves = DIALECTS[prompt.dialect].curves
    curve = curves and any("@" in item for item in tag.arguments[1:])
    if not kind.tag.over_steps and (curve or clock.changes(tag)):
        reason = f"{kind.plural} cannot change over the steps"
        remedy = "write one number" if curve else "take the tag out of the brackets"
        return _unusable(tag, prompt, reason, f"{reason}; {remedy}")
    try:
        reading = read_tag(tag, prompt, clock) or TagReading(tag.arguments[0])
        blocks = reading.blocks and reading.blocks.resolve(registry.block_presets())
    except TagProblem as problem:
        refusal = _unusable(tag, prompt, problem.reason, problem.problem)
        return refusal if curves else replace(refusal, remedy=_decimal_point(tag))
    texts, values = (
        None if curve is None else clock.over_calls(tag, curve)
        for curve in (reading.curve, reading.unet)
    )
    assert texts is not None
    multiplier = max(texts, key=abs)
    entry = registry.find(kind.name, reading.name)
    if entry is None:
        return _unknown(kind, reading.name, tag, registry, multiplier)
    return NetworkUse(
        entry=entry,
        tag=tag,
        name=reading.name,
        multiplier=multiplier,
        unet_multiplier=None if values is None else max(values, key=abs),
        extra=reading.extra,
        multipliers=_moving(texts if values is None else values),
        text_multipliers=() if values is None else _moving(texts),
        blocks=blocks,
    )


def _moving(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if len(values) > 1 else ()


def _unknown(
    kind: NetworkKind, name: str, tag: Tag, registry: Registry, multiplier: float
) -> _Refusal:
    unknown = registry.unknown(kind.name, name)
    sayable = (near for near in unknown.near if kind.tag is not None and kind.tag.holds(near))
    near = next(sayable, None)
    remedy = None
    if near is not None and name in tag.arguments:
        remedy = of_argument(tag, tag.arguments.index(name), near, f"use {quoted(near)}")
    placed = partial(registry.unknown, kind.name, name, place=f"at column {tag.span.column}")
    return _Refusal(kinds.UNKNOWN_NETWORK, "not found", str(unknown), multiplier, placed, remedy)


def _decimal_point(tag: Tag) -> Remedy | None:
    """Write the one multiplier that has a decimal comma with a point, where all else are numbers."""
    odd = [i for i, item in enumerate(tag.arguments) if i and finite_number(item) is None]
    if len(odd) != 1:
        return None
    written = tag.arguments[odd[0]].replace(",", ".", 1)
    if finite_number(written) is None:
        return None
    return of_argument(tag, odd[0], written, f"write {written}")


def _unusable(tag: Tag, prompt: Prompt, reason: str, problem: str) -> _Refusal:
    span = (tag.span.start, tag.span.end)
    error = partial(PromptSyntaxError, problem, source=prompt.source, span=span)
    return _Refusal(kinds.UNUSABLE_TAG, reason, problem, None, error)


def _repetitions(prompt: Prompt, uses: Sequence[NetworkUse]) -> list[Diagnostic]:
    def place(use: NetworkUse) -> tuple[Path, int | None]:
        return use.entry.path, region_at(prompt, use.span.start)

    counts = Counter(map(place, uses))
    repeated = {place(use): use for use in uses if counts[place(use)] > 1}
    first = {place(use): use.span for use in reversed(uses)}
    return [
        kinds.REPEATED_NETWORK(
            f"{find_kind(use.entry.kind).noun} {use.entry.name!r} is named {counts[key]} times",
            use.span,
            "it is applied as often, in order; name it once to apply it once",
            taken_out(prompt.source, use.span, "take this one out"),
            related=(Related(first[key], "first named here"),),
        )
        for key, use in repeated.items()
    ]
