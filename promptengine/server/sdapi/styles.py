"""WebUI's ``styles.csv``: named texts that are put around or behind a prompt."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Style", "read_styles", "with_styles"]

_MOST_BYTES: Final = 4 << 20
_PLACE: Final = "{prompt}"


@dataclass(frozen=True, slots=True)
class Style:
    """One row of the file.

    Attributes:
        name: What requests call it.
        prompt: Goes around the prompt where it holds ``{prompt}``, else behind it.
        negative_prompt: Likewise.
    """

    name: str
    prompt: str
    negative_prompt: str


def read_styles(path: Path | None) -> list[Style]:
    """Return the styles of a file; none where it is missing or cannot be read."""
    try:
        if path is None or path.stat().st_size > _MOST_BYTES:
            return []
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error):
        return []
    return [
        Style(row["name"], row.get("prompt") or "", row.get("negative_prompt") or "")
        for row in rows
        if row.get("name")
    ]


def with_styles(prompt: str, texts: Sequence[str]) -> str:
    """Put the texts of styles around a prompt, one after another."""
    for text in texts:
        if _PLACE in text:
            prompt = text.replace(_PLACE, prompt)
        elif text.strip():
            prompt = ", ".join(part for part in (prompt.strip(), text.strip()) if part)
    return prompt
