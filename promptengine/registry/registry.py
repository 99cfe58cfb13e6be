r"""Which model files there are, and which of them a name means.

A registry scans folders laid out as WebUI's and answers for a kind and a name. It never opens what
it finds, except for the header of a LoRA (its alias) and for digests and side-cars on request. A
name is only ever looked up among the files that the scan found; it is never joined to a path, so
no name leads out of the folders.

**Spellings.** A file is reachable by its stem (``ink``), by its path below the scanned folder
(``style/ink``; ``\`` serves as ``/``), and a LoRA by its alias, tried in this order and in the exact
case. Checkpoints, VAEs, embeddings and upscalers may be named with their suffix as well. Where several files have one stem, the first keeps
it; a file directly in the scanned folder goes before those in sub-folders, since the stem *is* its
path. The others are named by the shortest path that is theirs alone: ``style/ink``, or
``ink.safetensors`` beside ``ink.pt``, or ``LyCORIS/ink`` beside ``Lora/ink``. Images stand in a
folder of embeddings for what they may carry; they come after all other files and clash with none.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

from promptengine.errors import (
    CheckpointError,
    NetworkFormatError,
    UnknownNetworkError,
)
from promptengine.files.hashing import Digests
from promptengine.kinds import ModelKind, NetworkKind, PresetTable, find_kind, model_kinds
from promptengine.prompt.templates.wildcards import Wildcards
from promptengine.registry.block_presets import PresetFiles
from promptengine.registry.near_names import NearNames
from promptengine.registry.scan import (
    FolderState,
    Kind,
    RegistryEntry,
    description,
    is_image_name,
    measure,
    metadata,
    preview,
    walk_models,
    with_suffix,
)

__all__ = [
    "WILDCARDS",
    "WORD_LISTS",
    "Clash",
    "Kind",
    "Registry",
    "RegistryEntry",
    "description",
    "folders_below",
    "metadata",
    "preview",
]

PathLike: TypeAlias = "str | os.PathLike[str]"

_SHOWN_CHARACTERS: Final = 80

WILDCARDS: Final = "wildcards"
"""What a mapping of folders calls those of wildcards, which hold no models."""

_WILDCARD_FOLDERS: Final = (
    "wildcards",
    "../wildcards",
    "../extensions/sd-dynamic-prompts/wildcards",
)

WORD_LISTS: Final = "tags"
"""Likewise those of lists of words to complete prompts with; the folder's name, beside that of the models, where
an extension that WebUI's users know has it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clash:
    """Two files of one kind with the same stem.

    Attributes:
        kind: Their kind.
        winner: The file that the bare stem means.
        loser: The file that is reachable by its path only.
    """

    kind: Kind
    winner: RegistryEntry
    loser: RegistryEntry

    def __str__(self) -> str:
        return (
            f"{find_kind(self.kind).noun} {self.winner.name!r} is {str(self.winner.path)!r}; "
            f"{str(self.loser.path)!r} has the same name and is reached as {self.loser.name!r}"
        )


