"""Puts the nodes into a ComfyUI folder and takes them out again. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from promptengine.errors import RequestError
from promptengine.files.atomic import write_new

__all__ = ["install_nodes", "uninstall_nodes"]

_STUB: Final = '''"""Nodes of the package promptengine for ComfyUI; written by `promptengine comfyui install`."""
from promptengine.integrations.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
'''


def install_nodes(folder: Path) -> Path:
    """Write ``custom_nodes/promptengine/__init__.py``, three lines that name the nodes.

    Args:
        folder: ComfyUI's, which holds ``custom_nodes``.

    Returns:
        The file. Where it is there already it stays as it is.

    Raises:
        RequestError: The folder is none of ComfyUI's, or ``custom_nodes/promptengine`` is something else.
        OSError: It cannot be written to.
    """
    nodes = _nodes_folder(folder)
    target = nodes / "promptengine"
    file = target / "__init__.py"
    if target.is_symlink() or (target.exists() and not _is_ours(target, empty=True)):
        raise _foreign(target)
    target.mkdir(exist_ok=True)
    if not write_new(file, _STUB.encode()) and not _is_ours(target, empty=False):
        raise _foreign(target)
    return file


def uninstall_nodes(folder: Path) -> Path | None:
    """Take out what :func:`install_nodes` wrote.

    Args:
        folder: ComfyUI's.

    Returns:
        The folder that is gone, or None where there was none.

    Raises:
        RequestError: The folder is none of ComfyUI's, or ``custom_nodes/promptengine`` is something else.
        OSError: It cannot be removed.
    """
    target = _nodes_folder(folder) / "promptengine"
    if not target.exists() and not target.is_symlink():
        return None
    if target.is_symlink() or not _is_ours(target, empty=True):
        raise _foreign(target)
    for cached in sorted(target.glob("__pycache__/*")):
        cached.unlink()
    if (target / "__pycache__").is_dir():
        (target / "__pycache__").rmdir()
    (target / "__init__.py").unlink(missing_ok=True)
    target.rmdir()
    return target


def _nodes_folder(folder: Path) -> Path:
    nodes = folder / "custom_nodes"
    if not nodes.is_dir():
        message = f"{folder} has no folder custom_nodes; it must be the folder of a ComfyUI"
        raise RequestError(message, field="folder")
    return nodes


def _is_ours(target: Path, *, empty: bool) -> bool:
    """Return whether a folder holds what is written here and nothing else, or, where allowed, nothing at all."""
    file = target / "__init__.py"
    if not target.is_dir() or file.is_symlink():
        return False
    others = {path.name for path in target.iterdir()} - {"__init__.py", "__pycache__"}
    if others:
        return False
    if not file.exists():
        return empty
    return file.is_file() and file.stat().st_size == len(_STUB) and file.read_text() == _STUB


def _foreign(target: Path) -> RequestError:
    message = f"{target} is not what this command writes; move it away first"
    return RequestError(message, field="folder")
