"""Cards: what they show of a file, what a click inserts, and nothing of a file's own markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptengine.registry.registry import Registry
from promptengine.ui.html.cards import card_of, cards_html
from tests.model_folders import hypernets, touch


def test_a_card_shows_name_picture_and_description(tmp_path: Path) -> None:
    registry = hypernets(tmp_path, "style/ink wash.pt")
    folder = tmp_path / "hypernetworks" / "style"
    touch(folder / "ink wash.preview.png")
    (folder / "ink wash.txt").write_text("Pen & <wash>\n", encoding="utf-8")
    card = card_of(registry.entries("hypernet")[0])
    assert (card.name, card.insert, card.text) == (
        "ink wash",
        "<hypernet:ink wash:1>",
        "Pen & <wash>",
    )
    assert card.picture == "preview/hypernet/ink%20wash"
    html = cards_html("hypernet", [card])
    assert 'data-insert="&lt;hypernet:ink wash:1&gt;"' in html
    assert "Pen &amp; &lt;wash&gt;" in html


@pytest.mark.parametrize(
    ("kind", "file", "insert"),
    [
        ("lora", "Lora/line.safetensors", "<lora:line:1>"),
        ("embedding", "embeddings/bad-hands.pt", "bad-hands"),
        ("checkpoint", "Stable-diffusion/m.ckpt", ""),
    ],
)
def test_what_a_click_inserts(tmp_path: Path, kind: str, file: str, insert: str) -> None:
    touch(tmp_path / file)
    registry = Registry.open(tmp_path)
    assert card_of(registry.entries(kind)[0]).insert == insert  # type: ignore[arg-type]


def test_a_name_that_no_tag_can_hold_cannot_be_clicked(tmp_path: Path) -> None:
    registry = hypernets(tmp_path, "a<b>.pt")
    card = card_of(registry.entries("hypernet")[0])
    assert card.insert == ""
    html = cards_html("hypernet", [card])
    assert " disabled " in html
    assert "<b>" not in html


def test_no_cards_say_where_files_go() -> None:
    html = cards_html("lora", [], place="models/<Lora>")
    assert "There are no LoRAs yet" in html
    assert "models/&lt;Lora&gt;" in html
