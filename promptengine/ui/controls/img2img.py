"""What a picture begins with: noise, another picture, a masked one, or the places of a grid."""

from __future__ import annotations

from typing import Final, get_args

import gradio as gr
from gradio.components.image_editor import EditorDataBlobs
from PIL import Image

from promptengine.request.image_start import MaskedContent, ResizeMode
from promptengine.ui.common import QUICK, Controls
from promptengine.ui.form_values import NO_AXIS
from promptengine.xyz_plot.axes import AXIS_KINDS

__all__ = ["MODES", "RecentDrawings", "mode_choice", "mode_settings", "size_from_picture"]

MODES: Final = (
    ("Text to image", "text"),
    ("Image to image", "image"),
    ("Inpaint", "inpaint"),
    ("X/Y/Z grid", "grid"),
)
"""What the page can make, as shown and as named."""

_BRUSHES: Final = ["#ffffff", "#000000"]
_LARGEST_SIDE: Final = 2048
_MOST_BYTES: Final = 256 << 20
_LEAST_BYTES: Final = 1 << 20
_AXIS_HINTS: Final = (
    "Numbers may be ranges: 1-5, 1-10 (+3), 0-1 [5]. Along prompt, the first value is searched and the "
    "others replace it."
)


class RecentDrawings(dict[str, EditorDataBlobs]):
    """What was drawn and not yet used, the newest first to stay, so that it cannot fill the memory."""

    def __setitem__(self, key: str, drawn: EditorDataBlobs) -> None:
        self.pop(key, None)
        super().__setitem__(key, drawn)
        while self and sum(map(_bytes_of, self.values())) > _MOST_BYTES:
            del self[next(iter(self))]


def _bytes_of(drawn: EditorDataBlobs) -> int:
    # A client may send any number of drawings without a byte in them.
    pieces = (drawn.background, drawn.composite, *drawn.layers)
    return _LEAST_BYTES + sum(len(piece or b"") for piece in pieces)


def mode_choice() -> Controls:
    """Lay out the choice of what is made."""
    mode = gr.Radio(
        list(MODES),
        value="text",
        show_label=False,
        container=False,
        elem_id="pe-mode",
        elem_classes="pe-segments",
    )
    return {"mode": mode}


def mode_settings(mode: gr.Radio) -> Controls:
    """Lay out what each way of making pictures needs, shown while it is chosen."""
    with gr.Column(visible=False) as image_group:
        image = gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            label="Picture to start from",
            height=280,
            elem_id="pe-image",
        )
    with gr.Column(visible=False) as inpaint_group:
        inpainting = _inpainting()
    with gr.Column(visible=False) as start_group:
        started = _treatment()
    with gr.Column(visible=False) as grid_group:
        axes = _axes()
    groups = [image_group, inpaint_group, start_group, grid_group]

    def show(chosen: str) -> list[gr.Column]:
        wanted = (
            chosen == "image",
            chosen == "inpaint",
            chosen in ("image", "inpaint"),
            chosen == "grid",
        )
        return [gr.Column(visible=visible) for visible in wanted]

    mode.change(show, mode, groups, **QUICK)
    return {"image": image, **inpainting, **started, **axes}


def _inpainting() -> Controls:
    drawing = gr.ImageEditor(
        type="pil",
        sources=["upload", "clipboard"],
        transforms=[],
        brush=gr.Brush(default_size=32, colors=list(_BRUSHES), color_mode="fixed"),
        layers=False,
        label="Picture: paint over what may change",
        height=420,
        elem_id="pe-drawing",
    )
    drawing.blob_storage = RecentDrawings()
    with gr.Row():
        blur = gr.Slider(0, 64, 4, step=1, label="Mask blur", min_width=160, buttons=[])
        content = gr.Dropdown(
            list(get_args(MaskedContent)), value="original", label="Under the mask", min_width=160
        )
    with gr.Row():
        inverted = gr.Checkbox(False, label="Paint what the mask leaves out", min_width=160)
        only_masked = gr.Checkbox(False, label="Work on the masked part alone", min_width=160)
    padding = gr.Slider(0, 256, 32, step=4, label="Pixels around the masked part", buttons=[])
    return {
        "drawing": drawing,
        "mask_blur": blur,
        "mask_content": content,
        "mask_inverted": inverted,
        "only_masked": only_masked,
        "mask_padding": padding,
    }


def _treatment() -> Controls:
    with gr.Row():
        denoising = gr.Slider(
            0, 1, 0.75, step=0.01, label="Denoising strength", min_width=160, buttons=[]
        )
        resize = gr.Dropdown(
            list(get_args(ResizeMode)), value="stretch", label="To bring it to size", min_width=160
        )
    return {"denoising_strength": denoising, "resize_mode": resize}


def _axes() -> Controls:
    controls: Controls = {}
    for letter, kind in (("x", "sampler"), ("y", NO_AXIS), ("z", NO_AXIS)):
        with gr.Row():
            controls[f"{letter}_kind"] = gr.Dropdown(
                [NO_AXIS, *AXIS_KINDS],
                value=kind,
                label=f"{letter.upper()} axis",
                min_width=120,
                scale=1,
                elem_id=f"pe-axis-{letter}",
            )
            controls[f"{letter}_values"] = gr.Textbox(
                "Euler a, DDIM" if letter == "x" else "",
                label="Values",
                placeholder="with commas between",
                min_width=160,
                scale=2,
            )
    gr.HTML(f'<div class="pe-hint-line">{_AXIS_HINTS}</div>')
    return controls


def size_from_picture(controls: Controls) -> None:
    """Let a picture that is chosen set the size of what is made."""
    image = controls["image"]
    assert isinstance(image, gr.Image)
    image.upload(_size_of, image, [controls["width"], controls["height"]], **QUICK)


def _size_of(path: str | None) -> tuple[int, int] | tuple[gr.Slider, gr.Slider]:
    try:
        with Image.open(path or "") as opened:
            sides = opened.size
    except (OSError, Image.DecompressionBombError):
        # Whoever generates with it is told what is wrong.
        return gr.Slider(), gr.Slider()
    shrink = min(1.0, _LARGEST_SIDE / max(sides))
    width, height = (max(int(side * shrink) // 8 * 8, 64) for side in sides)
    return width, height
