"""How much of a small file is read: side-cars, configurations, headers.

Text of these kinds unpacks to many times its size once it is parsed, and parsing takes time for each
piece of it. So both are limited before a parser sees it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

__all__ = [
    "MOST_HEADER_BYTES",
    "MOST_SIDE_BYTES",
    "json_object",
    "read_small",
    "require_few_pieces",
]

MOST_HEADER_BYTES: Final = 16 << 20
"""Of a safetensors file; those of trainers that list all their captions take a few MB."""

MOST_SIDE_BYTES: Final = 1 << 20
"""Of a side-car or a configuration."""

_LEAST_PIECES: Final = 150_000
_BYTES_A_PIECE: Final = 60


def read_small(path: Path, most: int = MOST_SIDE_BYTES) -> bytes:
    """Read a file that is not meant to be large.

    Raises:
        ValueError: It has more than ``most`` bytes.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most >> 10} KiB, which no such file has")
    return content


def require_few_pieces(header: bytes, size: int) -> None:
    """Raise ValueError for JSON of more texts and containers than a file has use for.

    Args:
        header: The JSON.
        size: Bytes of the file that it describes.
    """
    # Quotes inside of texts are escaped: trainers keep JSON as text in there.
    pieces = header.count(b'"') - header.count(b'\\"') + header.count(b"[") + header.count(b"{")
    if pieces > _LEAST_PIECES + size // _BYTES_A_PIECE:
        raise ValueError(f"its header has {pieces} pieces, too many for a file of {size} bytes")


def json_object(content: bytes | str) -> dict[str, Any] | None:
    """Return the object that a JSON text holds; None for anything else."""
    try:
        document: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None
