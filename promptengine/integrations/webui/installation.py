"""What a WebUI's folder holds that means something here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptengine.errors import RequestError
from promptengine.integrations.webui.form_defaults import FormDefaults
from promptengine.integrations.webui.json_files import read_object
from promptengine.integrations.webui.launch_arguments import read_launch_arguments
from promptengine.integrations.webui.saved_settings import SavedSettings
from promptengine.registry.registry import Kind, folders_below
from promptengine.validation import check_type

__all__ = ["WebUIInstallation", "read_webui", "webui_folders"]

_MODELS: Final = "models"


@dataclass(frozen=True, slots=True)
class WebUIInstallation:
    """A WebUI of some user's.

    Attributes:
        root: Its folder.
        folders: Where it keeps models, networks, embeddings, wildcards and lists of words, for
            :meth:`promptengine.Engine.open` and :meth:`promptengine.Registry.open`; those that its ``webui-user``
            script names are among them.
        styles: Its file of styles, which need not be there, for :func:`promptengine.apply_styles`.
        settings: The options of its ``config.json``.
        forms: The defaults of its page.
    """

    root: Path
    folders: Mapping[Kind, list[Path]]
    styles: Path
    settings: SavedSettings
    forms: FormDefaults


def read_webui(root: str | Path) -> WebUIInstallation:
    """Read a WebUI's folder; nothing in it is run or written.

    Args:
        root: The folder, which holds ``models``.

    Raises:
        RequestError: It is no such folder, or ``config.json`` or ``ui-config.json`` in it is no JSON object.
    """
    folders = webui_folders(root)
    root = Path(root)
    return WebUIInstallation(
        root=root,
        folders=folders,
        styles=root / "styles.csv",
        settings=SavedSettings(root / "config.json", read_object(root / "config.json")),
        forms=FormDefaults(root / "ui-config.json", read_object(root / "ui-config.json")),
    )


def webui_folders(root: str | Path) -> dict[Kind, list[Path]]:
    """Return where a WebUI keeps each kind of file, whether it is there or not; see :class:`WebUIInstallation`.

    Args:
        root: The folder, which holds ``models``.

    Raises:
        RequestError: It is no such folder, or its ``webui-user`` script cannot be read.
    """
    check_type("root", root, str, Path)
    root = Path(root)
    if not (root / _MODELS).is_dir():
        found = "has no folder models" if root.is_dir() else "is no folder"
        message = f"{root} {found}; it must be that of a WebUI, which holds models and config.json"
        raise RequestError(message, field="webui")
    return read_launch_arguments(root).applied_to(folders_below(root / _MODELS))
