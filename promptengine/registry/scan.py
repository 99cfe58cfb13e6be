"""What model files a folder holds, and what lies beside each of them.

Only names, sizes and times are read here, the header of a LoRA for its alias, and the small
side-cars that WebUI's users keep next to a file: an image, a text, a JSON object.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from promptengine.files.hashing import files_below, is_settling
from promptengine.files.size_limits import (
    MOST_HEADER_BYTES,
    MOST_SIDE_BYTES,
    json_object,
    require_few_pieces,
)
from promptengine.kinds import find_kind

__all__ = [
    "DESCRIPTIONS",
    "PREVIEWS",
    "USER_METADATA",
    "FolderState",
    "Header",
    "Kind",
    "RegistryEntry",
    "beside",
    "description",
    "is_image_name",
    "measure",
    "metadata",
    "preview",
    "read_header",
    "walk_models",
    "with_suffix",
]

Kind = str
"""What a file is: a name of :func:`promptengine.kinds.model_kinds`, such as ``hypernet`` or ``checkpoint``."""

_IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif")

PREVIEWS: Final = tuple(middle + end for middle in ("", ".preview") for end in _IMAGE_SUFFIXES)
"""How the name of an image goes on that shows what a file does, the first that there is."""

DESCRIPTIONS: Final = (".txt", ".description.txt")
"""Likewise of what its user wrote about it."""

USER_METADATA: Final = ".json"
"""Likewise of its user's metadata."""

_MISSING: Final = -1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegistryEntry:
    """One file (or one diffusers folder) that a name can mean.

    Attributes:
        kind: What it is.
        name: The spelling that finds it: its stem, or a path where another file holds the stem.
        relative: Path below the scanned folder, with ``/`` and without suffix.
        path: Absolute path.
        mtime_ns: Modification time, in nanoseconds since the epoch; the latest within a folder.
        size: Bytes; the sum within a folder.
    """

    kind: Kind
    name: str
    relative: str
    path: Path
    mtime_ns: int
    size: int

    @cached_property
    def aliases(self) -> tuple[str, ...]:
        """Other names the file gives itself: a LoRA's ``ss_output_name``. Read on first use."""
        return find_kind(self.kind).aliases(self.path)


def preview(entry: RegistryEntry) -> Path | None:
    """Return the image beside a file: ``stem.png``, else ``stem.preview.png``.

    Other suffixes are jpg, jpeg, webp and gif, in this order after png. WebUI takes them in no
    order of its own; PNG first is this project's rule.
    """
    stem = beside(entry)
    return next((image for end in PREVIEWS if (image := Path(f"{stem}{end}")).is_file()), None)


def description(entry: RegistryEntry) -> str:
    """Return what the user wrote about a file, or an empty text.

    It is the ``description`` of ``stem.json`` where there is one, even an empty one, else the
    first MiB of ``stem.txt``, else that of ``stem.description.txt``.
    """
    overriding = metadata(entry).get("description")
    if isinstance(overriding, str):
        return overriding
    stem = beside(entry)
    for content in (_sidecar(f"{stem}{end}") for end in DESCRIPTIONS):
        if content is not None:
            return content.decode("utf-8-sig", "replace")
    return ""


def metadata(entry: RegistryEntry) -> dict[str, Any]:
    """Return the user's metadata of a file, the object in ``stem.json``.

    One that is missing counts as empty, and so does one that is no JSON object or is larger than
    1 MiB, with a warning in the log.
    """
    path = f"{beside(entry)}{USER_METADATA}"
    content = _sidecar(path)
    if content is None:
        return {}
    document = json_object(content)
    if document is None:
        _log.warning("%r holds no JSON object and is ignored", path)
        return {}
    return document


@dataclass(frozen=True)
class FolderState:
    """What tells whether a folder has changed since it was listed.

    Attributes:
        mtime_ns: Its modification time before the listing, or ``_MISSING``.
        names: What it held, as long as the time is too recent to be relied upon.
    """

    mtime_ns: int
    names: frozenset[str] | None = None

    def is_current(self, path: Path) -> bool:
        """Return whether the folder at ``path`` is still as it was."""
        try:
            mtime_ns = path.stat().st_mtime_ns
            if mtime_ns != self.mtime_ns or self.names is None:
                return mtime_ns == self.mtime_ns
            return is_settling(mtime_ns) and self.names == frozenset(
                os.listdir(path)  # noqa: PTH208 - looked at again at each key
            )
        except OSError:
            return self.mtime_ns == _MISSING


def walk_models(
    kind: Kind, root: Path, seen: set[tuple[int, int]], folders: dict[Path, FolderState]
) -> list[RegistryEntry]:
    """Find the files of a kind below a folder, each named by its stem. Never raises.

    Dot-files and dot-folders are left out. A folder with a ``model_index.json`` is one checkpoint.
    An embedding may be an image; ``stem.preview.png`` is none, nor is one beside a file of weights
    with its stem.

    Args:
        kind: What to look for.
        root: The folder; it may be missing.
        seen: Device and inode of folders to leave out, since they were listed before. Those that
            this call lists are added, so that links cannot make a loop.
        folders: Receives the state of every folder listed, and of one that is missing.

    Returns:
        The files, sorted by path without regard to case.
    """
    found = [(with_suffix(entry), entry) for entry in _unsorted(kind, root, seen, folders)]
    return [entry for _, entry in sorted(found, key=lambda pair: (pair[0].casefold(), pair[0]))]


