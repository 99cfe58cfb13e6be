"""The files that wildcards are drawn from: text, YAML and JSON below folders named ``wildcards``.

A name is only ever looked up among the files that a scan found; it is never joined to a path, so none
leads out of the folders. Files are read when a name asks for them, and what they are is checked first.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, cast

from promptengine.errors import RequestError

__all__ = ["WildcardValue", "Wildcards"]

_TEXT: Final = ".txt"
_STRUCTURED: Final = (".yaml", ".yml", ".json")
_MOST_FILES: Final = 20_000
_MOST_FOLDERS: Final = 5_000
_DEEPEST: Final = 30
"""Levels of folders, and of maps within a file."""

_MOST_BYTES: Final = {_TEXT: 32 << 20, ".yaml": 1 << 20, ".yml": 1 << 20, ".json": 16 << 20}
_MOST_REPEATS: Final = 1_000
_LINE_END: Final = re.compile(r"\r\n?|\n")
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class WildcardValue:
    """One value of a wildcard.

    Attributes:
        text: A template of its own.
        weight: How likely it is beside the others.
    """

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the values of a name stand.

    Attributes:
        path: The file.
        values: What was read of it already, which a file of several names is at once; None where it
            is not read yet.
    """

    path: Path
    values: tuple[WildcardValue, ...] | None = None


@dataclass(frozen=True, slots=True)
class Wildcards:
    """Names and their values, as the folders held them when they were scanned.

    A text file's name is its path below the folder without suffix. YAML and JSON give a name for each
    list within: the path of the file's folder, then that of the keys; a file that is one list has the
    file's own name. Of two files that give one name the first folder's counts.

    Attributes:
        folders: Where it was looked.
        problems: Files that cannot be used, and why.
    """

    folders: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    _sources: Mapping[str, _Source] = field(default_factory=dict[str, _Source], repr=False)
    _known: dict[str, tuple[WildcardValue, ...]] = field(
        default_factory=dict[str, tuple[WildcardValue, ...]], repr=False, compare=False
    )

    @classmethod
    def open(cls, folders: Sequence[Path]) -> Wildcards:
        """Scan folders, which need not exist.

        Args:
            folders: Those that win where two have one name come first.
        """
        sources: dict[str, _Source] = {}
        problems: list[str] = []
        for folder in folders:
            for path, name in _files(folder, problems):
                for found, source in _named(path, name, problems):
                    sources.setdefault(found, source)
        return cls(tuple(folders), tuple(problems), sources)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._sources))

    def values(self, name: str) -> tuple[WildcardValue, ...]:
        """Return the values of a name or pattern, each once, sorted by their texts.

        Args:
            name: A path such as ``colors/warm``, in which ``*`` and ``?`` stand for any characters,
                slashes among them. One that fits nothing is looked for in all folders below.

        Raises:
            RequestError: There are none of this name, or a file cannot be used.
        """
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> tuple[WildcardValue, ...]:
        wanted = "/".join(part for part in name.strip().replace("\\", "/").split("/") if part)
        if not wanted:
            raise RequestError(
                "a wildcard has no name; write one, as in __animal__", field="prompt"
            )
        found = self._matching(wanted) or self._matching(f"**/{wanted}")
        values = [value for source in found for value in _values(source)]
        if not values:
            raise RequestError(self._missing(wanted, bool(found)), field="prompt")
        return tuple(sorted(dict.fromkeys(values), key=lambda value: value.text))

    def _matching(self, pattern: str) -> list[_Source]:
        if not set("*?[") & set(pattern):
            return [self._sources[pattern]] if pattern in self._sources else []
        return [one for name, one in self._sources.items() if fnmatchcase(name, pattern)]

    def _missing(self, name: str, is_empty: bool) -> str:
        shown = repr(name[:_SHOWN])
        if is_empty:
            return f"wildcard {shown} has no values; write one on a line of its file"
        own = [
            one for one in self.problems if Path(one.split(".")[0]).name == name.rpartition("/")[2]
        ]
        near = difflib.get_close_matches(name[:_SHOWN], self._sources, n=3)
        if own:
            remedy = own[0]
        elif near:
            remedy = f"did you mean {' or '.join(map(repr, near))}?"
        elif self.problems:
            remedy = f"a file cannot be used: {self.problems[0]}"
        elif self._sources:
            remedy = f"there are {', '.join(self.names[:5])}"
        else:
            places = " or ".join("/".join(one.parts[-2:]) for one in self.folders)
            remedy = f"write its values into {places or 'wildcards'}/{name[:_SHOWN]}.txt"
        return f"unknown wildcard {shown}; {remedy}"


