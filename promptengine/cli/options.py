"""Options that several commands share: where models are, which one to take, and what not to be told."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from promptengine.errors import RequestError
from promptengine.prompt.diagnostic_kinds import read_codes
from promptengine.prompt.dialects import DIALECTS, WEBUI

if TYPE_CHECKING:
    from promptengine.registry.registry import Kind

__all__ = ["add_checkpoint", "add_dialect", "add_ignore", "add_models", "folders_of"]


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add what says where models are."""
    group = parser.add_argument_group("where things are")
    group.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="WebUI's models folder"
    )
    group.add_argument(
        "--hypernetwork-dir", type=Path, metavar="DIR", help="another folder of hypernetworks"
    )


def folders_of(options: argparse.Namespace) -> Path | Mapping[Kind, list[Path]]:
    """Return the models folder, with ``--hypernetwork-dir`` searched first where it is given.

    Raises:
        RequestError: There is no such folder.
    """
    if options.hypernetwork_dir is None:
        return options.models
    if not options.hypernetwork_dir.is_dir():
        message = f"--hypernetwork-dir: no such folder: {options.hypernetwork_dir}"
        raise RequestError(message, field="hypernetwork_dir")
    from promptengine.kinds import HYPERNETWORK
    from promptengine.registry.registry import folders_below

    folders = folders_below(options.models)
    folders[HYPERNETWORK.name].insert(0, options.hypernetwork_dir)
    return folders


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add what says which checkpoint and VAE to take, and where and how precisely they work."""
    parser.add_argument("--checkpoint", metavar="FILE|NAME", help="default: the first there is")
    parser.add_argument(
        "--config", type=Path, metavar="DIR", help="diffusers configurations for the checkpoint"
    )
    parser.add_argument(
        "--vae", metavar="FILE|NAME", help="default: one of the checkpoint's name; None: its own"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, …")
    parser.add_argument(
        "--dtype", default="auto", choices=["auto", "float32", "float16", "bfloat16"]
    )


def add_dialect(parser: argparse.ArgumentParser) -> None:
    """Add what says which dialect the prompt is in.

    Plugins' are looked for when a name is none of ours, or when the list is shown.
    """
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        default=WEBUI,
        metavar="NAME",
        help=f"one of %(choices)s; default: {WEBUI}",
    )


def add_ignore(parser: argparse.ArgumentParser) -> None:
    """Add what says which diagnostics to leave out."""
    parser.add_argument(
        "--ignore",
        type=read_codes,
        action="extend",
        default=[],
        metavar="CODE[,CODE]",
        help="tell no diagnostics of these codes, such as negative-weight; may be repeated",
    )
