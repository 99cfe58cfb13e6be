"""The words of a folder of embeddings that a model can read, and why it cannot read the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from promptengine.errors import NetworkFormatError
from promptengine.kinds import EMBEDDING
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.registry import Registry, RegistryEntry
from promptengine.text.textual_inversion.embedding import Embedding, embedding_from, widths_text
from promptengine.text.textual_inversion.files import load_embedding
from promptengine.text.textual_inversion.table import EmbeddingTable, mentioned

__all__ = [
    "AvailableEmbeddings",
    "EmbeddingCache",
    "UnusableEmbedding",
    "misfit_diagnostics",
    "with_bundled",
]


@dataclass(frozen=True, slots=True)
class UnusableEmbedding:
    """A word that stays text, though there are vectors for it.

    Attributes:
        name: The word.
        path: The file, or None where the word came with another file.
        reason: Why, in words.
    """

    name: str
    path: Path | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class AvailableEmbeddings:
    """The embeddings of some folders. Images without an embedding are in neither list.

    Attributes:
        table: The words that texts may name.
        misfits: What cannot be used.
    """

    table: EmbeddingTable
    misfits: tuple[UnusableEmbedding, ...]


class EmbeddingCache:
    """Keeps what a registry's embeddings hold, found again by file, time and size. Threads may share it.

    Args:
        registry: Whose files to read. Files that come or change later are noticed.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._kept: Mapping[RegistryEntry, Embedding | UnusableEmbedding | None] = {}
        self._words: dict[tuple[int, ...] | None, AvailableEmbeddings] = {}

    def words(self, widths: tuple[int, ...] | None = None) -> AvailableEmbeddings:
        """Return the words for a model; every file is read once as long as it does not change.

        Args:
            widths: Widths of the model's text encoders, see
                :func:`promptengine.text.encoder.text_widths`; None accepts all.
        """
        entries = self._registry.current_entries(EMBEDDING.name)
        with self._lock:
            if set(self._kept) != set(entries):
                before = self._kept
                self._kept = {e: before[e] if e in before else self._read(e) for e in entries}
                self._words = {}
            if widths not in self._words:
                self._words[widths] = _sorted_out(self._kept.values(), widths)
            return self._words[widths]

    def _read(self, entry: RegistryEntry) -> Embedding | UnusableEmbedding | None:
        try:
            digest = self._registry.digest(entry)
            return load_embedding(entry.path, name=entry.name, digest=digest)
        except NetworkFormatError as error:
            return UnusableEmbedding(
                entry.name, entry.path, str(error).removeprefix(f"{entry.path}: ")
            )


def with_bundled(
    words: AvailableEmbeddings,
    bundled: Mapping[str, tuple[Mapping[str, Tensor], str]],
    widths: tuple[int, ...],
) -> AvailableEmbeddings:
    """Add the words that LoRA files bring along; where a word has a file of its own, that one holds, else
    the last of those spelled alike, as in WebUI.

    Args:
        words: Of the folders, for a model of these widths.
        bundled: By word, its tensors by their names in layouts of embeddings, and the file's name.
        widths: Widths of the model's text encoders.
    """
    if not bundled:
        return words
    more = [_bundled(word, *found) for word, found in reversed([*bundled.items()])]
    return _sorted_out((*words.misfits, *words.table.embeddings, *more), widths)


def _bundled(word: str, tensors: Mapping[str, Tensor], file: str) -> Embedding | UnusableEmbedding:
    try:
        return replace(embedding_from(word, {**tensors}), brought_by=file)
    except ValueError as failure:
        return UnusableEmbedding(word, None, str(failure))


def misfit_diagnostics(words: AvailableEmbeddings, texts: Iterable[str]) -> tuple[Diagnostic, ...]:
    """Warn of words in texts that a file exists for and that stay text all the same.

    Args:
        words: What the folders hold.
        texts: Texts of both prompts, without brackets.
    """
    reasons = {misfit.name: misfit.reason for misfit in words.misfits}
    # Where another file has the word, the word is applied.
    names = [name for name in reasons if words.table.find(name) is None]
    found = mentioned(names, list(dict.fromkeys(texts))) if names else []
    hint = "the word is read as text"
    return tuple(
        kinds.UNUSABLE_EMBEDDING(f"embedding {name!r} is not applied: {reasons[name]}", None, hint)
        for name in found
    )


def _sorted_out(
    read: Iterable[Embedding | UnusableEmbedding | None], widths: tuple[int, ...] | None
) -> AvailableEmbeddings:
    misfits: list[UnusableEmbedding] = []
    fitting: list[Embedding] = []
    for item in read:
        misfit = item if not isinstance(item, Embedding) else _too_wide(item, widths)
        if misfit is not None:
            misfits.append(misfit)
        elif isinstance(item, Embedding):
            fitting.append(item)
    unreachable = dict(EmbeddingTable(tuple(fitting)).unreachable)
    misfits += [_unreachable(*pair) for pair in unreachable.items()]
    misfits.sort(key=lambda misfit: str(misfit.path or "").casefold())
    reachable = tuple(embedding for embedding in fitting if embedding not in unreachable)
    return AvailableEmbeddings(EmbeddingTable(reachable), tuple(misfits))


def _too_wide(embedding: Embedding, widths: tuple[int, ...] | None) -> UnusableEmbedding | None:
    if widths is None or embedding.widths == widths:
        return None
    found, needed = widths_text(embedding.widths), widths_text(widths)
    reason = f"its vectors have {found}, and the model's text encoder reads {needed}"
    return UnusableEmbedding(embedding.name, embedding.path, reason)


def _unreachable(embedding: Embedding, holder: Embedding | None) -> UnusableEmbedding:
    reason = "its name holds nothing that a prompt can spell"
    if holder is not None:
        reason = f"its name is spelled in prompts like {str(holder.path or holder.name)!r}"
    return UnusableEmbedding(embedding.name, embedding.path, reason)
