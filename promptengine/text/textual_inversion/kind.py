"""What embeddings do that other kinds of networks do not; see :data:`promptengine.kinds.EMBEDDING`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptengine.errors import NetworkFormatError
from promptengine.kinds import EMBEDDING, FileSummary, InspectedFile
from promptengine.registry.registry import Registry
from promptengine.text.textual_inversion.embedding import MOST_VECTORS, widths_text
from promptengine.text.textual_inversion.files import load_embedding
from promptengine.text.textual_inversion.loader import EmbeddingCache
from promptengine.validation import cut

__all__ = ["describe_embedding", "is_one_word", "summarize_embeddings"]


def is_one_word(file: InspectedFile) -> bool:
    """Return whether a file holds one tensor that can be an embedding.

    diffusers names the one tensor of an embedding by its word, which may be any.
    """
    if len(file.shapes) != 1 or list(file.names) != list(file.shapes):
        return False
    (shape,) = file.shapes.values()
    rows = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else 0
    return 1 <= rows <= MOST_VECTORS


def describe_embedding(file: InspectedFile) -> Mapping[str, Any]:
    """Return the fields of a :class:`promptengine.FileReport` that tell of an embedding."""
    try:
        embedding = load_embedding(file.path, digest=file.digest)
    except NetworkFormatError as failure:
        return {"notes": [f"it cannot be used: {failure}"]}
    if embedding is None:
        return {"notes": ["an image without an embedding in it"]}
    notes: list[str] = []
    inside = embedding.name if file.is_image else file.metadata.get("name", file.path.stem)
    if inside != file.path.stem:
        used = "it" if file.is_image else "the file's"
        notes.append(f"the name inside, {cut(inside)!r}, is not the file's; prompts use {used}")
    known = {
        "step": embedding.step,
        "sd_checkpoint": embedding.sd_checkpoint,
        "sd_checkpoint_name": embedding.sd_checkpoint_name,
    }
    read = {name: cut(str(value)) for name, value in known.items() if value is not None}
    own = {
        "tensors": len(embedding.parts),
        "parameters": sum(part.numel() for part in embedding.parts),
        "dtypes": {"float32": len(embedding.parts)},
    }
    return {
        "kind": EMBEDDING.inspected,
        **(own if file.is_image else {}),
        "vectors": f"{embedding.count} of {widths_text(embedding.widths)}",
        "metadata": {**{name: cut(text) for name, text in file.metadata.items()}, **read},
        "notes": notes,
    }


def summarize_embeddings(registry: Registry) -> Mapping[Path, FileSummary]:
    """Return what each file of an embedding holds, or why it cannot be used; images that hold none are
    left out.
    """
    if not registry.entries(EMBEDDING.name):
        return {}
    words = EmbeddingCache(registry).words()
    found = {
        misfit.path: _summary(misfit.name, 0, (), misfit.reason)
        for misfit in words.misfits
        if misfit.path is not None
    }
    names = {entry.path: entry.name for entry in registry.entries(EMBEDDING.name)}
    for word in words.table.embeddings:
        if word.path is not None:
            called = "" if word.name == names.get(word.path) else f", word {word.name}"
            found[word.path] = _summary(word.name, word.count, word.widths, None, called)
    return found


def _summary(
    word: str, vectors: int, widths: tuple[int, ...], problem: str | None, called: str = ""
) -> FileSummary:
    of = " and ".join(map(str, widths))
    text = f"{vectors} vector{'s' if vectors > 1 else ''} of width {of}{called}"
    facts = {"word": word, "vectors": vectors, "widths": list(widths), "misfit": problem}
    return FileSummary(text, facts, problem)
