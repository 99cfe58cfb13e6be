"""Multipliers of networks over the steps: what tags hold when, and how much of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from promptengine.kinds import Points, TagProblem, TagReading, kind_of_word
from promptengine.kinds.tag import finite_number
from promptengine.prompt.ast import Prompt, Tag
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.schedule import bracketed_tags
from promptengine.prompt.scheduled import ScheduledPrompt

__all__ = ["TagClock", "read_tag", "tag_timelines"]


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
        values = () if reading is None else clock.over_calls(tag, reading.points)
        if len(values) > 1:
            found[tag] = values[:-1]
    return found


@dataclass(frozen=True, slots=True)
class TagClock:
    """When tags hold, and what their multipliers are then.

    Attributes:
        bracketed: The tags that brackets decide about; all others hold always.
        holding: For each call those of them that hold; the last is for all later calls.
        steps: Of the pass.
    """

    bracketed: frozenset[Tag]
    holding: tuple[frozenset[Tag], ...]
    steps: int

    @classmethod
    def of(cls, prompt: ScheduledPrompt) -> TagClock:
        """Read when a prompt's tags hold."""
        tags = frozenset(tag for part in prompt.prompt.parts for tag in bracketed_tags(part))
        schedules = prompt.schedules
        steps = schedules[0].steps
        # One call more than steps: past the end a schedule's first segment holds again.
        calls = range(steps + 2) if tags else ()
        holding = (frozenset(t for s in schedules for t in s.at(call).tags) for call in calls)
        return cls(tags, tuple(holding), steps)

    def changes(self, tag: Tag) -> bool:
        """Tell whether brackets let a tag hold at some calls and not at others, or at none."""
        return tag in self.bracketed and not all(tag in held for held in self.holding)

    def over_calls(self, tag: Tag, points: Sequence[tuple[float, float]]) -> tuple[float, ...]:
        """Return a tag's multiplier at each call, or one value for all if it never changes.

        Args:
            tag: The tag.
            points: Calls, ascending, with multipliers there; between them it changes evenly.
        """
        always = tag not in self.bracketed
        if always and len(points) == 1:
            return (points[0][1],)
        values = tuple(
            _between(points, call) if always or tag in self.holding[call] else 0.0
            for call in range(self.steps + 2)
        )
        return values if len(set(values)) > 1 else values[:1]


def _place(point: tuple[float, float]) -> float:
    return point[0]


def _between(points: Sequence[tuple[float, float]], call: float) -> float:
    after = bisect_right(points, call, key=_place)
    if after in (0, len(points)):
        return points[max(after - 1, 0)][1]
    (start, low), (end, high) = points[after - 1], points[after]
    return low + (high - low) * (call - start) / (end - start)


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
    return kind.tag.read(tag.kind, tag.arguments, partial(_read_points, curves, clock.steps))


def _read_points(curves: bool, steps: int, text: str) -> Points | None:
    if curves and "@" in text:
        return _points(text, steps)
    constant = finite_number(text)
    return None if constant is None else ((0.0, constant),)


def _points(text: str, steps: int) -> Points | None:
    """Read ``multiplier@when, …``: a when with a dot is a fraction of the steps, else a step."""
    points: list[tuple[float, float]] = []
    for item in text.split(","):
        value, at, when = (piece.strip() for piece in item.partition("@"))
        multiplier, place = finite_number(value), finite_number(when if at else "0")
        if multiplier is None or place is None or place < 0:
            return None
        points.append((place * steps if "." in when else place, multiplier))
    return tuple(sorted(points, key=_place))
