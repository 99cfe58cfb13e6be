"""Names that are like another one: what an unknown name may have meant."""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from promptengine.registry.scan import RegistryEntry

__all__ = ["NearNames"]

_COMPARED_CHARACTERS: Final = 100
_MOST_TOLD: Final = 256
_PAIRED_CHARACTERS: Final = 50
_COMPARED_NAMES: Final = 32
_BEGINNING: Final = "\0"
_LEAST_LIKENESS: Final = 0.6


@dataclass(frozen=True)
class NearNames:
    """Spellings worth proposing, folded once so that they can be compared quickly.

    Attributes:
        spellings: As they are proposed.
        folded: The same without case, each after a mark of the beginning.
        entries: What each one finds.
        _told: Answers so far.
    """

    spellings: Sequence[str]
    folded: Sequence[str]
    entries: Sequence[RegistryEntry]
    _told: dict[tuple[str, int], tuple[str, ...]] = field(
        default_factory=dict[tuple[str, int], tuple[str, ...]], repr=False, compare=False
    )

    @classmethod
    def of(cls, found: Mapping[str, RegistryEntry]) -> NearNames:
        """Fold spellings; each finds an entry."""
        return cls(tuple(found), tuple(map(_folded, found)), tuple(found.values()))

    def near(self, name: str, limit: int) -> tuple[str, ...]:
        """See :meth:`Registry.near`."""
        # Whoever edits a prompt asks for its unknown names again at each key.
        asked = name[:_COMPARED_CHARACTERS], limit
        if asked not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[asked] = self._near(*asked)
        return self._told[asked]

    def _near(self, name: str, limit: int) -> tuple[str, ...]:
        wanted = _folded(name)
        rated: list[tuple[float, str, Path]] = []
        for number in self._candidates(wanted):
            entry, spelling = self.entries[number], self.spellings[number]
            # A file that is known by its stem may have been asked for by its path.
            for proposal in {spelling, entry.relative} if "/" in wanted else {spelling}:
                likeness = _likeness(wanted, _folded(proposal))
                if likeness >= _LEAST_LIKENESS:
                    rated.append((-likeness, proposal, entry.path))
        found: dict[Path, str] = {}
        for _, proposal, path in sorted(rated):
            if proposal not in found.values():
                found.setdefault(path, proposal)
        return tuple(found.values())[: max(limit, 0)]

    def _candidates(self, wanted: str) -> list[int]:
        """Choose the few that have the most pairs of neighboring letters in common.

        Comparing all letter by letter would take ten times as long.
        """
        beginning = wanted[1 : _PAIRED_CHARACTERS + 1]
        pairs = set(map("".join, zip(_BEGINNING + beginning, beginning, strict=False)))
        shared: Counter[int] = Counter()
        for pair in pairs:
            shared.update([number for number, text in enumerate(self.folded) if pair in text])
        size, folded = len(pairs), self.folded
        return heapq.nlargest(
            _COMPARED_NAMES,
            shared,
            key=lambda number: shared[number] / (size + len(folded[number])),
        )


def _folded(spelling: str) -> str:
    return _BEGINNING + spelling[:_COMPARED_CHARACTERS].replace("\\", "/").casefold()


def _likeness(wanted: str, known: str) -> float:
    """Rate from 0 (nothing alike) over 1 (one begins with the other) to 2 (equal but for case)."""
    if wanted == known:
        return 2.0
    ratio = difflib.SequenceMatcher(None, wanted, known).ratio()
    shorter, longer = sorted((wanted, known), key=len)
    return 1.0 + ratio / 2 if len(shorter) > 2 and longer.startswith(shorter) else ratio
