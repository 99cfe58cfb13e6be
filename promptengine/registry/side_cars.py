"""What its user wrote about a model file: WebUI's side-car ``NAME.json``, read for lists and written from forms.

A list of thousands of files asks each folder once for its names and each small file once for its state;
what was read before is read again only where that changed.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptengine.files.atomic import atomic_write
from promptengine.files.hashing import is_settling
from promptengine.files.size_limits import MOST_SIDE_BYTES, json_object, read_small
from promptengine.registry.scan import (
    DESCRIPTIONS,
    PREVIEWS,
    USER_METADATA,
    Kind,
    RegistryEntry,
    beside,
    is_image_name,
)

__all__ = [
    "LARGEST_WEIGHT",
    "MOST_TEXT",
    "Card",
    "Cards",
    "SideCarError",
    "UserMetadata",
    "lies_in",
    "preview_place",
    "read_user_metadata",
    "write_user_metadata",
]

MOST_TEXT: Final = 10_000
"""Characters of one text of a side-car."""

LARGEST_WEIGHT: Final = 100.0
"""Of a preferred weight, either way."""

_TEXTS: Final = {
    "description": "description",
    "sd_version": "sd version",
    "activation_text": "activation text",
    "negative_text": "negative text",
    "notes": "notes",
}
"""WebUI's keys by our names."""

_WEIGHT: Final = "preferred weight"
_KEYS: Final = {**_TEXTS, "preferred_weight": _WEIGHT}
_NAMED: Final = (*DESCRIPTIONS, USER_METADATA)

_State = tuple[tuple[int, int, int, int] | None, ...]


class SideCarError(Exception):
    """A file beside a model cannot be written; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class UserMetadata:
    """What a side-car says.

    Attributes:
        description: What the file does; None where only other files can tell.
        sd_version: What it was made for, in WebUI's words.
        activation_text: Goes into the prompt with the network.
        preferred_weight: Its multiplier; 0 for the usual one.
        negative_text: Goes into the negative prompt.
        notes: Of the user.
        problems: What of the side-car is ignored, and why.
    """

    description: str | None = None
    sd_version: str = ""
    activation_text: str = ""
    preferred_weight: float = 0.0
    negative_text: str = ""
    notes: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """What a list shows of a file.

    Attributes:
        entry: The file.
        created: When it came to be, as far as the system knows, in seconds since the epoch.
        modified: When it was last written, likewise.
        preview: When its preview was last written, likewise; None where it has none.
        description: What its side-cars say that it does.
        user: The rest of what its user wrote.
    """

    entry: RegistryEntry
    created: float
    modified: float
    preview: float | None
    description: str
    user: UserMetadata


class Cards:
    """Remembers what side-cars say. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[Kind, Mapping[Path, tuple[_State, str, UserMetadata]]] = {}
        self._lock = threading.Lock()

    def of(self, kind: Kind, entries: Sequence[RegistryEntry]) -> list[Card]:
        """Return the cards of all files of a kind, in their order.

        Args:
            kind: Of all of them.
            entries: The files as they are now.
        """
        folders: dict[Path, frozenset[str]] = {}
        before, after = self._kept.get(kind, {}), {}
        cards: list[Card] = []
        for entry in entries:
            parent = entry.path.parent
            names = folders.get(parent)
            if names is None:
                names = folders[parent] = _names_in(parent)
            card, told, trusted = _card(entry, names, before.get(entry.path))
            if trusted:
                after[entry.path] = told
            cards.append(card)
        self._kept[kind] = after
        return cards

    def one(self, entry: RegistryEntry) -> Card:
        """Return the card of a file as it is now."""
        return _card(entry, _names_in(entry.path.parent), None)[0]

    def write(
        self, entry: RegistryEntry, fields: Mapping[str, str | float], folders: Iterable[Path]
    ) -> None:
        """Write fields into a file's side-car, one writer at a time; see :func:`write_user_metadata`."""
        with self._lock:
            write_user_metadata(entry, fields, folders)


def _names_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as listing:
            return frozenset(child.name for child in listing)
    except OSError:
        return frozenset()


def _card(
    entry: RegistryEntry,
    names: frozenset[str],
    before: tuple[_State, str, UserMetadata] | None,
) -> tuple[Card, tuple[_State, str, UserMetadata], bool]:
    """Return a file's card, what to remember of it, and whether that can be relied upon."""
    stem = beside(entry)
    name = stem[len(str(entry.path.parent)) + 1 :]
    image = next((end for end in PREVIEWS if name + end in names), None)
    state = tuple(_state(stem + end) if name + end in names else None for end in _NAMED)
    current = before is not None and before[0] == state
    told = before if before is not None and current else (state, *_read(stem, state))
    created, modified = _times(entry)
    shown = None if image is None else _state(stem + image)
    card = Card(
        entry=entry,
        created=created,
        modified=modified,
        preview=None if shown is None else shown[0] / 1e9,
        description=told[1],
        user=told[2],
    )
    trusted = current or not any(one and is_settling(one[0]) for one in state)
    return card, told, trusted


