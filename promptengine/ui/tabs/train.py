"""The tab that trains hypernetworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio.components import Component
from gradio.processing_utils import save_bytes_to_cache

from promptengine.errors import PromptEngineError, RequestError
from promptengine.networks.hypernetwork.module import ACTIVATIONS, HypernetworkSettings
from promptengine.registry.registry import folders_below
from promptengine.request.request import GenerationRequest
from promptengine.server.state import Service
from promptengine.training.captions import TEMPLATES
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.ui.common import QUICK, Controls, named
from promptengine.ui.html.loss_plot import losses_svg
from promptengine.ui.html.status import message_html
from promptengine.ui.training_job import Trainer, TrainingView, keep_pictures

__all__ = ["train_tab", "training_html"]

_MOST_STEPS: Final = 1_000_000
_LOOK_S: Final = 1.0
_WORDS: Final[Mapping[str, str]] = {
    "preparing": "Preparing {name}: pictures are encoded",
    "training": "Training {name}",
    "stopping": "Stopping {name} after this step",
    "finished": "{name} is finished: {told}",
    "stopped": "{name}: {told}",
    "failed": "{name}: {told}",
}


def training_html(view: TrainingView) -> str:
    """Where a training is, with the curve of its losses."""
    if view.state == "none":
        return message_html("The loss will be drawn here.")
    tone = {"finished": "good", "failed": "bad"}.get(view.state, "plain")
    line = _WORDS[view.state].format(name=view.name, told=view.told)
    html = message_html(line, tone)  # type: ignore[arg-type]
    progress = view.progress
    if progress is None:
        return html
    left = timedelta(seconds=round(progress.seconds_left))
    told = f"Step {progress.step} of {progress.steps} · epoch {progress.epoch} · {left} left"
    facts = f"loss {progress.smoothed_loss:.4f} · rate {progress.learning_rate:g}"
    share = progress.step / progress.steps
    return (
        f'{html}<div class="pe-stage-line"><span>{told}</span><span>{facts}</span></div>'
        f'<progress class="pe-progress" max="1" value="{share:.4f}"></progress>'
        f"{losses_svg(view.points, progress.steps)}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """Answers the buttons.

    Attributes:
        service: The server's parts.
        trainer: Does the work.
        controls: Of this tab, by name.
        outputs: Message, drawing, preview and clock.
    """

    service: Service
    trainer: Trainer
    controls: Controls
    outputs: tuple[gr.HTML, gr.HTML, gr.Image, gr.Timer]

    def begin(self, values: dict[Component, Any]) -> dict[Component, Any]:
        """Start a training with what the controls say."""
        asked, said = named(self.controls, values), ""
        try:
            files = self._files(asked)
            pictures = files.folder / "pictures"
            config = _config(asked, pictures)
            keep_pictures(asked["pictures"] or (), pictures)
            model = self.service.settings.model
            self.trainer.start(config, files, model, anew=bool(asked["anew"]))
        except PromptEngineError as error:
            said = message_html(self.service.shown.text(str(error)), "bad")
        return {self.outputs[0]: said, **self.look()}

    def end(self) -> dict[Component, Any]:
        """Stop the training that goes on."""
        self.trainer.stop()
        return self.look()

    def look(self) -> dict[Component, Any]:
        """Show where the training is; the clock goes on as long as it does."""
        view = self.trainer.view
        _, drawing, preview, clock = self.outputs
        path = None if view.preview is None else _copied(view.preview, preview.GRADIO_CACHE)
        shown = gr.Image(value=path, visible=path is not None)
        return {drawing: training_html(view), preview: shown, clock: gr.Timer(active=view.goes_on)}

    def _files(self, asked: Mapping[str, Any]) -> TrainingFiles:
        name = str(asked["name"] or "").strip()
        if not name:
            raise RequestError("give the hypernetwork a name", field="name")
        models = self.service.config.models
        found = (
            models.get("hypernet")
            if isinstance(models, Mapping)
            else folders_below(models)["hypernet"]
        )
        if not found:
            raise RequestError("no folder is set for hypernetworks", field="hypernetwork_dir")
        prompt = str(asked["preview"] or "")
        preview = GenerationRequest(prompt=prompt, seed=1, steps=20) if prompt else None
        return TrainingFiles(
            output=Path(found[0]) / f"{name}.pt",
            folder=self.service.config.output / "training" / name,
            name=name,
            save_every=int(asked["save_every"] or 0),
            preview=preview,
            preview_every=int(asked["save_every"] or 0),
        )


def _copied(path: Path, folder: str) -> str | None:
    """A picture where visitors may see it; nowhere while it is being replaced."""
    try:
        return save_bytes_to_cache(path.read_bytes(), path.name, folder)
    except OSError:
        return None


def _config(asked: Mapping[str, Any], pictures: Path) -> TrainingConfig:
    text = str(asked["structure"])
    try:
        structure = tuple(float(piece) for piece in text.split(","))
        numbers = tuple(int(one) if one.is_integer() else one for one in structure)
        network = HypernetworkSettings(
            structure=numbers,
            activation=asked["activation"],
            activate_output=False,
            layer_norm=asked["layer_norm"],
            dropout_structure=(0,) * len(numbers),
        )
    except ValueError as error:
        raise RequestError(f"no network can be built: {error}", field="network") from None
    return TrainingConfig(
        data=pictures,
        network=network,
        steps=int(asked["steps"] or 0),
        learning_rate=str(asked["learning_rate"]),
        batch_size=int(asked["batch_size"] or 0),
        template=str(asked["template"]),
        seed=int(asked["seed"] if asked["seed"] is not None else -1),
    )


def train_tab(service: Service, blocks: gr.Blocks) -> None:
    """Lay out the tab and let it work; a page that is loaded later shows what goes on."""
    with gr.Row(elem_id="pe-train"):
        with gr.Column():
            controls = {**_what(), **_how()}
            with gr.Row():
                begin = gr.Button("Train", variant="primary", elem_id="pe-train-begin", scale=3)
                end = gr.Button("Stop", variant="stop", elem_id="pe-train-end", scale=1)
        with gr.Column():
            said = gr.HTML(elem_id="pe-train-said")
            drawing = gr.HTML(training_html(TrainingView()), elem_id="pe-train-told")
            preview = gr.Image(label="With and without it", visible=False, interactive=False)
    clock = gr.Timer(_LOOK_S, active=False)
    desk = _Desk(service, Trainer(service), controls, (said, drawing, preview, clock))
    looked = [drawing, preview, clock]
    begin.click(desk.begin, set(controls.values()), [said, *looked], **QUICK)
    end.click(desk.end, None, looked, **QUICK)
    clock.tick(desk.look, None, looked, **QUICK)
    blocks.load(desk.look, None, looked, **QUICK)


def _what() -> Controls:
    name = gr.Textbox(label="Name of the hypernetwork", placeholder="ink", elem_id="pe-train-name")
    pictures = gr.File(
        file_count="multiple",
        file_types=["image", ".txt"],
        label="Pictures, and captions as .txt of the same names",
        elem_id="pe-train-pictures",
        height=160,
    )
    with gr.Row():
        template = gr.Dropdown(list(TEMPLATES), value="style_filewords", label="Prompt template")
        preview = gr.Textbox("", label="Preview prompt", placeholder="empty for no previews")
    return {"name": name, "pictures": pictures, "template": template, "preview": preview}


def _how() -> Controls:
    with gr.Row():
        steps = gr.Number(1000, label="Steps", precision=0, minimum=1, maximum=_MOST_STEPS)
        rate = gr.Textbox("5e-5:200, 1e-5", label="Learning rate", info="RATE or RATE:UNTIL, …")
    with gr.Row():
        batch = gr.Number(1, label="Pictures at once", precision=0, minimum=1, maximum=64)
        save = gr.Number(100, label="Save and draw every … steps", precision=0, minimum=0)
        seed = gr.Number(-1, label="Seed", precision=0)
    with gr.Accordion("The network", open=False), gr.Row():
        structure = gr.Textbox("1, 2, 1", label="Layer structure")
        activation = gr.Dropdown(["linear", *ACTIVATIONS], value="linear", label="Activation")
        layer_norm = gr.Checkbox(False, label="Layer norm")
    anew = gr.Checkbox(False, label="Begin anew, and replace what is there under this name")
    return {
        "steps": steps,
        "learning_rate": rate,
        "batch_size": batch,
        "save_every": save,
        "seed": seed,
        "structure": structure,
        "activation": activation,
        "layer_norm": layer_norm,
        "anew": anew,
    }
