"""``promptengine inspect``: what a model file is, and whether it is safe."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from promptengine.cli.tables import show_file
from promptengine.inspection import inspect_file
from promptengine.prompt.serialize import well_formed

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Say what the file is, without running anything in it."""
    report = inspect_file(options.file)
    if options.json:
        print(json.dumps(well_formed(report.to_dict()), indent=2))
    else:
        show_file(report)
    return 0
