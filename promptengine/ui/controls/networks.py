"""The tabs of cards: hypernetworks, LoRAs, embeddings and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import gradio as gr

from promptengine.inspection import size_of_checkpoint
from promptengine.kinds import CHECKPOINT, EMBEDDING, HYPERNETWORK, LORA
from promptengine.registry.registry import Kind, folders_below
from promptengine.server.state import Service
from promptengine.ui.common import QUICK, Controls
from promptengine.ui.html.cards import card_of, cards_html

__all__ = ["checkpoint_choice", "choose_by_card", "chosen_checkpoint", "network_tabs"]

_TABS: Final[Mapping[str, Kind]] = {
    "Hypernetworks": HYPERNETWORK.name,
    "Lora": LORA.name,
    "Textual Inversion": EMBEDDING.name,
    "Checkpoints": CHECKPOINT.name,
}


def network_tabs(service: Service) -> list[gr.HTML]:
    """Lay out a tab of cards for each kind; call it among tabs."""
    places: list[gr.HTML] = []
    for label, kind in _TABS.items():
        with gr.Tab(label, elem_id=f"pe-tab-{kind}"):
            refresh = gr.Button("↻", size="sm", elem_classes="pe-refresh")
            # Asked for whenever the page is loaded, so that it shows the folders as they are.
            draw = partial(_drawn, service, kind)
            cards = gr.HTML(draw, elem_id=f"pe-cards-{kind}")
            refresh.click(draw, None, cards, **QUICK)
            places.append(cards)
    return places


def _drawn(service: Service, kind: Kind) -> str:
    entries = service.registry.current_entries(kind)
    if kind == EMBEDDING.name:
        # Pictures in their folder may be no more than that.
        words = {word.name for word in service.words.words().table.embeddings}
        entries = tuple(entry for entry in entries if entry.name in words)
    cards = [card_of(entry) for entry in sorted(entries, key=lambda one: one.name.casefold())]
    return cards_html(kind, cards, place=_folder(service, kind))


def _folder(service: Service, kind: Kind) -> str:
    models = service.config.models
    folders = models.get(kind, []) if isinstance(models, Mapping) else folders_below(models)[kind]
    return service.shown.path(folders[0]) if folders else ""


def checkpoint_choice(service: Service) -> Controls:
    """Lay out the choice of the checkpoint."""
    checkpoint = gr.Dropdown(
        _choices(service),
        value="",
        label="Checkpoint",
        elem_id="pe-checkpoint",
        min_width=180,
        interactive=True,
    )
    return {"checkpoint": checkpoint}


def _choices(service: Service) -> list[tuple[str, str]]:
    """The checkpoints in the folders, and first the server's own, which may change or lie elsewhere."""
    current = service.settings.model.checkpoint
    return [
        (f"{current.stem} (default)", ""),
        *((name, name) for name in _checkpoints(service)),
    ]


def _checkpoints(service: Service) -> dict[str, Path]:
    return {entry.name: entry.path for entry in service.registry.current_entries("checkpoint")}


def chosen_checkpoint(service: Service, name: str = "") -> gr.Dropdown:
    """The choice as the folders are now, with a checkpoint chosen; empty is the server's own."""
    return gr.Dropdown(choices=_choices(service), value=name)


def choose_by_card(service: Service, controls: Controls) -> None:
    """Let a card choose its checkpoint, and a checkpoint the size that it is best at."""
    checkpoint = controls["checkpoint"]
    assert isinstance(checkpoint, gr.Dropdown)
    # Cards write their names into a box that nobody sees.
    picked = gr.Textbox(elem_id="pe-picked", elem_classes="pe-hidden", show_label=False)

    def size_of(name: str) -> tuple[int, int]:
        path = _checkpoints(service).get(name, service.settings.model.checkpoint)
        size = size_of_checkpoint(path, service.config.model_config)
        return size, size

    picked.input(partial(chosen_checkpoint, service), picked, checkpoint, **QUICK)

    checkpoint.change(size_of, checkpoint, [controls["width"], controls["height"]], **QUICK)