def _state(path: str) -> tuple[int, int, int, int] | None:
    """Return what changes with a file's content; None for what is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - lists ask for thousands
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _times(entry: RegistryEntry) -> tuple[float, float]:
    modified = entry.mtime_ns / 1e9
    try:
        found = os.stat(entry.path)  # noqa: PTH116 - likewise
    except OSError:
        return modified, modified
    # Linux tells no time of birth; WebUI takes the last change of the file's state for it as well.
    return getattr(found, "st_birthtime", found.st_ctime), modified


def _read(stem: str, state: _State) -> tuple[str, UserMetadata]:
    """Read the side-cars of a file that are there."""
    *plain, user = (stem + end if found else None for end, found in zip(_NAMED, state, strict=True))
    told = UserMetadata() if user is None else read_user_metadata(Path(user))
    if told.description is not None:
        return told.description, told
    for path in plain:
        if path is not None:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 - as fast as lists need it
                    return file.read(MOST_SIDE_BYTES).decode("utf-8-sig", "replace"), told
            except OSError:
                continue
    return "", told


def read_user_metadata(path: Path) -> UserMetadata:
    """Read a side-car; what cannot be used of it is ignored, which ``problems`` tells. Never raises.

    Args:
        path: Of ``NAME.json``.
    """
    try:
        document = json_object(read_small(path))
    except FileNotFoundError:
        return UserMetadata()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return UserMetadata(problems=(f"{path.name} is ignored: {reason}",))
    if document is None:
        return UserMetadata(problems=(f"{path.name} is ignored: it holds no JSON object",))
    problems: list[str] = []
    texts = {own: _text(document, key, problems) for own, key in _TEXTS.items()}
    description = texts.pop("description")
    return UserMetadata(
        description=description if isinstance(document.get("description"), str) else None,
        **texts,
        preferred_weight=_weight(document, problems),
        problems=tuple(f"{path.name}: {problem}" for problem in problems),
    )


def _text(document: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if isinstance(value, str) and len(value) <= MOST_TEXT:
        return value
    told = f"{len(value)} characters" if isinstance(value, str) else "no text"
    problems.append(f"{key!r} is ignored: it is {told}; it must be a text of up to {MOST_TEXT}")
    return ""


def _weight(document: Mapping[str, Any], problems: list[str]) -> float:
    value = document.get(_WEIGHT)
    if value is None:
        return 0.0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Comparing does not overflow where a whole number is too large for a float; NaN fails it.
    if is_number and -LARGEST_WEIGHT <= value <= LARGEST_WEIGHT:
        return float(value)
    problems.append(
        f"{_WEIGHT!r} is ignored: it must be a number from {-LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
    )
    return 0.0


def write_user_metadata(
    entry: RegistryEntry, fields: Mapping[str, str | float], folders: Iterable[Path]
) -> None:
    """Write some fields into a file's side-car as WebUI does, and keep all that else is in it.

    Args:
        entry: The file.
        fields: Values by the names of :class:`UserMetadata`.
        folders: Those of its kind, which nothing is written out of.

    Raises:
        SideCarError: There is one that cannot be read, or the place cannot be written.
    """
    place = _place(entry, USER_METADATA, folders)
    document = _present(place)
    document |= {_KEYS[own]: value for own, value in fields.items()}
    try:
        text = json.dumps(document, indent=4, ensure_ascii=False)
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(document, indent=4).encode()
    except RecursionError:
        raise SideCarError(f"{place.name} is nested too deep to be kept; mend it") from None
    if len(data) > MOST_SIDE_BYTES:
        message = f"{place.name} would have more than the {MOST_SIDE_BYTES} bytes that are read"
        raise SideCarError(message)
    try:
        with atomic_write(place) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        message = f"{place.name} cannot be written: {error.strerror or error}"
        raise SideCarError(message) from None


def _present(place: Path) -> dict[str, Any]:
    """Return the object of a side-car; an empty one where there is none.

    Raises:
        SideCarError: It holds something else, which must not be lost.
    """
    try:
        document = json_object(read_small(place))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SideCarError(f"{place.name} cannot be read: {reason}; mend it first") from None
    if document is None:
        raise SideCarError(f"{place.name} holds no JSON object; mend it or move it away first")
    return document


def preview_place(entry: RegistryEntry, folders: Iterable[Path]) -> Path:
    """Return where a new preview of a file is to be written: ``NAME.png``, which goes before all others.

    Args:
        entry: The file.
        folders: Those of its kind, which nothing is written out of.

    Raises:
        SideCarError: Nothing can be written there.
    """
    if is_image_name(entry.path.name):
        raise SideCarError(f"{entry.path.name} is an image itself, which shows what it does")
    return _place(entry, PREVIEWS[0], folders)


def lies_in(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a path lies in one of some folders once all links are followed.

    Raises:
        OSError: It is not there.
        RuntimeError: Links lead around in a circle.
    """
    target = path.resolve(strict=True)
    return any(target.is_relative_to(folder.resolve()) for folder in folders)


def _place(entry: RegistryEntry, end: str, folders: Iterable[Path]) -> Path:
    """Return the path of a side-car once it is sure that writing there touches nothing else."""
    place = Path(beside(entry) + end)
    try:
        inside = lies_in(place.parent, folders)
        taken = place.is_symlink() or (place.exists() and not place.is_file())
    except (OSError, RuntimeError) as error:
        message = f"{place.name} cannot be written: {getattr(error, 'strerror', None) or error}"
        raise SideCarError(message) from None
    if not inside:
        message = f"{place.name} cannot be written: a link leads out of the models folder"
        raise SideCarError(f"{message}; write it where the link leads")
    if taken:
        raise SideCarError(f"{place.name} is a link or no file; move it away first")
    return place
