"""The tab that tells how a picture was made, and makes it again."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Final

import gradio as gr
from gradio.components import Component

from promptengine.errors import ImageError, RequestError
from promptengine.generation.from_infotext import apply_recipe
from promptengine.images import ImageInfo, read_image_info
from promptengine.infotext.recipe import recipe_from_infotext
from promptengine.prompt import Diagnostic
from promptengine.request.request import GenerationRequest
from promptengine.request.schedulers import find_scheduler
from promptengine.server.state import Service
from promptengine.ui.common import QUICK, Controls
from promptengine.ui.controls.networks import chosen_checkpoint
from promptengine.ui.html.status import message_html

__all__ = ["info_html", "info_tab", "not_shown", "values_of"]

_MOST_CHARACTERS: Final = 20_000

_TAKEN: Final = (
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "sampler",
    "scheduler",
    "cfg_scale",
    "width",
    "height",
    "clip_skip",
    "dialect",
)
_TAKEN_HIRES: Final = ("scale", "steps", "denoising_strength")
_WITHOUT_CONTROL: Final = ("tiling", "variation_strength", "seed_resize_from")
_HIRES_WITHOUT_CONTROL: Final = (
    "sampler",
    "scheduler",
    "prompt",
    "negative_prompt",
    "resize_x",
    "resize_y",
)


def info_html(found: ImageInfo) -> str:
    """What a picture says about itself."""
    infotext = found.infotext
    pieces = [
        f'<p class="pe-source">{escape(found.format)} · {escape(found.source or "no infotext")}</p>'
    ]
    if infotext is not None:
        rows = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(value[:_MOST_CHARACTERS])}</td></tr>"
            for key, value in infotext.entries.items()
        )
        pieces += [
            f'<h4>Prompt</h4><pre class="pe-infotext" id="pe-info-prompt">{escape(infotext.prompt)}</pre>',
            f'<h4>Negative prompt</h4><pre class="pe-infotext">{escape(infotext.negative_prompt)}</pre>'
            if infotext.negative_prompt
            else "",
            f'<table class="pe-entries">{rows}</table>',
        ]
    pieces += [
        f"<details><summary>{escape(key)}</summary>"
        f'<pre class="pe-infotext">{escape(text[:_MOST_CHARACTERS])}</pre></details>'
        for key, text in found.texts.items()
    ]
    return f'<div class="pe-info-text">{"".join(pieces)}</div>'


def values_of(request: GenerationRequest) -> dict[str, Any]:
    """What the controls of the page are to hold for a request, by their names."""
    told = {name: getattr(request, name) for name in _TAKEN}
    scheduler = find_scheduler(request.scheduler)
    told["scheduler"] = "automatic" if scheduler is None else scheduler.name
    told = {name: value for name, value in told.items() if value is not None}
    hires = request.hires
    told["hires"] = hires is not None
    if hires is not None:
        told |= {f"hires_{name}": getattr(hires, name) for name in _TAKEN_HIRES}
        told["hires_upscaler"] = hires.upscaler or "Latent"
    plain = GenerationRequest(prompt="").options.to_webui()
    changed = {
        name: value for name, value in request.options.to_webui().items() if value != plain[name]
    }
    told["options"] = "\n".join(f"{name} = {_written(value)}" for name, value in changed.items())
    return {**told, "batch_size": 1, "batch_count": 1}


def not_shown(request: GenerationRequest) -> list[Diagnostic]:
    """What of a request the page has no control for, and so leaves out."""
    hires = request.hires
    names = [name for name in _WITHOUT_CONTROL if getattr(request, name)]
    names += [f"hires {name}" for name in _HIRES_WITHOUT_CONTROL if hires and getattr(hires, name)]
    if not names:
        return []
    shown = ", ".join(name.replace("_", " ") for name in names)
    return [Diagnostic("warning", f"this page has no control for {shown}, so it is left out")]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True, eq=False)
class _Sender:
    """Reads pictures and hands them on.

    Attributes:
        service: The server's parts.
        controls: Of the tab that makes pictures, by name.
        tabs: What the tab is one of.
    """

    service: Service
    controls: Controls
    tabs: gr.Tabs

    def read(self, path: str | None) -> str:
        """What the picture says, as HTML."""
        if path is None:
            return ""
        try:
            found = read_image_info(path)
        except ImageError as error:
            return message_html(str(error).replace(f"{path}: ", ""), "bad")
        if found.infotext is None and not found.texts:
            return message_html("This picture says nothing about how it was made.")
        if found.program:
            return message_html(f"This picture {found.nothing}.") + info_html(found)
        return info_html(found)

    def as_text(self, path: str | None) -> dict[Component | gr.Tabs, Any]:
        """Put everything into the controls for a picture made from text."""
        return self._sent(path, "text")

    def as_image(self, path: str | None) -> dict[Component | gr.Tabs, Any]:
        """Likewise, with the picture itself to start from."""
        return self._sent(path, "image") | {self.controls["image"]: path}

    def as_drawing(self, path: str | None) -> dict[Component | gr.Tabs, Any]:
        """Likewise, with the picture to be painted in."""
        return self._sent(path, "inpaint") | {self.controls["drawing"]: path}

    def _sent(self, path: str | None, mode: str) -> dict[Component | gr.Tabs, Any]:
        if path is None:
            gr.Warning("Choose a picture first.")
            return {}
        told: dict[str, Any] = {}
        try:
            found = read_image_info(path)
            recipe = found.infotext and recipe_from_infotext(found.infotext, self.service.registry)
            if found.program:
                gr.Warning(f"This picture {found.nothing}.")
        except (ImageError, RequestError):
            recipe = None
        if recipe is not None:
            request, left_out = apply_recipe(
                recipe, starts=mode != "text", registry=self.service.registry
            )
            told = values_of(request)
            if recipe.checkpoint is not None:
                told["checkpoint"] = chosen_checkpoint(self.service, recipe.checkpoint.name)
            self._say([*recipe.diagnostics, *left_out, *not_shown(request)])
        update: dict[Component | gr.Tabs, Any] = {self.tabs: gr.Tabs(selected="create")}
        update |= {self.controls[name]: value for name, value in {**told, "mode": mode}.items()}
        return update

    def _say(self, diagnostics: list[Diagnostic]) -> None:
        lines = [escape(found.message) for found in diagnostics if found.severity != "info"]
        if lines:
            gr.Warning(
                self.service.shown.text("<br>".join(lines[:6])), title="Not everything is here"
            )


def info_tab(service: Service, controls: Controls, tabs: gr.Tabs) -> None:
    """Lay out the tab and let it work.

    Args:
        service: The server's parts.
        controls: Of the tab that makes pictures, by name.
        tabs: What this tab is one of.
    """
    sender = _Sender(service, controls, tabs)
    with gr.Row(elem_id="pe-info"):
        with gr.Column():
            picture = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                label="A picture",
                elem_id="pe-info-picture",
                height=420,
            )
            with gr.Row(elem_id="pe-send"):
                text = gr.Button("→ Text to image", variant="primary", elem_id="pe-send-text")
                image = gr.Button("→ Image to image", elem_id="pe-send-image")
                inpaint = gr.Button("→ Inpaint", elem_id="pe-send-inpaint")
        with gr.Column():
            told = gr.HTML(
                message_html("Its prompt and settings will stand here."), elem_id="pe-info-told"
            )
    picture.change(sender.read, picture, told, **QUICK)
    taken = [control for name, control in controls.items() if name != "last_seed"]
    for button, send in (
        (text, sender.as_text),
        (image, sender.as_image),
        (inpaint, sender.as_drawing),
    ):
        button.click(send, picture, [tabs, *taken], **QUICK)
