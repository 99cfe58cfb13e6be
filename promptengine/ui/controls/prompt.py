"""The prompts, and under them how they are read."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from promptengine.errors import RequestError
from promptengine.prompt import parse
from promptengine.prompt.timelines import tag_timelines
from promptengine.request.plan import make_plan
from promptengine.server.limits import check_texts
from promptengine.server.state import Service
from promptengine.ui.common import QUICK, Controls
from promptengine.ui.html.prompt import reading_html
from promptengine.ui.html.status import message_html

__all__ = ["Reader", "prompt_boxes", "read_as_typed"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads prompts against the folders of a server.

    Attributes:
        service: The server's parts.
    """

    service: Service

    def reading(self, prompt: str, negative: str, steps: float | None, dialect: str) -> str:
        """How both prompts are read, as HTML; nothing where there is nothing to read."""
        try:
            texts = {"prompt": prompt, "negative_prompt": negative}
            check_texts(texts, self.service.config.limits)
        except RequestError as error:
            return message_html(str(error), "bad")
        count = max(int(steps or 1), 1)
        parts = []
        if prompt.strip():
            parts.append(("", self._positive(prompt, count, dialect)))
        if negative.strip():
            read = parse(negative, negative=True, dialect=dialect)
            html = reading_html(read, read.diagnostics, steps=count)
            parts.append(("Negative", html))
        html = "".join(
            f'<div class="pe-read">{title and f"<span>{title}</span>"}{html}</div>'
            for title, html in parts
        )
        return self.service.shown.text(html)

    def _positive(self, prompt: str, steps: int, dialect: str) -> str:
        read = parse(prompt, dialect=dialect)
        plan = make_plan(read, parse("", negative=True), self.service.registry, steps=steps)
        timelines = tag_timelines(read, steps)
        return reading_html(read, plan.diagnostics, steps=steps, timelines=timelines)


def prompt_boxes() -> tuple[Controls, gr.HTML]:
    """Lay out both prompts; returns them and the place of their reading."""
    with gr.Column(elem_id="pe-prompts"):
        prompt = gr.Textbox(
            label="Prompt",
            placeholder="a (red:1.2) [fox|wolf] in snow",
            lines=3,
            max_lines=12,
            elem_id="pe-prompt",
            autofocus=True,
        )
        negative = gr.Textbox(
            label="Negative prompt",
            placeholder="what to steer away from",
            lines=1,
            max_lines=8,
            elem_id="pe-negative",
        )
        reading = gr.HTML(elem_id="pe-reading")
    return {"prompt": prompt, "negative_prompt": negative}, reading


def read_as_typed(service: Service, controls: Controls, reading: gr.HTML) -> None:
    """Read the prompts again after every change of them or of what their reading depends on."""
    sources = [controls[name] for name in ("prompt", "negative_prompt", "steps", "dialect")]
    gr.on(
        [source.change for source in sources],  # type: ignore[attr-defined]
        Reader(service).reading,
        sources,
        reading,
        trigger_mode="always_last",
        **QUICK,
    )
