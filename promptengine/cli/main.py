"""The ``promptengine`` command: its options, and the edge where errors become one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from promptengine.cli.command import Command
from promptengine.cli.terminal import printable
from promptengine.errors import PromptEngineError
from promptengine.garbage import gc_paused, skip_last_collection
from promptengine.plugins import SCRIPT, LazyFunction, ObjectRegistry, Plugin, short_warnings
from promptengine.version import __version__

__all__ = ["COMMANDS", "main", "register_command"]

_ENDS: Final = ("-h", "--help", "--version")
"""Options that end the program before any of a command's could count."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; the process's own by default.

    Returns:
        0 for success, 1 where some of the input could not be read, 2 for a mistake of the user's,
        130 where the user interrupted.
    """
    skip_last_collection()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with short_warnings():
        return _run(given)


def _run(arguments: list[str]) -> int:
    try:
        options = _parser(arguments[0] if arguments else "").parse_args(arguments)
        return options.run(options)
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PromptEngineError, OSError) as error:
        print(f"promptengine: error: {printable(_message(error))}", file=sys.stderr)
        return 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


@gc_paused
def _parser(first: str = "") -> argparse.ArgumentParser:
    """Build the parser, with no more in it than the first argument asks for: each command costs its imports.

    Args:
        first: A command, which is then the only one that is known; what ends the program once all are listed
            or the version is told, so that no options are needed; anything else asks for all there is.
    """
    parser = argparse.ArgumentParser(
        prog="promptengine",
        description="Stable Diffusion with WebUI's prompt syntax and hypernetworks.",
    )
    parser.add_argument("--version", action="version", version=f"promptengine {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    if first in _ENDS:
        for command in COMMANDS.values():
            subparsers.add_parser(command.name, help=command.help)
        return parser
    for command in [COMMANDS[first]] if first in COMMANDS else COMMANDS.values():
        command.add_arguments(subparsers.add_parser(command.name, help=command.help))
    return parser


def _own(name: str, help_: str, place: str = "") -> Command:
    """Describe a command of this package by where its options are added; that is imported once they are needed."""
    place = place or f"{name}:add_arguments"
    return Command(name, help_, LazyFunction(f"promptengine.cli.{place}"))


COMMANDS: Final[ObjectRegistry[Command]] = ObjectRegistry(
    "promptengine.commands",
    "command",
    Command,
    (
        _own("txt2img", "make images from a prompt", "images:add_txt2img"),
        _own("img2img", "make images from an image", "images:add_img2img"),
        _own("upscale", "enlarge images"),
        _own("scripts", "list what --script can run, with arguments", "script:add_arguments"),
        _own("grid", "compare settings on one labeled image", "images:add_grid"),
        _own("train", "train a hypernetwork on images", "train_options:add_arguments"),
        _own("serve", "answer WebUI's clients over HTTP"),
        _own("parse", "show how a prompt is read; needs no model"),
        _own("translate", "rewrite a prompt in another dialect"),
        _own("expand", "write prompts of a template; needs no model"),
        _own(
            "language-server",
            "answer an editor about prompts (extra lsp)",
            "language_server:add_arguments",
        ),
        _own("networks", "list the networks in the models folder"),
        _own("inspect", "say what a model file is and whether it is safe"),
        _own("info", "show how an image was made"),
        _own("convert", "convert a hypernetwork: .pt, .safetensors, LoRA"),
        _own("merge", "make one hypernetwork of several"),
        _own("search", "search models of Civitai's", "civitai:add_search"),
        _own("download", "get a model of Civitai's, verified", "civitai:add_download"),
        _own("comfyui", "add WebUI's prompts to a ComfyUI"),
        _own("plugins", "list what other packages add"),
    ),
    spellings=lambda command: (command.name,),
)
"""Every command by its name."""


def register_command(command: Command, *, origin: str = SCRIPT) -> None:
    """Add a command to the command line, for the rest of the process.

    Args:
        command: The command.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no command, or has a name that is taken.
    """
    COMMANDS.register(command, Plugin(origin))
