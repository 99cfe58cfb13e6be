"""Inputs that an earlier release handled wrongly, a line each, with what is right."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def lines(name: str, key: str) -> dict[str, str]:
    """The inputs of ``name.jsonl`` under ``key``, and what is right for each, in words."""
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.split("\n") if line]
    return {line[key]: line["right"] for line in found}