def _files(folder: Path, problems: list[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder with their names; links that lead out of it are left out and told."""
    try:
        root = folder.resolve()
    except (OSError, RuntimeError):
        return
    files = folders = 0
    for place, inside, names in os.walk(folder):
        below = Path(place).relative_to(folder)
        inside[:] = sorted(one for one in inside if not one.startswith("."))
        links = [one for one in inside if (Path(place) / one).is_symlink()]
        problems += [f"{below / one} is a link to a folder; such are not followed" for one in links]
        folders += 1
        if len(below.parts) >= _DEEPEST or folders > _MOST_FOLDERS:
            inside.clear()
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith(".") or path.suffix.lower() not in _MOST_BYTES:
                continue
            files += 1
            if files > _MOST_FILES:
                problems.append(f"{folder.name} holds more than {_MOST_FILES:,} files")
                return
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                problems.append(f"{below / name} is a link that leads out of {folder.name}")
                continue
            yield path, (below / path.stem).as_posix()


def _named(path: Path, name: str, problems: list[str]) -> Iterator[tuple[str, _Source]]:
    """Yield the names that a file gives."""
    if path.suffix.lower() == _TEXT:
        yield name, _Source(path)
        return
    try:
        document = _document(path)
    except ValueError as problem:
        problems.append(f"{path.name}: {problem}")
        return
    if isinstance(document, list):
        yield name, _Source(path, _listed(cast("list[object]", document)))
    elif isinstance(document, dict):
        prefix = name.rpartition("/")[0]
        lists = _lists(cast("dict[object, object]", document), prefix)
        yield from ((found, _Source(path, values)) for found, values in lists)


def _lists(
    document: Mapping[object, object], prefix: str
) -> Iterator[tuple[str, tuple[WildcardValue, ...]]]:
    """Yield the lists within maps, by the path of their keys; what is neither is left out."""
    waiting = [(prefix, document)]
    while waiting:
        place, level = waiting.pop()
        for key, value in level.items():
            if not isinstance(key, str) or not value:
                continue
            name = f"{place}/{key}" if place else key
            if isinstance(value, dict):
                waiting.append((name, cast("dict[object, object]", value)))
            elif isinstance(value, (list, str)):
                items = [value] if isinstance(value, str) else cast("list[object]", value)
                yield name, _listed(items)


def _listed(items: Sequence[object]) -> tuple[WildcardValue, ...]:
    """Return the values of a list: texts, ``2::text``, and maps of ``text`` and ``weight``."""
    found: list[WildcardValue] = []
    for item in items:
        if isinstance(item, str) and item:
            weight, colons, text = item.rpartition("::")
            number = _number(weight) if colons and item[0].isdigit() else None
            found.append(WildcardValue(item) if number is None else WildcardValue(text, number))
        elif isinstance(item, dict):
            entry = cast("dict[object, object]", item)
            text, number = (
                entry.get("text") or entry.get("content"),
                _number(entry.get("weight", 1)),
            )
            if isinstance(text, str) and number is not None:
                found.append(WildcardValue(text, number))
    return tuple(found)


def _number(value: object) -> float | None:
    try:
        number = float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        return None
    return min(number, float(_MOST_REPEATS)) if number >= 0 else None


def _values(source: _Source) -> tuple[WildcardValue, ...]:
    if source.values is not None:
        return source.values
    try:
        lines = [line.strip() for line in _LINE_END.split(_text(source.path))]
    except ValueError as problem:
        message = f"wildcard file {source.path.name} cannot be used: {problem}"
        raise RequestError(message, field="prompt") from None
    return tuple(WildcardValue(line) for line in lines if line and not line.startswith("#"))


def _text(path: Path) -> str:
    """Read a file.

    Raises:
        ValueError: It cannot be read, is too large, or no UTF-8.
    """
    most = _MOST_BYTES[path.suffix.lower()]
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _document(path: Path) -> object:
    """Read a YAML or JSON file.

    Raises:
        ValueError: It cannot be read, or is no such document.
    """
    text = _text(path)
    try:
        return _json(text) if path.suffix.lower() == ".json" else _yaml(text)
    except RecursionError:
        raise ValueError(f"it nests deeper than {_DEEPEST} levels") from None


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None


def _yaml(text: str) -> object:
    """Read YAML without aliases, of which some lines can stand for more values than fit into memory."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        level = 0
        # The events come one by one, so that depth and aliases are known before anything recurses.
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it holds an alias (*name); write the values out")
            level += isinstance(event, yaml.CollectionStartEvent)
            level -= isinstance(event, yaml.CollectionEndEvent)
            if level > _DEEPEST:
                raise ValueError(f"it nests deeper than {_DEEPEST} levels")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML ({str(error).splitlines()[0][:200]})") from None
