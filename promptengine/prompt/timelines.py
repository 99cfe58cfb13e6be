"""Multipliers of networks over the steps: what tags hold when, and how much of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from promptengine.kinds import Curve, TagProblem, TagReading, kind_of_word
from promptengine.kinds.tag import finite_number
from promptengine.prompt.ast import Prompt, Tag
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.schedule import bracketed_tags
from promptengine.prompt.scheduled import ScheduledPrompt

__all__ = ["TagClock", "read_tag", "tag_timelines"]

_DIVIDERS: Final = re.compile("[,;]")


def tag_timelines(prompt: ScheduledPrompt) -> dict[Tag, tuple[float, ...]]:
    """Return the multipliers of the networks that change over the steps, call by call.

    Args:
        prompt: Any; only some dialects have such networks.
    """
    parsed = prompt.prompt
    tags = [tag for tag in parsed.tags if _changes_over_steps(tag)]
    dialect = DIALECTS[parsed.dialect]
    if not tags or not (dialect.curves or dialect.schedules_tags):
        return {}
    clock = TagClock.of(prompt)
    found: dict[Tag, tuple[float, ...]] = {}
    for tag in tags:
        try:
            reading = read_tag(tag, parsed, clock)
        except TagProblem:
            continue
        if reading is None:
            continue
        # What acts on the images themselves is shown, and texts' share where that alone changes.
        curves = reading.unet or reading.curve, reading.curve
        values = (clock.over_calls(tag, curve) for curve in curves)
        if changing := next((one for one in values if len(one) > 1), ()):
            found[tag] = changing[:-1]
    return found


@dataclass(frozen=True, slots=True)
class TagClock:
    """When tags hold, and what their multipliers are then.

    Attributes:
        bracketed: The tags that brackets decide about; all others hold always.
        holding: For each call those of them that hold; the last is for all later calls.
        steps: Of the pass.
        later: Whether that is the second one, at high resolution.
    """

    bracketed: frozenset[Tag]
    holding: tuple[frozenset[Tag], ...]
    steps: int
    later: bool = False

    @classmethod
    def of(cls, prompt: ScheduledPrompt) -> TagClock:
        """Read when a prompt's tags hold."""
        parsed, steps = prompt.prompt, prompt.pass_steps
        parts = parsed.parts if parsed.tags else ()
        tags = frozenset(tag for part in parts for tag in bracketed_tags(part))
        # Texts need not be weighed to know that a tag always holds.
        schedules = prompt.schedules if tags else ()
        # One call more than steps: past the end a schedule's first segment holds again.
        calls = range(steps + 2) if tags else ()
        holding = (frozenset(t for s in schedules for t in s.at(call).tags) for call in calls)
        return cls(tags, tuple(holding), steps, later=prompt.hires_steps is not None)

    def changes(self, tag: Tag) -> bool:
        """Tell whether brackets let a tag hold at some calls and not at others, or at none."""
        return tag in self.bracketed and not all(tag in held for held in self.holding)

    def over_calls(self, tag: Tag, curve: Curve) -> tuple[float, ...]:
        """Return a tag's multiplier at each call, or one value for all if it never changes.

        Args:
            tag: The tag.
            curve: What it says.
        """
        always = tag not in self.bracketed
        if always and curve.is_constant:
            return (curve.at(0),)
        values = tuple(
            curve.at(call) if always or tag in self.holding[call] else 0.0
            for call in range(self.steps + 2)
        )
        return values if len(set(values)) > 1 else values[:1]


def _changes_over_steps(tag: Tag) -> bool:
    kind = kind_of_word(tag.kind)
    return kind is not None and kind.tag is not None and kind.tag.over_steps


def read_tag(tag: Tag, prompt: Prompt, clock: TagClock) -> TagReading | None:
    """Read what a tag asks for; None where no kind has such tags.

    Args:
        tag: Of the prompt.
        prompt: Its dialect decides whether multipliers may change over the steps.
        clock: The pass's.

    Raises:
        TagProblem: It cannot be read.
    """
    kind = kind_of_word(tag.kind)
    if kind is None or kind.tag is None:
        return None
    curves = kind.tag.over_steps and DIALECTS[prompt.dialect].curves
    return kind.tag.read(tag.kind, tag.arguments, _CurveReader(curves, clock.later, clock.steps))


@dataclass(frozen=True, slots=True)
class _CurveReader:
    """Reads multipliers and steps for a pass of some steps.

    The language is that of the extension loractl: ``multiplier@when``, divided by commas or semicolons. A
    when with a point is a share of the steps, and so are all of a list where none is above 1; any other
    is a step.
    """

    over_steps: bool
    later: bool
    steps: int

    def __call__(self, text: str) -> Curve | None:
        if self.over_steps and "@" in text:
            return self._curve(text)
        constant = finite_number(text)
        return None if constant is None else Curve(((0.0, constant),))

    def step(self, text: str) -> float | None:
        place = finite_number(text)
        if place is None or place < 0:
            return None
        return place * self.steps if "." in text else place

    def _curve(self, text: str) -> Curve | None:
        found: list[tuple[str, float, float]] = []
        for item in _DIVIDERS.split(text):
            value, at, when = (piece.strip() for piece in item.partition("@"))
            multiplier, place = finite_number(value), finite_number(when if at else "0")
            if multiplier is None or place is None or place < 0:
                return None
            found.append((when, place, multiplier))
        shares = max(place for _, place, _ in found) <= 1
        points = (
            (place * self.steps if shares or "." in when else place, multiplier)
            for when, place, multiplier in found
        )
        return Curve(tuple(sorted(points, key=_place)))


def _place(point: tuple[float, float]) -> float:
    return point[0]
