"""What is shown of a job as HTML: how far it is, what became of it, and what was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from promptengine.server.base64_images import data_url, small_png
from promptengine.server.jobs.queue import Job

__all__ = ["applied_html", "idle_html", "message_html", "progress_html"]

Tone = Literal["good", "plain", "bad"]


def idle_html() -> str:
    """What stands where pictures will be."""
    return (
        '<div class="pe-stage pe-idle"><span class="pe-idle-sign" aria-hidden="true">✦</span>'
        "<span>Write a prompt and press <b>Generate</b> or <kbd>Ctrl</kbd> <kbd>Enter</kbd>.</span></div>"
    )


def message_html(text: str, tone: Tone = "plain") -> str:
    """One line about what happened."""
    role = "alert" if tone == "bad" else "status"
    return f'<div class="pe-message pe-{tone}" role="{role}">{escape(text)}</div>'


def progress_html(
    job: Job, before: int | None, *, told: str = "", place: tuple[int, int] = (0, 1)
) -> str:
    """How far a job is, with the picture of its last step.

    Args:
        job: One that has not ended.
        before: Jobs that are taken before it, or None where it runs.
        told: What to say in front, such as which picture of a grid it is.
        place: Which one it is of several, from 0, and how many there are.
    """
    number, count = place
    done = (number + job.progress) / count
    line = _line(job, before)
    preview = job.preview
    picture = ""
    if preview is not None:
        address = data_url(small_png(preview))
        picture = f'<img class="pe-preview" src="{address}" alt="the picture as it is now">'
    return (
        '<div class="pe-stage"><div class="pe-stage-line">'
        f"<span>{escape(f'{told} · ' if told else '')}{escape(line)}</span><span>{done:.0%}</span></div>"
        f'<progress class="pe-progress" max="1" value="{done:.4f}"></progress>'
        f'<div class="pe-stage-picture">{picture}</div></div>'
    )


def _line(job: Job, before: int | None) -> str:
    if job.state == "waiting":
        if not before:
            return "Waiting for the device"
        return f"Waiting behind {before} other job{'s' if before > 1 else ''}"
    if not job.steps:
        return "Preparing"
    batches = job.work.batches
    batch = f"Batch {job.batch + 1} of {batches} · " if batches > 1 else ""
    left = f" · {job.eta_s:.0f} s left" if job.eta_s >= 1 else ""
    return f"{batch}Step {job.step} of {job.steps}{left}"


def applied_html(
    reports: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    infotexts: Sequence[tuple[str, str]],
) -> str:
    """What was applied to finished pictures, what was not and why, and their infotexts.

    Args:
        reports: As :func:`promptengine.server.sdapi.to_response.network_reports` makes them.
        warnings: What a person should know.
        infotexts: A title and a text for each picture.
    """
    rows = "".join(map(_report, reports))
    notes = "".join(f'<div class="pe-note pe-warning">{escape(text)}</div>' for text in warnings)
    networks = f'<ul class="pe-applied-list">{rows}</ul>' if rows else ""
    texts = "".join(
        f"<details{'' if number else ' open'}><summary>{escape(title)}</summary>"
        f'<pre class="pe-infotext">{escape(text)}</pre></details>'
        for number, (title, text) in enumerate(infotexts)
    )
    head = '<div class="pe-applied-title">What was applied</div>'
    if not rows:
        head = '<div class="pe-applied-title">How it was made</div>'
    return f'<div class="pe-applied">{head}{networks}{notes}{texts}</div>'


def _report(report: Mapping[str, Any]) -> str:
    multiplier = report["multiplier"]
    strength = "" if multiplier is None else f" × {multiplier:g}"
    if (unet := report["unet_multiplier"]) is not None and unet != multiplier:
        strength += f" (UNet × {unet:g})"
    second = " in the second pass" if report["pass"] == "hires" else ""
    said = "applied" if report["applied"] else f"not applied: {report['reason']}"
    sign = "✓" if report["applied"] else "✗"
    mark = "pe-yes" if report["applied"] else "pe-no"
    name = f"{report['kind']} {report['name']}"
    return (
        f'<li class="{mark}"><span aria-hidden="true">{sign}</span> <b>{escape(name)}</b>{escape(strength)}'
        f" <span>{escape(said + second)}</span></li>"
    )
