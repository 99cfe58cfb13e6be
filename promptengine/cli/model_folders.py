"""Where a command finds models: the options that say so, and the folders that they come to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from promptengine.cli.terminal import printable
from promptengine.errors import RequestError

if TYPE_CHECKING:
    from promptengine.registry.registry import Kind

__all__ = [
    "USUAL_MODELS",
    "add_model_folders",
    "folders_of",
    "has_folders",
    "names_in_short",
    "places_of",
    "roots_of",
    "styles_of",
]

USUAL_MODELS: Final = Path("models")
"""The models folder where none is named."""

_USUAL_STYLES: Final = Path("styles.csv")
_MOST_NAMES: Final = 8


def add_model_folders(parser: argparse.ArgumentParser, *, hypernetworks: bool = True) -> None:
    """Add the options that name folders.

    Args:
        parser: The command's.
        hypernetworks: Whether another folder of hypernetworks can be named.
    """
    group = parser.add_argument_group("where things are")
    group.add_argument(
        "--models",
        type=Path,
        action="append",
        metavar="DIR",
        help="WebUI's models folder; may be repeated: of files of one name the first folder's counts, and new "
        "files go there; default: models, or that of --webui",
    )
    group.add_argument(
        "--webui",
        type=Path,
        metavar="DIR",
        help="a WebUI (AUTOMATIC1111 or Forge) as it is: models, embeddings, styles.csv, and config.json's and "
        "ui-config.json's values where nothing else is given",
    )
    group.add_argument(
        "--extra-model-paths-config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="ComfyUI's extra_model_paths.yaml; may be repeated",
    )
    if hypernetworks:
        group.add_argument(
            "--hypernetwork-dir", type=Path, metavar="DIR", help="another folder of hypernetworks"
        )


def roots_of(options: argparse.Namespace) -> list[Path]:
    """Return the models folders that are named, or the usual one where no WebUI is named either."""
    usual = [] if options.webui is not None else [USUAL_MODELS]
    return options.models or usual


def folders_of(options: argparse.Namespace, *, new: bool = False) -> dict[Kind, list[Path]]:
    """Return the folders of each kind, those that win a clash of names first.

    They are that of ``--hypernetwork-dir``, default ones of ``--extra-model-paths-config``, those of
    ``--models``, of ``--webui``, and the others of ``--extra-model-paths-config``.

    Args:
        options: Of the command line.
        new: Whether the folder of hypernetworks may be one that is yet to be made.

    Raises:
        RequestError: There is no such folder of hypernetworks or of a WebUI, or a file cannot be used.
    """
    # What prompts without tags need is told before the registry could be loaded.
    from promptengine.kinds import HYPERNETWORK
    from promptengine.registry.registry import folders_below

    folders = folders_below(roots_of(options))
    if options.webui is not None:
        from promptengine.integrations.webui.installation import webui_folders
        from promptengine.integrations.webui.launch_arguments import read_launch_arguments

        for kind, found in webui_folders(options.webui).items():
            folders[kind] += found
        launch = read_launch_arguments(options.webui)
        _tell_left_out(launch.path, launch.left_out)
    if options.extra_model_paths_config:
        from promptengine.integrations.comfyui.extra_model_paths import read_extra_model_paths

        for file in options.extra_model_paths_config:
            extra = read_extra_model_paths(file)
            folders = extra.added_to(folders)
            _tell_left_out(file, extra.left_out)
    own: Path | None = getattr(options, "hypernetwork_dir", None)
    if own is not None:
        if not (new or own.is_dir()):
            message = f"--hypernetwork-dir: no such folder: {own}"
            raise RequestError(message, field="hypernetwork_dir")
        folders[HYPERNETWORK.name].insert(0, own)
    return folders


def _tell_left_out(file: Path, names: Sequence[str]) -> None:
    if names:
        told = f"note: {file}: not used here: {names_in_short(names)}"
        print(printable(told), file=sys.stderr)


def has_folders(options: argparse.Namespace) -> bool:
    """Return whether any folder is named, or the usual one is there."""
    named = (options.hypernetwork_dir, options.webui, *options.extra_model_paths_config)
    return any(named) or any(root.is_dir() for root in roots_of(options))


def places_of(options: argparse.Namespace) -> str:
    """Return what is named, for messages."""
    further = [] if options.webui is None else [options.webui]
    named = [*roots_of(options), *further, *options.extra_model_paths_config]
    return ", ".join(map(str, named))


def styles_of(options: argparse.Namespace) -> Path:
    """Return the file of styles: the one that is named, or that of the WebUI, or the usual one."""
    if options.styles is not None:
        return options.styles
    return _USUAL_STYLES if options.webui is None else options.webui / _USUAL_STYLES


def names_in_short(names: Sequence[str]) -> str:
    """Return some of many names, and how many there are besides."""
    more = len(names) - _MOST_NAMES
    listed = ", ".join(name[:60] for name in names[:_MOST_NAMES])
    return f"{listed} and {more} more" if more > 0 else listed