class Registry:
    """The model files of some folders. An instance may be shared between threads.

    Args:
        folders: Folders of each kind, the ones that win a clash first. They need not exist.
        digests: Remembers digests; by default in memory only.

    Attributes:
        digests: As given; ``digests.save()`` writes what is not yet on disk.
    """

    def __init__(
        self, folders: Mapping[Kind, Sequence[Path]], digests: Digests | None = None
    ) -> None:
        kinds = model_kinds()
        unknown = set(folders) - {*kinds, WILDCARDS, WORD_LISTS}
        if unknown:
            raise ValueError(f"unknown kinds {sorted(unknown)}; allowed are {', '.join(kinds)}")
        self.digests = digests if digests is not None else Digests()
        self._folders = {kind: tuple(map(_absolute, folders.get(kind, ()))) for kind in kinds}
        self._wildcards = tuple(dict.fromkeys(map(_absolute, folders.get(WILDCARDS, ()))))
        self._word_lists = tuple(dict.fromkeys(map(_absolute, folders.get(WORD_LISTS, ()))))
        self._presets = PresetFiles(self._folders)
        self._lock = threading.Lock()
        self._shelves = dict.fromkeys(kinds, _EMPTY)
        self.refresh()

    @classmethod
    def open(
        cls,
        models: PathLike | Sequence[PathLike] | Mapping[Kind, PathLike | Sequence[PathLike]],
        *,
        cache_file: Path | None = None,
    ) -> Registry:
        """Scan a models folder or several, or the folders of each kind.

        Args:
            models: WebUI's models folder, with ``hypernetworks``, ``Lora``, ``LyCORIS``,
                ``Stable-diffusion``, ``VAE``, ``ESRGAN``, ``RealESRGAN``, ``SwinIR``, ``upscaler`` and
                ``embeddings`` in it (the last one also beside it); several of these, the ones that win a clash of
                names first; or a mapping of kinds to a folder or several. Missing folders are fine.
            cache_file: Where digests are kept between runs, such as
                :func:`promptengine.files.hashing.default_cache_file`; None keeps them in memory.

        Raises:
            ValueError: The mapping names a kind that does not exist.
        """
        if isinstance(models, Mapping):
            folders: dict[Kind, list[Path]] = {
                kind: _as_paths(value) for kind, value in models.items()
            }
        else:
            folders = folders_below(models)
        return cls(folders, Digests(cache_file))

    def wildcards(self) -> Wildcards:
        """Scan the folders of wildcards, and return what is in them now."""
        return Wildcards.open(self._wildcards)

    @property
    def word_lists(self) -> tuple[Path, ...]:
        """Where lists of words are looked for, whether the folders are there or not."""
        return self._word_lists

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """Files whose stem another file of their kind holds, in the order of the scan."""
        return tuple(clash for shelf in self._shelves.values() for clash in shelf.clashes)

    def folders(self, kind: Kind) -> tuple[Path, ...]:
        """Return where the files of a kind are looked for, whether the folders are there or not."""
        return self._folders.get(kind, ())

    def entries(self, kind: Kind) -> tuple[RegistryEntry, ...]:
        """Return all files of a kind as last scanned, sorted by path without regard to case."""
        return self._shelf(kind).entries

    def current_entries(self, kind: Kind) -> tuple[RegistryEntry, ...]:
        """Return all files of a kind as they are now: scanned again if any was changed, added or
        removed since the last scan.
        """
        shelf = self._shelf(kind)
        if shelf.is_current():
            return shelf.entries
        with self._lock:
            # Another thread may have scanned while this one waited.
            shelf = self._shelf(kind)
            return (shelf if shelf.is_current() else self._scan(kind)).entries

    def named_entries(self, kind: Kind) -> tuple[RegistryEntry, ...]:
        """Return all files of a kind that are there now, for their names: like :meth:`current_entries`, but a file
        that was only written anew may have its former size and time. It costs a look at the folders alone.
        """
        shelf = self._shelf(kind)
        if shelf.vouches_for(None):
            return shelf.entries
        return self.current_entries(kind)

    def refresh(self) -> None:
        """Scan all folders again. Readers see the former state until a kind's scan is complete."""
        with self._lock:
            for kind in self._folders:
                self._scan(kind)

    def find(self, kind: Kind, name: str) -> RegistryEntry | None:
        """Return the file that a name means, or None.

        The name is taken as it is: exact case, not trimmed. A file that was added, replaced or
        removed since the last scan is noticed: a miss scans again where a folder has changed, a hit
        where the file found has.

        Args:
            kind: The kind to search.
            name: A stem, a path below the scanned folder, or a LoRA's alias; see the module.
        """
        shelf = self._shelf(kind)
        entry = shelf.find(name)
        if shelf.vouches_for(entry):
            return entry
        with self._lock:
            # Another thread may have scanned while this one waited.
            shelf = self._shelf(kind)
            entry = shelf.find(name)
            return entry if shelf.vouches_for(entry) else self._scan(kind).find(name)

    def near(self, kind: Kind, name: str, limit: int = 3) -> tuple[str, ...]:
        """Return known spellings like a name, the most alike first.

        Args:
            kind: The kind to search.
            name: Any text; case does not matter, nor what follows the first hundred characters.
            limit: The most spellings to return, each for another file.
        """
        return self._shelf(kind).index.near(name, limit)

    def unknown(self, kind: Kind, name: str, *, place: str = "") -> UnknownNetworkError:
        """Make (not raise) the error for a name that was not found: one line, with a remedy.

        Args:
            kind: What was looked for.
            name: As it was written.
            place: Where it was written, such as ``at column 12``.
        """
        near = self.near(kind, name)
        found = find_kind(kind)
        word = found.noun
        plural = "networks" if _has_tag(found) else found.plural
        places = ["/".join(folder.parts[-2:]) for folder in self._folders.get(kind, ())]
        if near:
            remedy = f"did you mean {_alternatives(near)}?"
        elif self.entries(kind):
            remedy = f"no name in {' or '.join(places)} is like it"
        elif places:
            verb = "holds" if len(places) == 1 else "hold"
            remedy = f"{' and '.join(places)} {verb} no {plural}"
        else:
            remedy = f"no folder is set for {plural} of this kind"
        shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
        return UnknownNetworkError(
            f"unknown {word} {shown!r}{place and ' '}{place}; {remedy}",
            kind=kind,
            name=name,
            near=near,
        )

    def block_presets(self) -> PresetTable:
        """Return the names that weights by block may have in tags, with files of them as they are now."""
        return self._presets.read()

    def digest(self, entry: RegistryEntry, *, start: int = 0) -> str:
        """Return the SHA-256 of a file's present content as 64 hexadecimal digits.

        Reads the whole file unless its digest is known, see :class:`promptengine.files.hashing.Digests`,
        which also says what stands for a folder.

        Args:
            entry: The file.
            start: The first byte that counts.

        Raises:
            CheckpointError: A checkpoint or VAE cannot be read, for instance because it is gone.
            NetworkFormatError: The same of any other kind.
        """
        try:
            return self.digests.of(entry.path, start=start)
        except OSError as error:
            message = f"cannot be read ({error.strerror or error}); was it moved or removed?"
            if not isinstance(find_kind(entry.kind), NetworkKind):
                raise CheckpointError(message, path=entry.path) from error
            raise NetworkFormatError(message, path=entry.path) from error

    def short_hash(self, entry: RegistryEntry) -> str | None:
        """Return the digits by which WebUI knows a file, where its kind has a hash of its own.

        Raises:
            NetworkFormatError: It cannot be read, for instance because it is gone.
        """
        kind = find_kind(entry.kind)
        if not isinstance(kind, NetworkKind) or kind.short_hash is None:
            return None
        return kind.short_hash(self, entry)

    def _shelf(self, kind: Kind) -> _Shelf:
        # A kind that was added after the folders were named has none.
        return self._shelves.get(kind, _EMPTY)

    def _scan(self, kind: Kind) -> _Shelf:
        """Scan one kind and put the result in place; the caller holds the lock."""
        former = self._shelf(kind)
        shelf = _fill(kind, self._folders.get(kind, ()), former)
        for clash in shelf.clashes:
            if clash not in former.clashes:
                _log.warning("%s", clash)
        self._shelves[kind] = shelf
        return shelf


