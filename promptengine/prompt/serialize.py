"""Prompts and what there is to say about them, in JSON's types, for programs to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from promptengine.prompt import Diagnostic, Prompt, schedule
from promptengine.prompt.ast import Alternating, Group, Node, Part, Regions, Scheduled
from promptengine.prompt.timelines import tag_timelines

__all__ = ["diagnostic_document", "prompt_document", "schedule_size", "well_formed"]


def schedule_size(prompt: Prompt, steps: int, hires_steps: int | None = None) -> int:
    """Return how many characters the schedules of a prompt may have: of each part's text once for each
    segment. It is an upper bound, told without computing them.
    """
    most = steps if hires_steps is None else hires_steps
    return sum(
        (part.span.end - part.span.start) * min(_segments(part.nodes, most), most)
        for part in prompt.parts
    )


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


def prompt_document(
    prompt: Prompt,
    diagnostics: Iterable[Diagnostic],
    steps: int,
    hires_steps: int | None,
    *,
    most: int | None = None,
) -> dict[str, Any]:
    """Tags, sub-prompts with their schedules, and diagnostics.

    Args:
        prompt: As parsed.
        diagnostics: To be told with it.
        steps: What schedules are computed for.
        hires_steps: Likewise of the second pass, where its schedule is wanted.
        most: The largest :func:`schedule_size`. Above it schedules and multipliers over the steps are
            left out, and a diagnostic says so.
    """
    told = [diagnostic_document(diagnostic) for diagnostic in diagnostics]
    size = schedule_size(prompt, steps, hires_steps)
    whole = most is None or size <= most
    if not whole:
        message = f"the schedule is left out: text times segments may be {size} characters"
        hint = f"up to {most} are told; ask for fewer steps, or shorten the prompt"
        told.append(diagnostic_document(Diagnostic("warning", message, None, hint)))
    subprompts = [
        {
            "text": part.text,
            "weight": part.weight,
            "schedule": _segments_told(part, steps, hires_steps) if whole else [],
            **({} if part.regions is None else {"regions": _regions_told(part.regions)}),
        }
        for part in prompt.parts
    ]
    timelines = tag_timelines(prompt, steps, hires_steps=hires_steps) if whole else {}
    over_steps = {
        str(index): list(timelines[tag])
        for index, tag in enumerate(prompt.tags)
        if tag in timelines
    }
    return {
        "tags": [[tag.kind, list(tag.arguments)] for tag in prompt.tags],
        **({"multipliers": over_steps} if over_steps else {}),
        "subprompts": subprompts,
        "diagnostics": told,
    }


def _regions_told(regions: Regions) -> dict[str, Any]:
    return {
        "count": regions.count,
        "base": None if regions.base is None else regions.base.text,
        "texts": [text.text for text in regions.texts],
        "separators": list(regions.separators[: len(regions.texts)]),
    }


def _segments_told(part: Part, steps: int, hires_steps: int | None) -> list[dict[str, Any]]:
    return [
        {
            "until": segment.until_step,
            "text": segment.text,
            "attention": [[f.text, f.weight] for f in segment.fragments],
        }
        for segment in schedule(part, steps, hires_steps=hires_steps).segments
    ]


def diagnostic_document(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a diagnostic in JSON's types; ``start`` and ``end`` count characters from 0."""
    span, remedy = diagnostic.span, diagnostic.remedy
    return {
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "column": None if span is None else span.column,
        "start": None if span is None else span.start,
        "end": None if span is None else span.end,
        "remedy": remedy
        and {
            "start": remedy.span.start,
            "end": remedy.span.end,
            "text": remedy.text,
            "label": remedy.label,
        },
    }


def well_formed(value: Any) -> Any:
    """Return a value of JSON's types without lone surrogates, which UTF-8 cannot hold: each becomes U+FFFD."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {well_formed(name): well_formed(inner) for name, inner in entries}
    if isinstance(value, (list, tuple)):
        return [well_formed(inner) for inner in cast("list[Any]", value)]
    return value
