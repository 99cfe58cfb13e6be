"""What the nodes ask of the ComfyUI that they run in, which is imported when it is first asked."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from promptengine.errors import PromptEngineError
from promptengine.registry.open_models import open_models
from promptengine.registry.registry import Kind, Registry

__all__ = ["file_names", "find_file", "host_module", "open_folders"]

FOLDERS: Final[dict[Kind, str]] = {
    "hypernet": "hypernetworks",
    "lora": "loras",
    "embedding": "embeddings",
}
"""ComfyUI's names of the folders of each kind of network."""


def host_module(name: str) -> Any:
    """Return a module of ComfyUI, such as ``comfy.samplers``.

    Raises:
        PromptEngineError: This process is not ComfyUI.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{name} cannot be imported ({error}); these nodes run within ComfyUI only"
        raise PromptEngineError(message) from None


def file_names(kind: Kind) -> list[str]:
    """Return the files that ComfyUI lists of a kind, as it spells them."""
    return list(host_module("folder_paths").get_filename_list(FOLDERS[kind]))


def find_file(kind: Kind, name: str) -> Path:
    """Return the file that ComfyUI lists by a name.

    Raises:
        PromptEngineError: It lists none.
    """
    found = host_module("folder_paths").get_full_path(FOLDERS[kind], name)
    if found is None:
        near: Sequence[str] = file_names(kind)
        listed = ", ".join(near) if near else "none"
        message = f"{FOLDERS[kind]} holds no {name!r}; it must be one of the files there: {listed}"
        raise PromptEngineError(message)
    return Path(found)


def open_folders() -> Registry:
    """Scan the folders that ComfyUI keeps networks in; a folder that is missing holds none."""
    paths = host_module("folder_paths").get_folder_paths
    found = {
        kind: [path for path in map(Path, paths(folder)) if path.is_dir()]
        for kind, folder in FOLDERS.items()
    }
    return open_models({kind: folders for kind, folders in found.items() if folders})
