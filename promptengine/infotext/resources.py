"""``Civitai resources`` of an infotext: a JSON list of the models that made an image, with names or numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from promptengine.kinds import EMBEDDING, HYPERNETWORK, LORA, NETWORK_KINDS, NetworkKind

__all__ = ["LABEL", "Resource", "read_resources"]

LABEL: Final = "Civitai resources"

_TYPES: Final[Mapping[str, str]] = {
    "hypernetwork": HYPERNETWORK.name,
    "locon": LORA.name,
    "lycoris": LORA.name,
    "dora": LORA.name,
    "embedding": EMBEDDING.name,
    "textualinversion": EMBEDDING.name,
}
"""Other words than those of the kinds themselves."""

_MOST: Final = 200
_MOST_CHARACTERS: Final = 200


class Resource(NamedTuple):
    """One model.

    Attributes:
        type: In lower case, as written.
        name: Of the model; empty where only numbers are given.
        weight: As text.
    """

    type: str
    name: str
    weight: str

    @property
    def kind(self) -> NetworkKind | None:
        """Which kind of networks it is, or None for none of them."""
        words = {
            word: kind for kind in NETWORK_KINDS.values() for word in (kind.name, *kind.civitai)
        }
        return words.get(_TYPES.get(self.type, self.type))


def read_resources(text: str) -> tuple[Resource, ...]:
    """Read the list; whatever in it is of another type than it should be is left out. Never raises."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    items = cast("list[object]", document)[:_MOST] if isinstance(document, list) else []
    found = [cast("dict[str, object]", one) for one in items if isinstance(one, dict)]
    return tuple(
        Resource(_word(one.get("type")).lower(), _word(one.get("modelName")), _weight(one))
        for one in found
    )


def _word(value: object) -> str:
    return value[:_MOST_CHARACTERS].strip() if isinstance(value, str) else ""


def _weight(item: Mapping[str, object]) -> str:
    weight = item.get("weight", item.get("strength"))
    if (
        isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not math.isfinite(weight)
    ):
        return "1"
    return repr(weight)
