"""How a prompt is read, as HTML: texts coloured by weight, steps as a timeline, tags, diagnostics.

Needs no model and no toolkit; every piece of the prompt is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final

from promptengine.prompt import Diagnostic, Fragment, Part, Prompt, Schedule, Tag, schedule

__all__ = ["reading_html"]

_MOST_TEXTS: Final = 24
_MOST_CHARACTERS: Final = 2_000
_STRONGEST: Final = 0.6
"""The distance of a weight from 1 that is drawn in the full colour."""


def reading_html(
    prompt: Prompt,
    diagnostics: Iterable[Diagnostic],
    *,
    steps: int,
    timelines: Mapping[Tag, Sequence[float]] | None = None,
) -> str:
    """Draw a prompt as it is read.

    Args:
        prompt: Parsed.
        diagnostics: Its own, and perhaps more.
        steps: Denoiser calls that schedules count, 1 or more.
        timelines: Multipliers over the steps of tags that change, from
            :func:`promptengine.prompt.timelines.tag_timelines`.

    Returns:
        One element of class ``pe-reading``, styled by ``page.css``.
    """
    changing = timelines or {}
    pieces = [
        *(_tag(tag) for tag in prompt.tags if tag not in changing),
        *(_tag_row(tag, multipliers) for tag, multipliers in changing.items()),
        *(
            _part(part, number, len(prompt.parts), steps)
            for number, part in enumerate(prompt.parts)
        ),
        *(_note(diagnostic) for diagnostic in diagnostics),
    ]
    return f'<div class="pe-reading">{"".join(pieces)}</div>'


def _tag(tag: Tag) -> str:
    multiplier = " × ".join(_shown(argument) for argument in tag.arguments)
    return f'<span class="pe-tag">{_shown(tag.kind)} <b>{multiplier}</b></span>'


def _tag_row(tag: Tag, multipliers: Sequence[float]) -> str:
    most = max(map(abs, multipliers), default=0.0) or 1.0
    heights = [abs(multiplier) / most for multiplier in multipliers]
    name = f'<span class="pe-tag">{_shown(tag.kind)} <b>{_shown(tag.arguments[0])}</b></span>'
    return f'<div class="pe-row"><span>{name}</span>{_bar(heights)}</div>'


def _part(part: Part, number: int, parts: int, steps: int) -> str:
    plan = schedule(part, steps)
    joint = ""
    if parts > 1:
        weight = f" × {part.weight:g}" if part.weight != 1 else ""
        joint = f'<span class="pe-and">{"AND" if number else "part 1"}{weight}</span>'
    if len(plan.segments) == 1:
        return f'<div class="pe-part">{joint}{_text(plan.segments[0].fragments)}</div>'
    return f'<div class="pe-part">{joint}{_timeline(plan)}</div>'


def _timeline(plan: Schedule) -> str:
    """Each text once, with a bar that shows at which steps it holds."""
    spoken = [plan.at(call) for call in range(plan.steps)]
    texts = {segment.text: segment.fragments for segment in spoken}
    rows = [
        f'<div class="pe-row"><span>{_text(fragments) or "(nothing)"}</span>'
        f"{_bar([float(one.text == text) for one in spoken])}</div>"
        for text, fragments in list(texts.items())[:_MOST_TEXTS]
    ]
    if len(texts) > _MOST_TEXTS:
        rows.append(f'<div class="pe-scale">… and {len(texts) - _MOST_TEXTS} more texts</div>')
    scale = f"<span>step 1</span><span>{plan.steps}</span>"
    rows.append(f'<div class="pe-row"><span></span><span class="pe-scale">{scale}</span></div>')
    return "".join(rows)


def _bar(heights: Sequence[float]) -> str:
    """A bar over the steps, each as high as its number from 0 to 1."""
    rectangles: list[str] = []
    start = 0
    for height, same in groupby(heights):
        count = len(list(same))
        if height > 0:
            place = f'x="{start}" y="{1 - height:.3g}" width="{count}" height="{height:.3g}"'
            rectangles.append(f"<rect {place}/>")
        start += count
    box = f'viewBox="0 0 {len(heights)} 1" preserveAspectRatio="none"'
    return f'<svg {box} role="img" aria-label="when it holds">{"".join(rectangles)}</svg>'


def _text(fragments: Sequence[Fragment]) -> str:
    return "".join(_fragment(fragment) for fragment in fragments)


def _fragment(fragment: Fragment) -> str:
    text, weight = fragment.text, fragment.weight
    if text == "BREAK" and weight == -1.0:
        return '<span class="pe-break">BREAK</span>'
    if weight == 1.0:
        return f"<span>{_shown(text)}</span>"
    side = "pe-up" if weight > 1 else "pe-down"
    strength = min(abs(weight - 1) / _STRONGEST, 1.0)
    style = f'style="--pe:{strength:.2f}" title="weight {weight:.4g}"'
    return f'<span class="{side}" {style}>{_shown(text)}<sup>{weight:.3g}</sup></span>'


def _note(diagnostic: Diagnostic) -> str:
    place = f"column {diagnostic.span.column}: " if diagnostic.span else ""
    hint = f' <span class="pe-hint">({_shown(diagnostic.hint)})</span>' if diagnostic.hint else ""
    body = f"{place}{_shown(diagnostic.message)}{hint}"
    return f'<div class="pe-note pe-{diagnostic.severity}">{body}</div>'


def _shown(text: str) -> str:
    cut = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    return escape(cut)
