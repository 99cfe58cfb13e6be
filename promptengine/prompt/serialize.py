"""Prompts and what there is to say about them, in JSON's types, for programs to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Regions, Schedule
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.timelines import tag_timelines

__all__ = ["diagnostic_document", "prompt_document", "well_formed"]


def prompt_document(
    prompt: ScheduledPrompt, diagnostics: Iterable[Diagnostic], *, most: int | None = None
) -> dict[str, Any]:
    """Tags, sub-prompts with their schedules, and diagnostics.

    Args:
        prompt: As parsed, over the steps of the pass that is to be told of.
        diagnostics: To be told with it.
        most: The largest ``prompt.size``. Above it schedules and multipliers over the steps are left
            out, and a diagnostic says so.
    """
    told = [diagnostic_document(diagnostic) for diagnostic in diagnostics]
    size = prompt.size
    whole = most is None or size <= most
    if not whole:
        message = f"the schedule is left out: text times segments may be {size} characters"
        hint = f"up to {most} are told; ask for fewer steps, or shorten the prompt"
        told.append(diagnostic_document(kinds.SCHEDULE_LEFT_OUT(message, None, hint)))
    parts, tags = prompt.prompt.parts, prompt.prompt.tags
    schedules = [_segments_told(one) for one in prompt.schedules] if whole else [[]] * len(parts)
    subprompts = [
        {
            "text": part.text,
            "weight": part.weight,
            "schedule": segments,
            **({} if part.regions is None else {"regions": _regions_told(part.regions)}),
        }
        for part, segments in zip(parts, schedules, strict=True)
    ]
    timelines = tag_timelines(prompt) if whole else {}
    over_steps = {
        str(index): list(timelines[tag]) for index, tag in enumerate(tags) if tag in timelines
    }
    return {
        "tags": [[tag.kind, list(tag.arguments)] for tag in tags],
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


def _segments_told(schedule: Schedule) -> list[dict[str, Any]]:
    return [
        {
            "until": segment.until_step,
            "text": segment.text,
            "attention": [[f.text, f.weight] for f in segment.fragments],
        }
        for segment in schedule.segments
    ]


def diagnostic_document(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a diagnostic in JSON's types; ``start`` and ``end`` count characters from 0."""
    span, remedy = diagnostic.span, diagnostic.remedy
    return {
        "code": diagnostic.code,
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
        "related": [
            {"start": one.span.start, "end": one.span.end, "message": one.message}
            for one in diagnostic.related
        ],
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
