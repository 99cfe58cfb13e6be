"""The settings of a generation: sampling, size, seed, the second pass, and what is rarer."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from promptengine.prompt import DIALECTS
from promptengine.server.config import Limits
from promptengine.server.sdapi.lists import samplers, schedulers
from promptengine.ui.common import QUICK, Controls

__all__ = ["hires_settings", "main_settings", "rare_settings"]

_LARGEST_SIDE = 2048


def main_settings(limits: Limits, size: int) -> Controls:
    """Lay out what is wanted every time.

    Args:
        limits: What the server allows.
        size: Pixels of a side to begin with.
    """
    return {**_sampling(limits), **_size(size), **_seed(limits)}


def _sampling(limits: Limits) -> Controls:
    with gr.Row():
        sampler = gr.Dropdown(
            [sampler.name for sampler in samplers()],
            value="Euler a",
            label="Sampler",
            min_width=140,
        )
        scheduler = gr.Dropdown(
            [(kind.label, kind.name) for kind in schedulers()],
            value="automatic",
            label="Schedule type",
            min_width=140,
        )
    with gr.Row():
        steps = gr.Slider(1, limits.steps, 20, step=1, label="Steps", min_width=200, buttons=[])
        cfg_scale = gr.Slider(1, 30, 7, step=0.5, label="CFG scale", min_width=200, buttons=[])
    return {"sampler": sampler, "scheduler": scheduler, "steps": steps, "cfg_scale": cfg_scale}


def _size(size: int) -> Controls:
    with gr.Row(elem_classes="pe-size"):
        width = gr.Slider(64, _LARGEST_SIDE, size, step=8, label="Width", min_width=180, buttons=[])
        swap = gr.Button("⇄", elem_classes="pe-tool", min_width=40, scale=0)
        height = gr.Slider(
            64, _LARGEST_SIDE, size, step=8, label="Height", min_width=180, buttons=[]
        )
    swap.click(
        None,
        [width, height],
        [width, height],
        js="(width, height) => [height, width]",
        api_visibility="private",
    )
    return {"width": width, "height": height}


def _seed(limits: Limits) -> Controls:
    last = gr.State(-1)
    with gr.Row(elem_classes="pe-seed"):
        seed = gr.Number(-1, label="Seed", precision=0, min_width=150, scale=2)
        draw = gr.Button("Random", elem_id="pe-draw", elem_classes="pe-tool", min_width=74, scale=0)
        again = gr.Button("Last", elem_id="pe-again", elem_classes="pe-tool", min_width=54, scale=0)
        count = gr.Number(
            1, label="Batches", precision=0, minimum=1, maximum=limits.total_images, min_width=80
        )
        size = gr.Number(
            1,
            label="At once",
            precision=0,
            minimum=1,
            maximum=limits.batch_images,
            min_width=80,
        )
    draw.click(None, None, seed, js="() => -1", api_visibility="private")
    again.click(_same, last, seed, **QUICK)
    return {"seed": seed, "last_seed": last, "batch_count": count, "batch_size": size}


def _same(seed: int) -> int:
    return seed


def hires_settings(limits: Limits, upscalers: Sequence[str]) -> Controls:
    """Lay out the high-resolution pass.

    Args:
        limits: What the server allows.
        upscalers: The names to choose from.
    """
    with gr.Accordion("High-resolution pass", open=False):
        on = gr.Checkbox(False, label="Enlarge the picture and paint over it")
        with gr.Row():
            scale = gr.Slider(1, 4, 2, step=0.05, label="Enlarge by", min_width=160, buttons=[])
            upscaler = gr.Dropdown(upscalers, value="Latent", label="Upscaler", min_width=160)
        with gr.Row():
            steps = gr.Slider(
                0,
                limits.steps,
                0,
                step=1,
                label="Steps (0: as many as before)",
                min_width=160,
                buttons=[],
            )
            denoising = gr.Slider(
                0, 1, 0.7, step=0.01, label="Denoising strength", min_width=160, buttons=[]
            )
    return {
        "hires": on,
        "hires_scale": scale,
        "hires_upscaler": upscaler,
        "hires_steps": steps,
        "hires_denoising_strength": denoising,
    }


def rare_settings() -> Controls:
    """Lay out what is seldom changed."""
    with gr.Accordion("More", open=False):
        with gr.Row():
            clip_skip = gr.Slider(1, 12, 1, step=1, label="Clip skip", min_width=160, buttons=[])
            dialect = gr.Dropdown(
                [(one.label or one.name, one.name) for one in DIALECTS.values()],
                value="webui",
                label="Prompt language",
                info="Extended lets hypernetworks change over the steps.",
                min_width=160,
            )
        options = gr.Textbox(
            label="Other settings",
            info="WebUI's names, NAME = VALUE, one on a line.",
            placeholder="eta_ancestral = 0.5",
            lines=2,
        )
    return {"clip_skip": clip_skip, "dialect": dialect, "options": options}
