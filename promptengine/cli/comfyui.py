"""``promptengine comfyui``: the nodes put into a ComfyUI folder, and taken out."""

from __future__ import annotations

import argparse
from pathlib import Path

from promptengine.cli.terminal import printable
from promptengine.integrations.comfyui.install import install_nodes, uninstall_nodes

__all__ = ["add_arguments"]


def _install(options: argparse.Namespace) -> int:
    print(printable(f"{install_nodes(options.folder)}: start ComfyUI anew to find the nodes"))
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    removed = uninstall_nodes(options.folder)
    print(printable(f"{removed} removed" if removed else "the nodes were not installed"))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be done, each with its options."""
    verbs = parser.add_subparsers(title="what to do", required=True, metavar="VERB")
    for name, help_, run in (
        ("install", "let a ComfyUI find the nodes", _install),
        ("uninstall", "take them out again", _uninstall),
    ):
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument(
            "folder", type=Path, metavar="DIR", help="of ComfyUI, which holds custom_nodes"
        )
        verb.set_defaults(run=run)