def folders_below(models: PathLike | Sequence[PathLike]) -> dict[Kind, list[Path]]:
    """Return where WebUI keeps each kind of file under a models folder, whether it is there or not.

    Args:
        models: The folder, or several, of which the first one's come first.
    """
    roots = [_absolute(one) for one in _as_paths(models)]
    parts = {kind: one.folders for kind, one in model_kinds().items()}
    parts |= {WILDCARDS: _WILDCARD_FOLDERS, WORD_LISTS: (f"../{WORD_LISTS}",)}
    return {kind: [root / part for root in roots for part in some] for kind, some in parts.items()}


@dataclass(frozen=True)
class _Shelf:
    """The files of one kind at the time of a scan. Never altered; a scan makes a new one."""

    entries: tuple[RegistryEntry, ...]
    stems: Mapping[str, RegistryEntry]
    paths: Mapping[str, RegistryEntry]
    clashes: tuple[Clash, ...]
    folders: Mapping[Path, FolderState]

    @cached_property
    def aliases(self) -> Mapping[str, RegistryEntry]:
        """Aliases that mean one file: held by no other, and not "none", as in WebUI."""
        pairs = [(alias, entry) for entry in self.entries for alias in entry.aliases]
        uses = Counter(alias for alias, _ in pairs)
        return {a: entry for a, entry in pairs if uses[a] == 1 and a.lower() != "none"}

    @cached_property
    def index(self) -> NearNames:
        """Names and aliases, for proposals."""
        spellings = {entry.name: entry for entry in self.entries}
        for alias, entry in self.aliases.items():
            spellings.setdefault(alias, entry)
        return NearNames.of(spellings)

    def find(self, name: str) -> RegistryEntry | None:
        """See :meth:`Registry.find`."""
        return (
            self.stems.get(name)
            or self.paths.get(name)
            or self.paths.get(name.replace("\\", "/"))
            or self.aliases.get(name)
        )

    def vouches_for(self, entry: RegistryEntry | None) -> bool:
        """Return whether a look-up's result still holds: a file unchanged, or a miss where nothing was
        added.
        """
        if entry is None:
            return all(folder.is_current(path) for path, folder in self.folders.items())
        return measure(entry.path) == (entry.mtime_ns, entry.size)

    def is_current(self) -> bool:
        """Return whether nothing has changed in its folders."""
        return self.vouches_for(None) and all(map(self.vouches_for, self.entries))


