"""What several commands make of their arguments: settings, and the names of files to write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from promptengine.errors import RequestError

__all__ = ["assignments", "free_path"]


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """Take ``NAME=VALUE`` apart; of two for one name the later counts.

    Raises:
        RequestError: A text without ``=``.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError(f"--option {text!r}: write NAME=VALUE", field="option")
        found[name.strip()] = value.strip()
    return found


def free_path(folder: Path, label: int | str, prefix: str = "", suffix: str = "png") -> Path:
    """``NNNNN-LABEL.SUFFIX`` with the first number past those taken, as WebUI numbers its images."""
    numbered = re.compile(re.escape(prefix) + r"(\d{5,})-")
    taken = [int(match[1]) for p in folder.iterdir() if (match := numbered.match(p.name))]
    return folder / f"{prefix}{max(taken, default=0) + 1:05}-{label}.{suffix}"
