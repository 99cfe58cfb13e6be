"""Reads textual-inversion embeddings: pickles, safetensors, and images that carry one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from promptengine.errors import NetworkFormatError
from promptengine.files.hashing import sha256
from promptengine.files.weights import file_format, read_pickled, read_safetensors
from promptengine.text.textual_inversion.embedding import Embedding, embedding_from
from promptengine.text.textual_inversion.png import is_image, read_embedding_image

__all__ = ["load_embedding"]


def load_embedding(
    path: Path, *, name: str | None = None, digest: str | None = None
) -> Embedding | None:
    """Read an embedding; the content decides how, not the suffix.

    The vectors are copies: the file may change or vanish afterwards.

    Args:
        path: The file.
        name: The word to give it, by default the file's stem. The name inside a file plays no part,
            save in an image, where it goes first, as in WebUI: images get other file names on
            their way.
        digest: The file's SHA-256 in hex, where it is known; else the file is read for it.

    Returns:
        The embedding, or None for an image without one, such as a preview.

    Raises:
        NetworkFormatError: A file that is missing, damaged, of another kind or unsafe, or whose
            vectors no text encoder can read.
    """
    path = Path(path)
    try:
        content = read_embedding_image(path) if is_image(path) else _read(path)
        if content is None:
            return None
        word = name or path.stem
        inside = content.get("name")
        if is_image(path) and isinstance(inside, str) and inside:
            word = inside
        return embedding_from(word, content, digest=digest or sha256(path), path=path)
    except ValueError as failure:
        raise NetworkFormatError(str(failure), path=path) from failure
    except OSError as failure:
        raise NetworkFormatError(f"cannot be read: {failure.strerror}", path=path) from failure


def _read(path: Path) -> Mapping[object, object]:
    if file_format(path) == "safetensors":
        tensors, _ = read_safetensors(path)
        return cast("Mapping[object, object]", tensors)
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not an embedding")
    return cast("Mapping[object, object]", content)
