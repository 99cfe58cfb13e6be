"""SHA-256 of model files, each file read once as long as it does not change.

Model files are gigabytes, so a digest is remembered under the file's path, modification time and
size, in memory and, where a cache file is given, on disk. The cache is never needed: one that is
missing, damaged or read-only only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple, cast

from promptengine.files.atomic import atomic_write

__all__ = ["Digests", "default_cache_file", "files_below", "is_settling", "sha256"]

_BLOCK_BYTES: Final = 1 << 20
_SETTLED_NS: Final = 3_000_000_000
_SAVE_INTERVAL_S: Final = 1.0
_LARGEST_CACHE_BYTES: Final = 64 << 20
_MOST_CACHED_FILES: Final = 100_000
_HEX_DIGITS: Final = 64


class _Stamp(NamedTuple):
    """The digest of one file, and the state of the file that it belongs to."""

    mtime_ns: int
    size: int
    digest: str


def sha256(path: Path, *, start: int = 0) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hexadecimal digits.

    Args:
        path: The file.
        start: Bytes at its beginning to leave out.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    # hashlib.file_digest does the same from Python 3.11 on, in blocks of a quarter of this size.
    block = memoryview(bytearray(_BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def is_settling(mtime_ns: int) -> bool:
    """Return whether a modification time is so recent that a further change might not alter it.

    File systems stamp in steps of up to two seconds (FAT), so within that time an equal stamp does
    not prove equal content.

    Args:
        mtime_ns: Nanoseconds since the epoch. A time well in the future counts as settled: then the
            clocks differ, and waiting would not help.
    """
    return abs(time.time_ns() - mtime_ns) < _SETTLED_NS


def files_below(folder: Path) -> list[tuple[str, Path]]:
    """List a folder's regular files, recursively, without dot-files.

    Returns:
        Pairs of the path below the folder (with ``/``) and the path itself, sorted by the former.
        Folders that cannot be read and links to folders are left out.
    """
    found: list[tuple[str, Path]] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(here, name) for name in names if not name.startswith(".")):
            if path.is_file():
                found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found)


def default_cache_file() -> Path | None:
    """Return where this user's digests are kept between runs, by the custom of the system.

    ``$XDG_CACHE_HOME`` (an absolute path, or it is ignored, as the XDG specification has it), else
    ``~/.cache``; ``~/Library/Caches`` on macOS; ``%LOCALAPPDATA%`` on Windows. The file need not
    exist.

    Returns:
        The path of ``promptengine/digests.json`` there, or None for a user without a home.
    """
    variable, below_home = {
        "win32": ("LOCALAPPDATA", "AppData/Local"),
        "darwin": ("", "Library/Caches"),
    }.get(str(sys.platform), ("XDG_CACHE_HOME", ".cache"))
    named = Path(os.environ.get(variable, ""))
    try:
        base = named if named.is_absolute() else Path.home() / below_home
    except RuntimeError:
        return None
    return base / "promptengine" / "digests.json"


class Digests:
    """Remembers the digests of files. Safe to share between threads and, on disk, processes.

    Of two processes that save at the same moment, one may lose what it added; that is computed
    again when it is next asked for.

    Args:
        file: Where to keep digests between runs, see :func:`default_cache_file`; None keeps them
            in memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known = {} if file is None else _load(file)
        self._unsaved: dict[str, _Stamp] = {}
        self._lock = threading.Lock()
        self._saved_at = -_SAVE_INTERVAL_S

    def of(self, path: Path, *, start: int = 0) -> str:
        """Return the SHA-256 of a file, or of a folder, as 64 hexadecimal digits.

        A folder's digest is that of the lines ``relative/path NUL digest`` of its files, sorted,
        so it depends on names and contents but not on the place.

        Args:
            path: The file or folder.
            start: Bytes at a file's beginning to leave out.

        Raises:
            OSError: The file cannot be read.
        """
        before = path.stat()
        if stat.S_ISDIR(before.st_mode):
            lines = [f"{name}\0{self.of(file)}\n" for name, file in files_below(path)]
            return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
        state = (before.st_mtime_ns, before.st_size)
        key = f"{path}\0{start}" if start else str(path)
        known = self._known.get(key)
        if known is not None and known[:2] == state:
            return known.digest
        trusted = not is_settling(before.st_mtime_ns)
        digest = sha256(path, start=start)
        after = path.stat()
        if trusted and (after.st_mtime_ns, after.st_size) == state:
            self._keep(key, _Stamp(*state, digest))
        return digest

    def known(self, path: Path) -> str | None:
        """Return the digest of a file's present content if it was computed before, else None."""
        stamp = self._known.get(str(path))
        if stamp is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        return stamp.digest if stamp[:2] == (status.st_mtime_ns, status.st_size) else None

    def save(self) -> None:
        """Write what is not yet on disk. Needed only at the end: :meth:`of` saves as it goes,
        but at most once a second, because each save writes the whole file.
        """
        with self._lock:
            if self._file is None or not self._unsaved:
                return
            self._saved_at = time.monotonic()
            # Another process may have saved since: keep its digests too.
            merged = {**_load(self._file), **self._unsaved}
            if _write(self._file, merged):
                self._unsaved = {}

    def _keep(self, key: str, stamp: _Stamp) -> None:
        with self._lock:
            self._known[key] = stamp
            self._unsaved[key] = stamp
            due = time.monotonic() - self._saved_at >= _SAVE_INTERVAL_S
        if due:
            self.save()


def _load(file: Path) -> dict[str, _Stamp]:
    """Read a cache file; whatever in it is not a digest is left out."""
    try:
        if file.stat().st_size > _LARGEST_CACHE_BYTES:
            return {}
        document: object = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    stamps = (
        (key, _stamp(value)) for key, value in _fields(_fields(document).get("files")).items()
    )
    return {key: stamp for key, stamp in stamps if stamp is not None}


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _stamp(value: object) -> _Stamp | None:
    match value:
        case [int(mtime_ns), int(size), str(digest)] if len(digest) == _HEX_DIGITS:
            return (
                _Stamp(mtime_ns, size, digest) if set(digest) <= set("0123456789abcdef") else None
            )
        case _:
            return None


def _write(file: Path, stamps: dict[str, _Stamp]) -> bool:
    """Replace a cache file in one step, so that no reader ever sees half of it."""
    recent = dict(list(stamps.items())[-_MOST_CACHED_FILES:])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as scratch:
            scratch.write_text(json.dumps({"version": 1, "files": recent}), encoding="ascii")
    except OSError:
        return False
    return True
