"""The tab that makes pictures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.processing_utils import save_bytes_to_cache

from promptengine.errors import GenerationCancelled, PromptEngineError
from promptengine.images.upscalers import latent_upscalers, pixel_upscalers
from promptengine.server.sdapi.to_response import network_reports
from promptengine.server.state import Service, client_of
from promptengine.ui.common import QUICK, UNSEEN, Controls
from promptengine.ui.controls.img2img import mode_choice, mode_settings, size_from_picture
from promptengine.ui.controls.networks import choose_by_card, network_tabs
from promptengine.ui.controls.prompt import prompt_boxes, read_as_typed
from promptengine.ui.controls.settings import hires_settings, main_settings, rare_settings
from promptengine.ui.form_values import Values, axes_of, job_form
from promptengine.ui.html.status import applied_html, idle_html, message_html, progress_html
from promptengine.ui.run_job import Ended, Step, make, make_grid

__all__ = ["create_tab"]

_Update = dict[Component, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Outputs:
    """Where results go.

    Attributes:
        stage: What happens now.
        gallery: Finished pictures.
        applied: What was applied to them.
        job: The id of the job that runs for this visitor, or empty.
        generate: The button that starts.
        cancel: The button that ends.
    """

    stage: gr.HTML
    gallery: gr.Gallery
    applied: gr.HTML
    job: gr.State
    generate: gr.Button
    cancel: gr.Button

    def all(self) -> list[Component]:
        """All of them."""
        return [self.stage, self.gallery, self.applied, self.job, self.generate, self.cancel]


def create_tab(service: Service, controls: Controls, size: int) -> Controls:
    """Lay out the tab and let it work.

    Args:
        service: The server's parts.
        controls: Those that are laid out already: the checkpoint's.
        size: Pixels of a side to begin with.

    Returns:
        All controls, by name.
    """
    limits = service.config.limits
    with gr.Row(elem_id="pe-create", equal_height=False):
        prompts, reading = prompt_boxes()
        with gr.Column(elem_id="pe-output"):
            outputs = _outputs()
        with gr.Column(elem_id="pe-settings"), gr.Tabs(elem_id="pe-side", overflow_behavior="wrap"):
            with gr.Tab("Settings"):
                chosen = mode_choice()
                mode = chosen["mode"]
                assert isinstance(mode, gr.Radio)
                started = mode_settings(mode)
                main = main_settings(limits, size)
                upscalers = [*latent_upscalers(), *pixel_upscalers(service.registry)]
                hires, rare = hires_settings(limits, upscalers), rare_settings()
            network_tabs(service)
    controls = {**controls, **prompts, **chosen, **started, **main, **hires, **rare}
    read_as_typed(service, controls, reading)
    size_from_picture(controls)
    choose_by_card(service, controls)
    _let_generate(service, controls, outputs)
    return controls


def _outputs() -> _Outputs:
    with gr.Row(elem_id="pe-actions"):
        generate = gr.Button("Generate", variant="primary", elem_id="pe-generate", scale=3)
        cancel = gr.Button(
            "Cancel", variant="stop", elem_id="pe-cancel", scale=1, min_width=90, interactive=False
        )
    stage = gr.HTML(idle_html(), elem_id="pe-stage")
    gallery = gr.Gallery(
        label="Pictures",
        show_label=False,
        elem_id="pe-gallery",
        columns=2,
        object_fit="contain",
        height="auto",
        preview=True,
        format="png",
        buttons=["download", "fullscreen"],
        interactive=False,
        visible=False,
    )
    applied = gr.HTML(elem_id="pe-applied")
    return _Outputs(stage, gallery, applied, gr.State(""), generate, cancel)


def _let_generate(service: Service, controls: Controls, outputs: _Outputs) -> None:
    maker = _Maker(service, controls, outputs)
    asked: set[Block] = {control for name, control in controls.items() if name != "last_seed"}
    outputs.generate.click(
        maker.generate,
        asked,
        [*outputs.all(), controls["last_seed"]],
        concurrency_limit=None,
        **UNSEEN,
    )
    outputs.cancel.click(maker.cancel, outputs.job, None, **QUICK)


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    """Answers the buttons."""

    service: Service
    controls: Controls
    outputs: _Outputs

    async def generate(
        self, values: dict[Component, Any], request: gr.Request
    ) -> AsyncGenerator[_Update]:
        """Make what the controls ask for, and show how it goes."""
        asked = {
            name: values[control] for name, control in self.controls.items() if control in values
        }
        client = "" if request.request is None else client_of(request.request)
        try:
            async with aclosing(self._made(asked, client)) as updates:
                async for update in updates:
                    yield update
        except GenerationCancelled as error:
            yield self._over(message_html(f"Cancelled: {error}" if str(error) else "Cancelled"))
        except PromptEngineError as error:
            yield self._over(message_html(self.service.shown.text(str(error)), "bad"))
        except OSError as error:
            told = f"the pictures cannot be kept: {error.strerror or error}"
            yield self._over(message_html(told, "bad"))

    async def _made(self, asked: Values, client: str) -> AsyncGenerator[_Update]:
        form = job_form(asked)
        if asked["mode"] == "grid":
            source = make_grid(self.service, form, axes_of(asked), client)
        else:
            source = make(self.service, form, client)
        async with aclosing(source) as events:
            async for event in events:
                yield self._going(event) if isinstance(event, Step) else self._finished(event)

    def _going(self, step: Step) -> _Update:
        told = f"Picture {step.number + 1} of {step.count}" if step.count > 1 else ""
        place = step.number, step.count
        html = progress_html(step.job, step.before, told=told, place=place)
        return {
            self.outputs.stage: html,
            self.outputs.gallery: gr.Gallery(visible=False),
            self.outputs.applied: "",
            self.outputs.job: step.job.id,
            self.outputs.generate: gr.Button(interactive=False),
            self.outputs.cancel: gr.Button(interactive=True),
        }

    def _finished(self, ended: Ended) -> _Update:
        count = len(ended.made.outputs)
        what = f"{count} picture{'' if count == 1 else 's'} in {ended.seconds:.1f} s"
        line = message_html(f"Cancelled after {what}" if ended.cancelled else what, "good")
        cache = self.outputs.gallery.GRADIO_CACHE
        paths = [save_bytes_to_cache(file.data, file.name, cache) for file in ended.files]
        shown = self.service.shown
        applied = applied_html(
            network_reports(ended.made.outputs, shown),
            [shown.text(text) for text in ended.made.warnings],
            [(file.title, file.infotext) for file in ended.files],
        )
        return {
            **self._over(line),
            self.outputs.gallery: gr.Gallery(value=paths, visible=bool(paths), selected_index=0),
            self.outputs.applied: applied,
            self.controls["last_seed"]: ended.made.outputs[0].seed if count else -1,
        }

    def _over(self, line: str) -> _Update:
        return {
            self.outputs.stage: line,
            self.outputs.job: "",
            self.outputs.generate: gr.Button(interactive=True),
            self.outputs.cancel: gr.Button(interactive=False),
        }

    def cancel(self, job_id: str) -> None:
        """End the job that runs for this visitor, with the pictures so far."""
        job = self.service.queue.find(job_id)
        if job is not None:
            self.service.queue.interrupt(job)
