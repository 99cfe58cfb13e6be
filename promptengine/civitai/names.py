"""Names for files whose authors may have called them anything."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["safe_name"]

_LONGEST_BYTES: Final = 150
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
_RESERVED: Final = re.compile(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?$", re.IGNORECASE
)
"""Devices of Windows, whatever suffix stands behind them."""


def safe_name(name: str, fallback: str) -> str:
    r"""Return a name that is one file in one folder on any system, and can stand in a tag.

    Only what follows the last ``/`` or ``\`` counts. What no name may have becomes ``_``.

    Args:
        name: Any text.
        fallback: The stem where nothing is left of it.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    kept = "".join("_" if c in _FORBIDDEN or unicodedata.category(c)[0] == "C" else c for c in last)
    stem, dot, suffix = kept.strip(" .").rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    suffix = _cut(suffix, 20)
    stem = stem.strip(" .") or fallback
    stem = f"_{stem}" if _RESERVED.match(stem) else stem
    stem = _cut(stem, _LONGEST_BYTES - len(suffix.encode()) - 1).rstrip(" .")
    return f"{stem}.{suffix}" if suffix else stem


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode("utf-8", "ignore")
