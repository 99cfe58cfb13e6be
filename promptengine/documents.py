"""Prompts and what there is to say about them, in JSON's types, for programs to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from promptengine.plan import tag_timelines
from promptengine.syntax import Diagnostic, Prompt, schedule

__all__ = ["diagnostic_document", "prompt_document"]


def prompt_document(
    prompt: Prompt, diagnostics: Iterable[Diagnostic], steps: int, hires_steps: int | None
) -> dict[str, Any]:
    """Tags, sub-prompts with their schedules, and diagnostics.

    Args:
        prompt: As parsed.
        diagnostics: To be told with it.
        steps: What schedules are computed for.
        hires_steps: Likewise of the second pass, where its schedule is wanted.
    """
    subprompts = [
        {
            "text": part.text,
            "weight": part.weight,
            "schedule": [
                {
                    "until": segment.until_step,
                    "text": segment.text,
                    "attention": [[f.text, f.weight] for f in segment.fragments],
                }
                for segment in schedule(part, steps, hires_steps=hires_steps).segments
            ],
        }
        for part in prompt.parts
    ]
    timelines = tag_timelines(prompt, steps, hires_steps=hires_steps)
    over_steps = {
        str(index): list(timelines[tag])
        for index, tag in enumerate(prompt.tags)
        if tag in timelines
    }
    return {
        "tags": [[tag.kind, list(tag.arguments)] for tag in prompt.tags],
        **({"multipliers": over_steps} if over_steps else {}),
        "subprompts": subprompts,
        "diagnostics": [diagnostic_document(diagnostic) for diagnostic in diagnostics],
    }


def diagnostic_document(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic in JSON's types; ``start`` and ``end`` count characters from 0."""
    span = diagnostic.span
    return {
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "column": None if span is None else span.column,
        "start": None if span is None else span.start,
        "end": None if span is None else span.end,
    }
