"""The folder of finished images: numbers for new ones, names that clients may ask for, and a bin."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

from promptengine.files.atomic import remove_parts, write_new
from promptengine.images.file_names import file_name

__all__ = ["BIN", "SUFFIXES", "OutputFolder", "TakenError", "image_type"]

BIN: Final = ".bin"
"""Where deleted images go, below the folder."""

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
"""Of files that count as images."""

_MOST_COUNTERS: Final = 256
_MOST_ID: Final = 1024
_TYPES: Final = (
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"GIF87a", b"", "image/gif"),
    (b"GIF89a", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
)
"""How files of images begin, what stands at their ninth byte, and what they are."""


class TakenError(Exception):
    """A file cannot be moved to a place where another one lies."""


def image_type(path: Path) -> str | None:
    """Return the media type that a file's first bytes say; None for no image.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(12)
    types = (
        kind
        for begin, ninth, kind in _TYPES
        if start.startswith(begin) and start[8:].startswith(ninth)
    )
    return next(types, None)


class OutputFolder:
    """Saves, finds, deletes and restores images of one folder. Threads may share it.

    Images are known by their path below the folder, with ``/`` between names.

    Args:
        root: The folder; it is made when the first image is saved.

    Attributes:
        root: The same, absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock = threading.Lock()
        self._next: OrderedDict[tuple[str, str], int] = OrderedDict()

    def save(
        self, data: bytes, folders: Sequence[str], told: str, suffix: str, *, prefix: str = ""
    ) -> str:
        """Write an image under the next number of its folder; return what it is known by.

        Args:
            data: The whole file.
            folders: One in the other, below the folder, of safe names.
            told: What the name has behind the number.
            suffix: With its dot.
            prefix: What the name begins with; each has numbers of its own.

        Raises:
            OSError: The disk is full, the folder cannot be written, or a link leads out of it.
        """
        place = self.root.joinpath(*folders)
        place.mkdir(parents=True, exist_ok=True)
        if not place.resolve().is_relative_to(self.root.resolve()):
            raise OSError("a link leads out of the output folder")
        while True:
            number = self._number(folders, prefix)
            name = file_name(f"{prefix}{number:05}", told, suffix)
            if write_new(place / name, data):
                return "/".join((*folders, name))

    def _number(self, folders: Sequence[str], prefix: str) -> int:
        """Return the next number of a folder, which is looked through the first time only."""
        key = ("/".join(folders), prefix)
        with self._lock:
            number = self._next.pop(key, None)
            if number is None:
                place = self.root.joinpath(*folders)
                remove_parts(place)
                # What is restored from the bin finds its place free.
                both = (place, self.root.joinpath(BIN, *folders))
                number = max(_last_number(one, prefix) for one in both) + 1
            self._next[key] = number + 1
            while len(self._next) > _MOST_COUNTERS:
                self._next.popitem(last=False)
            return number

    def find(self, id_: str) -> Path | None:
        """Return the file of an image; None where there is none, or it is not for clients.

        Hidden names, and whatever lies out of the folder once links are followed, are not.

        Args:
            id_: As clients send it: anything.
        """
        return self._found(self.root, id_)

    def _found(self, base: Path, id_: str) -> Path | None:
        parts = id_.split("/")
        if len(id_) > _MOST_ID or not all(map(_is_plain, parts)):
            return None
        place = base.joinpath(*parts)
        try:
            target, root = place.resolve(strict=True), base.resolve()
            if not target.is_relative_to(root) or not target.is_file():
                return None
        except (OSError, ValueError, RuntimeError):
            return None
        shown = all(map(_is_plain, target.relative_to(root).parts))
        return (
            place if shown and {place.suffix.lower(), target.suffix.lower()} <= SUFFIXES else None
        )

    def delete(self, id_: str) -> bool:
        """Move an image to the bin; return whether there was one.

        Raises:
            TakenError: The bin holds another one of the name.
            OSError: It cannot be moved.
        """
        return self._move(id_, self.root, self.root / BIN)

    def restore(self, id_: str) -> bool:
        """Move an image out of the bin to where it was; return whether there was one.

        Raises:
            TakenError: Another one lies there by now.
            OSError: It cannot be moved.
        """
        return self._move(id_, self.root / BIN, self.root)

    def _move(self, id_: str, source: Path, target: Path) -> bool:
        with self._lock:
            place = self._found(source, id_)
            if place is None or not source.resolve().is_relative_to(self.root.resolve()):
                return False
            there = target / place.relative_to(source)
            there.parent.mkdir(parents=True, exist_ok=True)
            if not there.parent.resolve().is_relative_to(self.root.resolve()):
                raise OSError("a link leads out of the output folder")
            if there.exists() or there.is_symlink():
                raise TakenError
            place.rename(there)
            return True


def _is_plain(name: str) -> bool:
    """Return whether a text is the name of a file that is not hidden."""
    if not name or PurePath(name).name != name or name.startswith("."):
        return False
    return all(unicodedata.category(one) not in ("Cc", "Cs") for one in name)


def _last_number(folder: Path, prefix: str) -> int:
    """Return the highest number that files of a folder begin with; -1 where there is none."""
    numbered = re.compile(re.escape(prefix) + r"(\d{5,18})(?=[-.])")
    try:
        found = (numbered.match(path.name) for path in folder.iterdir())
        return max((int(match[1]) for match in found if match), default=-1)
    except OSError:
        return -1
