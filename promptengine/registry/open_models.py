"""From what callers name their folders with to the registry of what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from promptengine.errors import RequestError
from promptengine.files.hashing import default_cache_file
from promptengine.registry.registry import Kind, Registry
from promptengine.validation import check_type

__all__ = ["Models", "open_models"]

Models = (
    str | Path | Sequence[str | Path] | Mapping[Kind, str | Path | Sequence[str | Path]] | Registry
)
"""Where networks are looked up: a models folder or several, the folders of each kind, or what was scanned already."""


def open_models(models: Models) -> Registry:
    """Scan folders, remembering digests between runs; a registry is returned as it is.

    Raises:
        RequestError: An argument of another type, or a mapping that names a kind that does not exist.
    """
    if isinstance(models, Registry):
        return models
    words = "a folder, a list of folders, a mapping of kinds to folders, or a Registry"
    check_type("models", models, str, Path, list, tuple, Mapping, words=words)
    try:
        return Registry.open(models, cache_file=default_cache_file())
    except (TypeError, ValueError) as error:
        raise RequestError(f"models: {error}", field="models") from None
