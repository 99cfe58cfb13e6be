"""Files of presets for weights by block, where the extension lora-block-weight and its users keep them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from promptengine.files.size_limits import MOST_SIDE_BYTES, read_small
from promptengine.kinds import LORA, PresetTable, tag_kinds
from promptengine.kinds.blocks import BUILT_IN_PRESETS, read_presets

__all__ = ["FILE_NAME", "PresetFiles"]

FILE_NAME: Final = "lbwpresets.txt"

_State = tuple[tuple[Path, int, int], ...]


class PresetFiles:
    """The presets of some folders, read again when a file of them changes.

    Looked for in the folders of LoRAs and of other networks with tags, in those above, and in WebUI's
    ``scripts`` beside its models, which is where the extension writes its own. Of two presets with one name
    the nearer file's counts; the built-in ones come last.

    Args:
        folders: Folders by kind.
    """

    def __init__(self, folders: Mapping[str, Sequence[Path]]) -> None:
        kinds = [LORA.name, *(kind.name for kind in tag_kinds())]
        own = [folder for kind in kinds for folder in folders.get(kind, ())]
        above = [folder.parent for folder in own]
        scripts = [folder.parent / "scripts" for folder in above]
        places = dict.fromkeys((*own, *above, *scripts))
        self._paths = tuple(folder / FILE_NAME for folder in places)
        self._kept: tuple[_State, PresetTable] | None = None

    def read(self) -> PresetTable:
        """Return what can be named now."""
        state = tuple(_states(self._paths))
        kept = self._kept
        if kept is None or kept[0] != state:
            kept = self._kept = state, _read([path for path, *_ in state])
        return kept[1]


def _states(paths: Sequence[Path]) -> Iterator[tuple[Path, int, int]]:
    """Yield the files that are there; no pipe or device, which could be read without end."""
    for path in paths:
        try:
            found = path.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            yield path, found.st_mtime_ns, found.st_size


def _read(paths: Sequence[Path]) -> PresetTable:
    texts = dict(BUILT_IN_PRESETS)
    problems: list[str] = []
    for path in reversed(paths):
        try:
            content = read_small(path, MOST_SIDE_BYTES)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            problems.append(f"{'/'.join(path.parts[-2:])} cannot be read: {reason}")
        else:
            texts |= read_presets(content.decode("utf-8-sig", errors="replace"))
    return PresetTable(texts, tuple(reversed(problems)))
