"""A prompt over the steps of a sampling pass, worked out once for all who look at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from promptengine.prompt.ast import Alternating, Group, Node, Part, Prompt, Schedule, Scheduled
from promptengine.prompt.regions import texts_of
from promptengine.prompt.schedule import schedule, steps_of
from promptengine.validation import check_type

__all__ = ["ScheduledPrompt"]


@dataclass(frozen=True)
class ScheduledPrompt:
    """A prompt and what its schedules are computed for; they are computed when they are first asked for.

    Args:
        prompt: As parsed.
        steps: Steps of the first pass, 1 or more.
        hires_steps: Steps of the second pass; where given, the schedules are that pass's.
        old: Count as old versions of WebUI did; see :func:`promptengine.prompt.schedule.schedule`.
    """

    prompt: Prompt
    steps: int
    hires_steps: int | None = None
    old: bool = False

    def __post_init__(self) -> None:
        """Check what is given.

        Raises:
            RequestError: It has another type.
        """
        check_type("prompt", self.prompt, Prompt)
        check_type("steps", self.steps, int)

    @property
    def size(self) -> int:
        """How many characters the schedules may have: of each part's and region's text once for each segment.

        It is an upper bound, told without computing them.
        """
        most = self.steps if self.hires_steps is None else self.hires_steps
        parts = self.prompt.parts
        lengths = [(part.nodes, part.span.end - part.span.start) for part in parts]
        lengths += [
            (text.nodes, len(text.text))
            for part in parts
            if part.regions is not None
            for text in texts_of(part)
        ]
        return sum(length * min(_segments(nodes, most), most) for nodes, length in lengths)

    @property
    def pass_steps(self) -> int:
        """How many steps the schedules have."""
        part = self.prompt.parts[0]
        return steps_of(part, self.steps, hires_steps=self.hires_steps, old=self.old)

    @cached_property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedule of each part."""
        return tuple(map(self._schedule, self.prompt.parts))

    @cached_property
    def texts(self) -> tuple[tuple[Schedule, ...], ...]:
        """Of each part what is read of it: its schedule, or those of its regions, the base text first."""
        return tuple(
            (own,) if part.regions is None else tuple(map(self._schedule, texts_of(part)))
            for part, own in zip(self.prompt.parts, self.schedules, strict=True)
        )

    def _schedule(self, part: Part) -> Schedule:
        return schedule(part, self.steps, hires_steps=self.hires_steps, old=self.old)


def _segments(nodes: Iterable[Node], most: int) -> int:
    """Return how many segments the brackets of some nodes make, or more than ``most``."""
    count, pending = 1, [tuple(nodes)]
    while pending and count <= most:
        for node in pending.pop():
            match node:
                case Group(children):
                    pending.append(children)
                case Scheduled(before, after):
                    count += 1
                    pending += before, after
                case Alternating():
                    return most
                case _:
                    pass
    return count
