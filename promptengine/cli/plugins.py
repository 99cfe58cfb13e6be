"""``promptengine plugins``: what other packages add."""

from __future__ import annotations

import argparse
import json
import warnings

from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptengine.cli.terminal import printable
from promptengine.plugins import PluginObject, PluginWarning, load_plugins

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "List the samplers, schedule types and other objects that installed packages add. Set "
        "PROMPTENGINE_PLUGINS to names of packages, with commas between, to load these only, or to "
        "nothing to load none."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """List all; 1 where something was skipped."""
    with warnings.catch_warnings():
        # The list says the same.
        warnings.simplefilter("ignore", PluginWarning)
        found = load_plugins()
    if options.json:
        print(json.dumps([_document(item) for item in found], indent=2))
    elif found:
        table = Table("group", "name", "from", "state", box=None, pad_edge=False)
        for item in found:
            state = f"skipped: {item.problem}" if item.problem else "loaded"
            cells = (item.group, item.name, str(item.plugin), state)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        Console(highlight=False).print(table)
    else:
        print("no plugins")
    return int(any(item.problem for item in found))


def _document(item: PluginObject) -> dict[str, str | None]:
    return {
        "group": item.group,
        "name": item.name,
        "plugin": item.plugin.name,
        "version": item.plugin.version or None,
        "problem": item.problem or None,
    }
