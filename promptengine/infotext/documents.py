"""JSON inside images, read so that none takes more time or memory than an image's notes warrant."""

from __future__ import annotations

import json
from typing import Any, Final, cast

__all__ = ["MOST_DOCUMENT", "holds_json", "objects_in", "read_document"]

MOST_DOCUMENT: Final = 2 << 20
"""Characters of a JSON text that is read: a graph of thousands of nodes; an object takes sixty times its text."""


def read_document(text: str) -> object | None:
    """Return the JSON object of a text, or its list of objects; None where it is anything else or too long."""
    if len(text) > MOST_DOCUMENT:
        return None
    content = text.strip()
    if content[:1] + content[-1:] not in ("{}", "[]"):
        return None
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if objects_in(document) else None


def holds_json(text: str) -> bool:
    """Return whether a text is a JSON object or list of such, which no infotext is."""
    return read_document(text) is not None


def objects_in(document: object) -> list[dict[str, Any]]:
    """Return a document's objects: itself, or what it lists, and those directly within."""
    outer = cast("list[object]", document) if isinstance(document, list) else [document]
    found = [cast("dict[str, Any]", one) for one in outer if isinstance(one, dict) and one]
    inner = [value for one in found for value in one.values() if isinstance(value, dict)]
    return [*found, *cast("list[dict[str, Any]]", inner)]
