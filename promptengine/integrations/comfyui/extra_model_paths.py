"""ComfyUI's ``extra_model_paths.yaml``: folders of models that other programs keep. No torch.

The file is read as text in places, never as objects: no value of it becomes anything but a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptengine.errors import RequestError
from promptengine.files.size_limits import read_small
from promptengine.kinds import model_kinds
from promptengine.registry.registry import Kind
from promptengine.validation import check_type

__all__ = ["ExtraModelPaths", "read_extra_model_paths"]

_MOST_BYTES: Final = 64 << 10
_DEEPEST: Final = 3
"""Sections, their entries, and lists in these."""

_MOST_FOLDERS: Final = 1000
_MOST_PIECES: Final = 5000
"""Names, values and brackets: some thousands take a second to be read."""

_SHOWN: Final = 60
_BASE: Final = "base_path"
_DEFAULT: Final = "is_default"
_TRUTH: Final = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off", "", "~", "null"), False),
}


@dataclass(frozen=True, slots=True)
class ExtraModelPaths:
    """What such a file names.

    Attributes:
        path: The file.
        first: Folders of sections with ``is_default``, which go before all others.
        last: Those of the other sections, which go behind all others.
        left_out: Entries for which there is no kind of files here, such as ``controlnet``, sorted.
    """

    path: Path
    first: Mapping[Kind, tuple[Path, ...]]
    last: Mapping[Kind, tuple[Path, ...]]
    left_out: tuple[str, ...]

    def added_to(self, folders: Mapping[Kind, list[Path]]) -> dict[Kind, list[Path]]:
        """Return folders of each kind with those of the file around them.

        Args:
            folders: As :func:`promptengine.registry.registry.folders_below` has them.
        """
        kinds = {**folders, **self.first, **self.last}
        return {
            kind: [*self.first.get(kind, ()), *folders.get(kind, ()), *self.last.get(kind, ())]
            for kind in kinds
        }


def read_extra_model_paths(path: str | Path) -> ExtraModelPaths:
    """Read ComfyUI's file of further folders; they need not exist.

    A relative ``base_path``, and folders of a section without one, are looked for beside the file, as in
    ComfyUI; ``~`` and variables of the environment count in a ``base_path`` alone.

    Args:
        path: Such as of ``extra_model_paths.yaml``.

    Raises:
        RequestError: It cannot be read, is too large, or is no such file; the message says where.
    """
    check_type("path", path, str, Path)
    path = Path(path)
    kinds = {name: kind.name for kind in model_kinds().values() for name in kind.comfyui_folders}
    first: dict[Kind, tuple[Path, ...]] = {}
    last: dict[Kind, tuple[Path, ...]] = {}
    left_out: set[str] = set()
    count = 0
    for is_default, name, folders in _entries(path):
        count += len(folders)
        if count > _MOST_FOLDERS:
            message = f"{path} names more than {_MOST_FOLDERS} folders, which no such file does"
            raise RequestError(message, field="extra_model_paths_config")
        if name not in kinds:
            left_out.add(name)
        elif is_default:
            first[kinds[name]] = folders + first.get(kinds[name], ())
        else:
            last[kinds[name]] = last.get(kinds[name], ()) + folders
    return ExtraModelPaths(path, first, last, tuple(sorted(left_out)))


def _entries(path: Path) -> Iterator[tuple[bool, str, tuple[Path, ...]]]:
    """Yield whether an entry's section is the default one, the entry's name, and its folders."""
    root = _root(path, _text(path))
    for _, section in () if _is_empty(root) else _pairs(path, root):
        if _is_empty(section):
            continue
        entries = dict(_pairs(path, section))
        base, default = entries.pop(_BASE, None), entries.pop(_DEFAULT, None)
        home = path.absolute().parent
        if base is not None:
            expanded = os.path.expandvars(_scalar(path, base).strip())
            home /= _folder(path, base, os.path.expanduser(expanded))  # noqa: PTH111 - also of no user
        is_default = default is not None and _flag(path, default)
        for name, value in entries.items():
            yield is_default, name, tuple(home / one for one in _folders(path, value))


def _text(path: Path) -> str:
    try:
        # A pipe would keep the reader waiting.
        if not path.is_file():
            problem = "is no file" if path.exists() else "is not there"
            raise RequestError(f"{path} {problem}", field="extra_model_paths_config")
        return read_small(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is no text in UTF-8 (byte {error.start})"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise RequestError(f"{path} {problem}", field="extra_model_paths_config")


def _root(path: Path, text: str) -> Any:
    """Return the node of the whole document; None where there is nothing in it.

    Raises:
        RequestError: It is no YAML, nests too deep, or has aliases, of which some lines can stand for more than fits
            into memory.
    """
    import yaml

    try:
        level = 0
        # The events come one by one, so that depth and aliases are known before anything recurses.
        for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if number > _MOST_PIECES:
                raise _fault(
                    path, event, f"more than {_MOST_PIECES} pieces, which no such file has"
                )
            if isinstance(event, yaml.AliasEvent):
                raise _fault(path, event, "an alias (*name) stands there; write the folders out")
            level += isinstance(event, yaml.CollectionStartEvent)
            level -= isinstance(event, yaml.CollectionEndEvent)
            if level > _DEEPEST:
                raise _fault(path, event, f"it nests deeper than {_DEEPEST} levels")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        problem = f"{path}{place}: no YAML ({str(error.problem)[:200]}); mend it"
    except yaml.YAMLError as error:
        problem = f"{path}: no YAML ({str(error).splitlines()[0][:200]}); mend it"
    raise RequestError(problem, field="extra_model_paths_config")


def _is_empty(node: Any) -> bool:
    return node is None or (node.id == "scalar" and node.value in ("", "~", "null"))


def _pairs(path: Path, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping."""
    if node.id != "mapping":
        raise _fault(path, node, "entries must stand there, such as `loras: models/Lora`")
    for key, value in node.value:
        yield _scalar(path, key), value


def _scalar(path: Path, node: Any) -> str:
    if node.id != "scalar":
        raise _fault(path, node, "text must stand there, such as models/Lora")
    return node.value


def _flag(path: Path, node: Any) -> bool:
    text = _scalar(path, node).strip().lower()
    if text not in _TRUTH:
        raise _fault(path, node, f"{_DEFAULT} is {text[:_SHOWN]!r}; it must be true or false")
    return _TRUTH[text]


def _folders(path: Path, node: Any) -> list[str]:
    """Return the folders of an entry: one a line, or a list of them."""
    nodes = node.value if node.id == "sequence" else [node]
    lines = [(one, line.strip()) for one in nodes for line in _scalar(path, one).split("\n")]
    return [_folder(path, one, line) for one, line in lines if line]


def _folder(path: Path, node: Any, text: str) -> str:
    """Return a path as it is written, if a system can have such a one."""
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise _fault(path, node, f"{text[:_SHOWN]!r} is no path of a folder")
    return text


def _fault(path: Path, place: Any, problem: str) -> RequestError:
    mark = place.start_mark
    message = f"{path}, line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return RequestError(message, field="extra_model_paths_config")
