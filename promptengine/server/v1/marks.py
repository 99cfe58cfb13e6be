"""Where in a prompt its syntax stands: what an editor marks, off the same reading that makes the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from promptengine.prompt.ast import Alternating, Group, Node, Prompt, Schedule, Scheduled, Span

__all__ = ["marks_of"]

_AND: Final = "AND"


def marks_of(prompt: Prompt, schedules: Sequence[Schedule] = ()) -> list[dict[str, Any]]:
    """Return the places of a prompt that mean more than their words.

    Args:
        prompt: As parsed.
        schedules: Of its parts; without them weights are left out, where computing costs too much.

    Returns:
        ``kind`` with ``start`` and ``end``, characters of the source from 0, in the source's order: ``tag``,
        ``schedule``, ``alternation``, ``and``, ``break``, and ``weight`` with the ``weight`` of the text there.
    """
    found = {("tag", tag.span, 1.0) for tag in prompt.tags}
    for part in prompt.parts:
        found.update((kind, span, 1.0) for kind, span in _brackets(part.nodes))
    for timeline in schedules:
        found.update(_weights(timeline))
    for part in prompt.parts[1:]:
        joint = Span(part.span.start - len(_AND), part.span.start)
        if prompt.source[joint.start : joint.end] == _AND:
            found.add(("and", joint, 1.0))
    ordered = sorted(found, key=lambda one: (one[1].start, -one[1].end, one[0], one[2]))
    return [
        {"kind": kind, "start": span.start, "end": span.end, "weight": round(weight, 4)}
        for kind, span, weight in ordered
        if span.start < span.end
    ]


def _brackets(nodes: Iterable[Node]) -> Iterator[tuple[str, Span]]:
    """Yield the schedules and alternations at any depth."""
    pending = list(nodes)
    while pending:
        match pending.pop():
            case Scheduled(before, after, _, span):
                yield "schedule", span
                pending += (*before, *after)
            case Alternating(arms, span):
                yield "alternation", span
                pending += (node for arm in arms for node in arm)
            case Group(children):
                pending += children
            case _:
                pass


def _weights(timeline: Schedule) -> Iterator[tuple[str, Span, float]]:
    """Yield what is weighted at some step, and the breaks between chunks."""
    # An alternation comes back to the same texts again and again.
    texts = {segment.text: segment.fragments for segment in timeline.segments}
    for fragments in texts.values():
        for fragment in fragments:
            if fragment.text == "BREAK" and fragment.weight == -1.0:
                yield "break", fragment.span, 1.0
            elif fragment.weight != 1.0 and fragment.text.strip():
                yield "weight", fragment.span, fragment.weight
