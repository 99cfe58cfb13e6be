"""Folders and memory that a WebUI is started with: arguments in its ``webui-user`` script, which is read and never run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptengine.accel.offload_names import AUTO, OffloadName
from promptengine.errors import RequestError
from promptengine.files.size_limits import read_small
from promptengine.kinds import CHECKPOINT, EMBEDDING, HYPERNETWORK, LORA, VAE
from promptengine.registry.registry import Kind

__all__ = ["LaunchArguments", "read_launch_arguments"]

_SHELL: Final = "webui-user.sh"
_BATCH: Final = "webui-user.bat"
_LINE: Final = re.compile(
    r'^[ \t]*(?:export[ \t]+|@?set[ \t]+)?"?COMMANDLINE_ARGS=([^\r\n]*)',
    re.MULTILINE | re.IGNORECASE,
)
_MOST_BYTES: Final = 64 << 10
_COMPUTED: Final = frozenset("$`%\0")
"""What stands in values that a shell would have to work out."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """What an argument names.

    Attributes:
        kind: Of the files there.
        instead: The folder below the root that is then not looked into; empty where both count.
    """

    kind: Kind
    instead: str = ""


_FOLDERS: Final[Mapping[str, _Folder]] = {
    "--ckpt-dir": _Folder(CHECKPOINT.name),
    "--vae-dir": _Folder(VAE.name),
    "--lora-dir": _Folder(LORA.name, "models/Lora"),
    "--hypernetwork-dir": _Folder(HYPERNETWORK.name, "models/hypernetworks"),
    "--embeddings-dir": _Folder(EMBEDDING.name, "embeddings"),
}
_UNFOLLOWED: Final = frozenset(
    {
        *("--data-dir", "--models-dir", "--ckpt", "--vae-path", "--styles-file"),
        *("--ui-config-file", "--ui-settings-file", "--freeze-settings"),
    }
)
"""Arguments that move other things."""

_OFFLOADS: Final[Mapping[str, OffloadName]] = {"--lowvram": "layers", "--medvram": "model"}
"""Arguments that say what leaves the device; as there, the first goes before the second."""


@dataclass(frozen=True, slots=True)
class LaunchArguments:
    """What a WebUI is started with, as far as it names folders of models or what leaves its device.

    Attributes:
        path: The script.
        folders: What arguments name, by these.
        left_out: Arguments that say where something is and are not followed, sorted.
        offload: What leaves the device, in the words of :meth:`promptengine.Engine.open`; ``auto`` where nothing is
            said of it.
    """

    path: Path
    folders: Mapping[str, Path]
    left_out: tuple[str, ...]
    offload: OffloadName = AUTO

    def applied_to(self, folders: Mapping[Kind, list[Path]]) -> dict[Kind, list[Path]]:
        """Return folders of each kind with those that the arguments name, in the order in which WebUI looks.

        Args:
            folders: The usual ones.
        """
        found = {kind: list(some) for kind, some in folders.items()}
        root = self.path.parent
        for argument, path in self.folders.items():
            asked = _FOLDERS[argument]
            if not asked.instead:
                found[asked.kind].append(path)
                continue
            usual = _plain(root / asked.instead)
            kept = [one for one in found[asked.kind] if _plain(one) != usual]
            found[asked.kind] = [path, *kept]
        return found


def read_launch_arguments(root: Path) -> LaunchArguments:
    """Read what a WebUI is started with.

    Args:
        root: Its folder; the script in it need not exist.

    Raises:
        RequestError: The script cannot be read, or is too large to be one.
    """
    path = root / (_BATCH if os.name == "nt" else _SHELL)
    words = _words(path)
    folders: dict[str, Path] = {}
    left_out: set[str] = set()
    for name, value in _pairs(words):
        if name in _FOLDERS and value and not _COMPUTED & set(value):
            folders[name] = root / value
        elif name in _FOLDERS or name in _UNFOLLOWED:
            left_out.add(name)
    asked: list[OffloadName] = [name for flag, name in _OFFLOADS.items() if flag in words]
    return LaunchArguments(path, folders, tuple(sorted(left_out)), asked[0] if asked else AUTO)


def _words(path: Path) -> list[str]:
    """Return the arguments of the script's last line that sets them; none where it cannot be taken apart."""
    try:
        if not path.is_file():
            return []
        text = read_small(path, _MOST_BYTES).decode("utf-8-sig", "replace")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path} cannot be read: {reason}", field="webui") from None
    lines = _LINE.findall(text)
    if not lines:
        return []
    try:
        if path.name == _BATCH:
            words = shlex.split(lines[-1], posix=False)
            return [word.strip('"') for word in words]
        # One text in quotes, that the shell hands on as words.
        return [
            word for part in shlex.split(lines[-1], comments=True) for word in shlex.split(part)
        ]
    except ValueError:
        return []


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield arguments with what stands behind each, be it with a blank or with ``=``."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        following = words[place + 1 : place + 2]
        yield name, value if equals else "".join(one for one in following if one[:2] != "--")


def _plain(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - neither links nor ".." are the folder as named
