"""Cards of model files: a picture, a name, a description, and what a click puts into the prompt.

Plain HTML; searching, sorting and clicking are done in the browser by ``page.js``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import quote

from promptengine.registry.registry import Kind, RegistryEntry, description, preview

__all__ = ["Card", "card_of", "cards_html"]

_PLURALS: Final[Mapping[Kind, str]] = {
    "hypernet": "hypernetworks",
    "lora": "LoRAs",
    "embedding": "embeddings",
    "checkpoint": "checkpoints",
    "vae": "VAEs",
    "upscaler": "upscalers",
}
_MOST_CHARACTERS: Final = 300
_NO_TAG_HOLDS: Final = frozenset("<>:\r\n")


@dataclass(frozen=True, slots=True)
class Card:
    """What a card shows of a file.

    Attributes:
        kind: Of the file.
        name: As tags and choices spell it.
        insert: What a click puts into the prompt; empty where it chooses something, or can do nothing.
        picture: Address of its preview, or empty.
        text: What the user wrote about it.
        modified: When the file was last written, in nanoseconds since the epoch.
    """

    kind: Kind
    name: str
    insert: str
    picture: str
    text: str
    modified: int


def card_of(entry: RegistryEntry) -> Card:
    """Make the card of a file."""
    address = f"preview/{entry.kind}/{quote(entry.name, safe='')}"
    return Card(
        kind=entry.kind,
        name=entry.name,
        insert=_insert(entry),
        picture="" if preview(entry) is None else address,
        text=description(entry).strip(),
        modified=entry.mtime_ns,
    )


def _insert(entry: RegistryEntry) -> str:
    if entry.kind == "embedding":
        return entry.name
    if entry.kind not in ("hypernet", "lora") or _NO_TAG_HOLDS & set(entry.name):
        return ""
    return f"<{entry.kind}:{entry.name}:1>"


def cards_html(kind: Kind, cards: Sequence[Card], *, place: str = "") -> str:
    """Draw cards with a box to search them and a choice of their order.

    Args:
        kind: Of all of them.
        cards: In the order of their names.
        place: The folder to put files into, told where there are none.

    Returns:
        One element of class ``pe-cards``.
    """
    plural = _PLURALS[kind]
    if not cards:
        told = f"Put {plural} into <code>{escape(place)}</code>" if place else "Add some"
        return (
            f'<div class="pe-cards pe-empty">There are no {plural} yet. {told} and press ↻.</div>'
        )
    bar = (
        '<div class="pe-cards-bar">'
        f'<input type="search" placeholder="Search {len(cards)} {plural}" aria-label="Search {plural}">'
        '<select aria-label="Order"><option value="name">By name</option>'
        '<option value="new">Newest first</option></select></div>'
    )
    return (
        f'<div class="pe-cards" data-kind="{kind}">{bar}'
        f'<div class="pe-cards-grid">{"".join(map(_card, cards))}</div></div>'
    )


def _card(card: Card) -> str:
    name = escape(card.name)
    if card.picture:
        picture = f'<img src="{escape(card.picture)}" alt="" loading="lazy">'
    else:
        picture = f'<span class="pe-card-letter">{escape(card.name[:1].upper())}</span>'
    text = card.text[:_MOST_CHARACTERS]
    hue = zlib.crc32(card.name.encode()) % 360
    usable = card.insert or card.kind == "checkpoint"
    disabled = "" if usable else ' disabled title="no tag can hold this name"'
    return (
        f'<button type="button" class="pe-card" style="--pe-hue:{hue}" aria-pressed="false"{disabled} '
        f'data-kind="{card.kind}" data-name="{name}" data-insert="{escape(card.insert)}" '
        f'data-modified="{card.modified}">'
        f'<span class="pe-card-picture">{picture}</span>'
        f'<span class="pe-card-name">{name}</span>'
        f'<span class="pe-card-text">{escape(text)}</span></button>'
    )
