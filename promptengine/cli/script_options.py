"""``--script`` and ``--prompts`` of ``txt2img`` and ``img2img``; the scripts are loaded when one is asked for."""

from __future__ import annotations

import argparse

from promptengine.errors import RequestError

__all__ = ["add_script_options", "asks_for_script"]


def add_script_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask for a script."""
    group = parser.add_argument_group("scripts")
    group.add_argument(
        "--script",
        metavar="NAME",
        help="run one of WebUI's scripts; `promptengine scripts` lists them",
    )
    group.add_argument(
        "--script-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of the script's arguments; may be repeated",
    )
    group.add_argument(
        "--prompts",
        metavar="FILE",
        help='a prompt a line, or flags such as --prompt "a cat" --steps 30; - reads standard input',
    )


def asks_for_script(options: argparse.Namespace) -> bool:
    """Whether a script is asked for.

    Raises:
        RequestError: Arguments of a script without one.
    """
    asked = options.script is not None or options.prompts is not None
    if options.script_arg and not asked:
        message = "--script-arg says something of a script; name one with --script"
        raise RequestError(message, field="script_arg")
    return asked
