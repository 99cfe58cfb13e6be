"""A part over the steps: which text holds until when.

Steps count from 1 here. The numbers that end a segment are the reference's, as are the rules for the
second (high-resolution) pass and for old schedules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from promptengine.garbage import gc_paused
from promptengine.prompt.ast import (
    Alternating,
    Fragment,
    Group,
    Node,
    Part,
    Schedule,
    Scheduled,
    Segment,
    Tag,
    Text,
)
from promptengine.prompt.emphasis import attention
from promptengine.prompt.source_map import join
from promptengine.validation import check_type

__all__ = ["bracketed_tags", "last_step", "schedule", "steps_of"]


@gc_paused
def schedule(
    part: Part, steps: int, *, hires_steps: int | None = None, old: bool = False
) -> Schedule:
    """Work out what a part says at each step of one sampling pass.

    Args:
        part: An operand of a prompt, as :func:`promptengine.prompt.parser` gives it.
        steps: Steps of the first pass, 1 or more.
        hires_steps: Steps of the second pass; where given, the schedule is that pass's. Steps as
            integers then count on from the first pass, and fractions from 1.0.
        old: Count as old versions of WebUI did, which it still offers: a number below 1 is a
            fraction, with or without a dot, and the second pass repeats the first one's schedule.

    Returns:
        Segments in ascending order, the last of which ends at the pass's last step. Neighbors may
        hold the same text. Work grows with the text times the segments, of which there are at most
        as many as steps.
    """
    check_type("part", part, Part)
    check_type("steps", steps, int)
    count = _Count.of(steps, hires_steps, old, part.exact_steps)
    ends = _ends(part.nodes, count)
    known: dict[str, tuple[Fragment, ...]] = {}
    segments: list[Segment] = []
    for end in ends:
        texts: list[str] = []
        tags: list[Tag] = []
        for arm in part.arms:
            leaves = list(_leaves(arm, end, count))
            pieces = [leaf for leaf in leaves if isinstance(leaf, Text)]
            text = "".join(piece.text for piece in pieces)
            tags += (leaf for leaf in leaves if isinstance(leaf, Tag))
            if text not in known:
                places = ((piece.text, piece.span.start) for piece in pieces)
                known[text] = (part.weigh or attention)(join(places, origin=part.span.start))
            texts.append(text)
        arms = tuple(known[text] for text in texts)
        mixed = arms if part.mix else ()
        fragments = tuple(one for arm in arms for one in arm) if part.mix else arms[0]
        segments.append(Segment(end, "\n".join(texts), fragments, tuple(tags), mixed))
    return Schedule(count.steps, tuple(segments), part.mix, part.exact_steps)


def steps_of(part: Part, steps: int, *, hires_steps: int | None = None, old: bool = False) -> int:
    """Return how many steps the schedule of a part has; the arguments are those of :func:`schedule`."""
    return _Count.of(steps, hires_steps, old, part.exact_steps).steps


def last_step(node: Scheduled, part: Part, steps: int) -> int:
    """Return the last step, from 1, at which the first text of a change holds; 0 where it never does.

    Args:
        node: Of the part.
        part: Of a prompt.
        steps: Of the pass.
    """
    return _Count.of(steps, None, False, part.exact_steps).when(node.when)


def bracketed_tags(part: Part) -> frozenset[Tag]:
    """Return the tags of a part whose brackets may decide when they hold (``Segment.tags``)."""
    found: set[Tag] = set()
    pending = [part.nodes]
    while pending:
        for node in pending.pop():
            match node:
                case Tag():
                    found.add(node)
                case Group(children):
                    pending.append(children)
                case Scheduled(before, after):
                    pending += before, after
                case Alternating(arms):
                    pending += arms
                case Text():
                    pass
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Count:
    """How the numbers of one pass count.

    Attributes:
        steps: Steps of the pass.
        integer_from: The step that an integer counts from.
        fraction_from: What a fraction counts from.
        old: Whether a number is a fraction by its size and not by its dot.
        exact: Whether a fraction of a step counts as a whole one.
    """

    steps: int
    integer_from: int
    fraction_from: float
    old: bool
    exact: bool = False

    @staticmethod
    def of(steps: int, hires_steps: int | None, old: bool, exact: bool) -> _Count:
        if exact:
            return _Count(hires_steps or steps, 0, 0.0, True, True)
        if hires_steps is None or old:
            return _Count(steps, 0, 0.0, old)
        return _Count(hires_steps, steps, 1.0, old)

    def when(self, number: str) -> int:
        """Return the last step before a change, at most the last of the pass, and at least 0."""
        value = float(number)
        fraction = value < 1 if self.old else "." in number
        if fraction:
            value = (value - self.fraction_from) * self.steps
        else:
            value -= self.integer_from
        # Compared before truncation: a number may be too large for an int to come of it.
        if value >= self.steps:
            return self.steps
        return math.ceil(max(value, 0)) if self.exact else int(max(value, 0))


def _ends(nodes: tuple[Node, ...], count: _Count) -> list[int]:
    """Return the steps at which segments end: also those of branches that are never taken."""
    ends = {count.steps}
    pending = [nodes]
    while pending:
        for node in pending.pop():
            match node:
                case Text() | Tag():
                    pass
                case Group(children):
                    pending.append(children)
                case Scheduled(before, after, when):
                    ends.add(count.when(when))
                    pending += before, after
                case Alternating(arms):
                    ends.update(range(1, count.steps + 1))
                    pending += arms
    return sorted(end for end in ends if end >= 1)


def _leaves(nodes: tuple[Node, ...], step: int, count: _Count) -> Iterator[Text | Tag]:
    """Yield the text and the tags that hold at ``step``."""
    pending: list[Iterator[Node]] = [iter(nodes)]
    while pending:
        for node in pending[-1]:
            match node:
                case Text() | Tag():
                    yield node
                    continue
                case Group(children):
                    taken = children
                case Scheduled(before, after, when):
                    taken = before if step <= count.when(when) else after
                case Alternating(arms):
                    taken = arms[(step - 1) % len(arms)]
            pending.append(iter(taken))
            break
        else:
            pending.pop()
