"""What a prompt can name: networks and wildcards of some folders, and the words of the user's own lists."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from promptengine.kinds import tag_kinds
from promptengine.language.reading import warm_up
from promptengine.language.word_lists import WordIndex, WordLists
from promptengine.prompt.templates.wildcards import Wildcards
from promptengine.registry.registry import Kind, Registry, RegistryEntry
from promptengine.registry.scan import is_image_name
from promptengine.registry.side_cars import Cards
from promptengine.validation import check_type

__all__ = ["Vocabulary"]

_FRESH_S: Final = 2.0
"""Seconds that a scan of the wildcards counts as what is there; it may look at thousands of folders."""


@dataclass(slots=True)
class _Scan:
    """The last scan of the wildcards."""

    found: Wildcards | None = None
    until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What can be named. Threads may share one; it notices what changes in the folders.

    Attributes:
        registry: Where networks and wildcards are; None for none.
        lists: The user's lists of words: those of a folder, or an index; None for none.
    """

    registry: Registry | None = None
    lists: WordLists | WordIndex | None = None
    _scan: _Scan = field(default_factory=_Scan, repr=False, compare=False)
    _cards: Cards = field(default_factory=Cards, repr=False, compare=False)

    @classmethod
    def open(cls, models: str | os.PathLike[str] | Mapping[Kind, Sequence[Path]]) -> Vocabulary:
        """Open a models folder and the folder ``tags`` beside it, which need not exist.

        Args:
            models: As WebUI lays it out; or the folders of each kind, as
                :func:`promptengine.registry.registry.folders_below` names them.

        Raises:
            RequestError: It is no path.
        """
        words = "a folder, or a mapping of kinds to folders"
        check_type("models", models, str, os.PathLike, Mapping, words=words)
        registry = Registry.open(models)
        return cls(registry, WordLists(registry.word_lists))

    def warm_up(self) -> None:
        """Read now what the first questions would wait for: lists of words, names to propose, wildcards, grammars.

        Services do it while they open; it may take a second.
        """
        warm_up()
        _ = self.words, self.wildcards()
        if self.registry is not None:
            for kind in tag_kinds():
                self.registry.near(kind.name, "")

    @property
    def words(self) -> WordIndex:
        """The words of the lists as they are now."""
        if isinstance(self.lists, WordLists):
            return self.lists.index()
        return self.lists or WordIndex(())

    def networks(self, kind: str) -> Sequence[RegistryEntry]:
        """Return the files of a kind that are there now; images among them are left out."""
        if self.registry is None:
            return ()
        entries = self.registry.named_entries(kind)
        return [entry for entry in entries if not is_image_name(entry.path.name)]

    def notes(self, kind: str, entries: Sequence[RegistryEntry]) -> dict[str, tuple[float, str]]:
        """Return what users wrote beside some files of one kind: by name their multiplier, 0 for the usual one, and
        what they do.
        """
        cards = self._cards.of(kind, entries)
        return {one.entry.name: (one.user.preferred_weight, one.description) for one in cards}

    def wildcards(self) -> Wildcards:
        """Return the wildcards as they were some two seconds ago at most."""
        if self.registry is None:
            return Wildcards()
        scan = self._scan
        with scan.lock:
            if scan.found is None or time.monotonic() >= scan.until:
                scan.found = self.registry.wildcards()
                scan.until = time.monotonic() + _FRESH_S
            return scan.found
