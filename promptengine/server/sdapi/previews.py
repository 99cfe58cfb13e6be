"""Files beside models that clients ask for by path: previews, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from promptengine.registry.registry import folders_below
from promptengine.server.config import ServerConfig

__all__ = ["preview_file"]

_MOST_BYTES: Final = 32 << 20
_TYPES: Final = (
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"GIF87a", b"", "image/gif"),
    (b"GIF89a", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
)
"""How files of images begin, what stands at their ninth byte, and what they are."""


def preview_file(name: str, config: ServerConfig) -> tuple[bytes, str] | None:
    """Return the image of a path below the folders of models, and its type; None for all else.

    Links are followed first, so that none leads out of the folders. The type is that of the content.

    Args:
        name: A path as lists tell it: absolute, or below the models folder where paths are hidden.
        config: The server's.
    """
    for place in _places(name, config):
        try:
            if not place.is_file() or place.stat().st_size > _MOST_BYTES:
                continue
            data = place.read_bytes()
        except OSError:
            continue
        for begin, ninth, kind in _TYPES:
            if data.startswith(begin) and data[8:].startswith(ninth):
                return data, kind
    return None


def _places(name: str, config: ServerConfig) -> Iterator[Path]:
    """Yield what a path may mean, as far as that lies below a folder of models."""
    models = config.models
    folders = models if isinstance(models, Mapping) else folders_below(models)
    roots = dict.fromkeys(folder.absolute() for several in folders.values() for folder in several)
    for base in (Path.cwd(), *roots, *dict.fromkeys(root.parent for root in roots)):
        try:
            place = (base / name).resolve(strict=True)
            if any(place.is_relative_to(root.resolve()) for root in roots):
                yield place
        except (OSError, ValueError, RuntimeError):
            continue