def _unsorted(
    kind: Kind, root: Path, seen: set[tuple[int, int]], folders: dict[Path, FolderState]
) -> Iterator[RegistryEntry]:
    # Linked folders wait until the others are done, so that a folder is known by its own path
    # rather than by a link's.
    pending = deque([(root, "")])
    index = find_kind(kind).index
    while pending:
        folder, prefix = pending.popleft()
        children = _children(folder, seen, folders)
        if index and any(child.name == index for child in children):
            relative = prefix.rstrip("/") or folder.name
            state = measure(folder)
            if state is not None:
                yield RegistryEntry(kind, folder.name, relative, folder, *state)
            continue
        previews = _previews(kind, [child.name for child in children])
        for child in children:
            stem, suffix = _split(child.name)
            try:
                if child.is_dir():
                    queue = pending.append if child.is_symlink() else pending.appendleft
                    queue((Path(child.path), f"{prefix}{child.name}/"))
                elif (
                    _is_model(kind, stem, suffix) and child.name not in previews and child.is_file()
                ):
                    status = child.stat()
                    yield RegistryEntry(
                        kind,
                        stem,
                        prefix + stem,
                        Path(child.path),
                        status.st_mtime_ns,
                        status.st_size,
                    )
            except OSError:
                # A link to itself, or a file that vanished since the listing.
                continue


def _children(
    folder: Path, seen: set[tuple[int, int]], folders: dict[Path, FolderState]
) -> list[os.DirEntry[str]]:
    """List a folder unless it was seen, without dot-files, and note its state before that."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        folders[folder] = FolderState(status.st_mtime_ns)
        recent = is_settling(status.st_mtime_ns)
        with os.scandir(folder) as listing:
            children = sorted(listing, key=lambda child: child.name)
    except OSError as error:
        folders.setdefault(folder, FolderState(_MISSING))
        if not isinstance(error, FileNotFoundError):
            _log.warning("%r cannot be searched: %s", str(folder), error.strerror)
        return []
    if recent:
        names = frozenset(child.name for child in children)
        folders[folder] = FolderState(status.st_mtime_ns, names)
    return [child for child in children if not child.name.startswith(".")]


def _is_model(kind: Kind, stem: str, suffix: str) -> bool:
    found = find_kind(kind)
    return suffix.lower() in found.suffixes and found.accepts(stem)


def is_image_name(name: str) -> bool:
    """Return whether a file's suffix is that of an image; among embeddings it may be one or a preview."""
    return _split(name)[1].lower() in _IMAGE_SUFFIXES


def _previews(kind: Kind, names: Sequence[str]) -> set[str]:
    """Return the images in a folder that only show what another file there does."""
    images = [name for name in names if is_image_name(name)]
    shown = {
        stem
        for stem, suffix in map(_split, set(names) - set(images))
        if _is_model(kind, stem, suffix)
    }
    return {
        name
        for name in images
        if _split(name)[0] in shown or _split(name)[0].lower().endswith(".preview")
    }


def measure(path: Path) -> tuple[int, int] | None:
    """Return modification time and size of a file or folder, or None where it cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return status.st_mtime_ns, status.st_size
        inner = [file.stat() for _, file in files_below(path)]
    except OSError:
        return None
    return max((s.st_mtime_ns for s in inner), default=0), sum(s.st_size for s in inner)


@dataclass(frozen=True)
class Header:
    """What the JSON at the beginning of a safetensors file says. All of it empty for other files.

    Attributes:
        size: Bytes before the tensors.
        metadata: Its ``__metadata__``, texts by name.
        shapes: Of the tensors, by name.
    """

    size: int
    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file; never raises.

    The file begins with the length of a JSON header, 8 bytes little-endian.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length) if length <= MOST_HEADER_BYTES else b""
        require_few_pieces(content, path.stat().st_size)
    except (OSError, ValueError):
        return _NO_HEADER
    document = json_object(content)
    if document is None:
        return _NO_HEADER
    inner = document.pop("__metadata__", None)
    entries = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
    shapes = {name: _shape(entry) for name, entry in document.items()}
    return Header(
        size=8 + length,
        metadata={name: value for name, value in entries.items() if isinstance(value, str)},
        shapes={name: shape for name, shape in shapes.items() if shape is not None},
    )


def _shape(entry: object) -> tuple[int, ...] | None:
    match entry:
        case {"shape": [*sizes]} if all(type(size) is int for size in sizes):
            return cast("tuple[int, ...]", tuple(sizes))
        case _:
            return None


_NO_HEADER: Final = Header(0, {}, {})


def _sidecar(path: str) -> bytes | None:
    """Read a file up to the largest size allowed; None where there is none."""
    try:
        # A pipe would keep its reader waiting.
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as file:
            return file.read(MOST_SIDE_BYTES)
    except OSError:
        return None


def beside(entry: RegistryEntry) -> str:
    """Return a path without its suffix, to which side-cars add theirs."""
    return str(entry.path).removesuffix(with_suffix(entry)[len(entry.relative) :])


def with_suffix(entry: RegistryEntry) -> str:
    """Return a file's path below the scanned folder, with ``/`` and the suffix."""
    above, slash, _ = entry.relative.rpartition("/")
    return above + slash + entry.path.name


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")
