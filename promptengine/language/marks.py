"""Where in a prompt its constructs stand, off the same reading that makes the image. They may nest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from promptengine.prompt.ast import Alternating, Group, Node, Prompt, Schedule, Scheduled, Span
from promptengine.prompt.weighing import BREAK_WEIGHT

__all__ = ["Mark", "MarkKind", "constructs", "marks_of"]

MarkKind: TypeAlias = Literal["tag", "schedule", "alternation", "and", "break", "weight"]
"""What stands there; ``weight`` for text that counts more or less at some step."""

_AND: Final = "AND"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place of a prompt that means more than its words.

    Attributes:
        kind: What it is.
        span: Its place, never empty.
        weight: Of the text there; 1 for other kinds than ``weight``.
    """

    kind: MarkKind
    span: Span
    weight: float = 1.0


def marks_of(prompt: Prompt, schedules: Sequence[Schedule] = ()) -> tuple[Mark, ...]:
    """Return the places of a prompt that mean more than their words, in the source's order.

    Args:
        prompt: As parsed.
        schedules: Of its parts; without them weights are left out, where computing costs too much.
    """
    found = {Mark("tag", tag.span) for tag in prompt.tags}
    for part in prompt.parts:
        found.update(Mark(_KINDS[type(node)], node.span) for node in constructs(part.nodes))
    for timeline in schedules:
        found.update(_weights(timeline))
    found.update(Mark("and", joint) for joint in _joints(prompt))
    ordered = sorted(found, key=lambda one: (one.span.start, -one.span.end, one.kind, one.weight))
    return tuple(one for one in ordered if one.span.start < one.span.end)


_KINDS: Final[dict[type, MarkKind]] = {Scheduled: "schedule", Alternating: "alternation"}


def constructs(nodes: Iterable[Node]) -> Iterator[Scheduled | Alternating]:
    """Yield the schedules and alternations at any depth, each before those within it."""
    pending = list(nodes)
    while pending:
        match pending.pop():
            case Scheduled(before, after) as node:
                yield node
                pending += (*before, *after)
            case Alternating(arms) as node:
                yield node
                pending += (inner for arm in arms for inner in arm)
            case Group(children):
                pending += children
            case _:
                pass


def _joints(prompt: Prompt) -> Iterator[Span]:
    """Yield where ``AND`` stands."""
    for part in prompt.parts[1:]:
        joint = Span(part.span.start - len(_AND), part.span.start)
        if prompt.source[joint.start : joint.end] == _AND:
            yield joint


def _weights(timeline: Schedule) -> Iterator[Mark]:
    """Yield what is weighted at some step, and the breaks between chunks."""
    # An alternation comes back to the same texts again and again.
    texts = {segment.text: segment.fragments for segment in timeline.segments}
    for fragments in texts.values():
        for fragment in fragments:
            if fragment.text == "BREAK" and fragment.weight == BREAK_WEIGHT:
                yield Mark("break", fragment.span)
            elif fragment.weight != 1.0 and fragment.text.strip():
                yield Mark("weight", fragment.span, round(fragment.weight, 4))