_EMPTY: Final = _Shelf((), {}, {}, (), {})


def _fill(kind: Kind, roots: Sequence[Path], former: _Shelf) -> _Shelf:
    """Scan one kind's folders and settle who is called what."""
    folders: dict[Path, FolderState] = {}
    seen: set[tuple[int, int]] = set()
    drafts = [entry for root in roots for entry in walk_models(kind, root, seen, folders)]
    winners: dict[str, RegistryEntry] = {}
    # An image among embeddings may be no more than that, and must not take a word from a file.
    ranks = sorted(drafts, key=lambda e: (is_image_name(e.path.name), "/" in e.relative))
    for draft in ranks:
        winners.setdefault(draft.name, draft)
    paths: dict[str, RegistryEntry] = {}
    for draft in drafts:
        paths.setdefault(draft.relative, draft)
    spelled = dict(paths)
    for draft in drafts:
        spelled.setdefault(with_suffix(draft), draft)
    # A tag that spells a suffix finds nothing in WebUI, so it must find nothing here.
    if not _has_tag(find_kind(kind)):
        paths = spelled
    final: dict[Path, RegistryEntry] = {}
    known = {entry.path: entry for entry in former.entries}
    for draft in drafts:
        named = draft
        if winners[draft.name] is not draft:
            free = (
                s for s in _paths_of(draft) if s not in winners and spelled.get(s, draft) is draft
            )
            named = replace(draft, name=next(free))
            paths[named.name] = spelled[named.name] = draft
        # The former entry, where it is equal, has its alias already.
        before = known.get(draft.path)
        final[draft.path] = before if before is not None and before == named else named
    return _Shelf(
        entries=tuple(final.values()),
        stems={stem: final[draft.path] for stem, draft in winners.items()},
        paths={path: final[draft.path] for path, draft in paths.items()},
        clashes=tuple(
            Clash(kind, final[winners[draft.name].path], final[draft.path])
            for draft in drafts
            if winners[draft.name] is not draft and not is_image_name(draft.path.name)
        ),
        folders=folders,
    )


def _has_tag(kind: ModelKind) -> bool:
    return isinstance(kind, NetworkKind) and kind.tag is not None


def _paths_of(entry: RegistryEntry) -> Iterator[str]:
    """Yield paths that end at a file, from the scanned folder downwards, then from further up."""
    above = entry.path.parts[: -len(entry.relative.split("/"))]
    for depth in range(len(above) + 1):
        prefix = "".join(f"{part}/" for part in above[len(above) - depth :])
        yield prefix + entry.relative
        yield prefix + with_suffix(entry)


def _alternatives(names: Sequence[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def _absolute(path: PathLike) -> Path:
    # Path.absolute keeps ".." and Path.resolve follows links; neither is the folder as named.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _as_paths(value: PathLike | Sequence[PathLike]) -> list[Path]:
    if isinstance(value, str | os.PathLike):
        return [Path(value)]
    return [Path(folder) for folder in value]
