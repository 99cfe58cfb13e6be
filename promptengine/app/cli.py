"""The ``promptengine`` command: its options, and the edge where errors become one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from promptengine.app import commands
from promptengine.errors import PromptEngineError
from promptengine.version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; the process's own by default.

    Returns:
        0 for success, 1 where some of the input could not be read, 2 for a mistake of the user's,
        130 where the user interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PromptEngineError, OSError) as error:
        print(f"promptengine: error: {commands.printable(_message(error))}", file=sys.stderr)
        return 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="promptengine",
        description="Stable Diffusion with WebUI's prompt syntax and hypernetworks.",
    )
    parser.add_argument("--version", action="version", version=f"promptengine {__version__}")
    commands_ = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_txt2img(commands_.add_parser("txt2img", help="make pictures from a prompt"))
    _add_parse(commands_.add_parser("parse", help="show how a prompt is read; needs no model"))
    _add_networks(commands_.add_parser("networks", help="list the networks in the models folder"))
    inspect = commands_.add_parser(
        "inspect", help="say what a model file is and whether it is safe"
    )
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=commands.inspect)
    convert = commands_.add_parser("convert", help="convert a hypernetwork: .pt <-> .safetensors")
    convert.add_argument("source", type=Path, metavar="IN")
    convert.add_argument("target", type=Path, metavar="OUT", help="its suffix picks the format")
    convert.add_argument("--force", action="store_true", help="replace OUT if it exists")
    convert.set_defaults(run=commands.convert)
    return parser


def _add_models(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where things are")
    group.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="WebUI's models folder"
    )
    group.add_argument(
        "--hypernetwork-dir", type=Path, metavar="DIR", help="another folder of hypernetworks"
    )


def _add_txt2img(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="in WebUI's syntax, tags included")
    parser.add_argument("-n", "--negative-prompt", default="", metavar="TEXT")
    parser.add_argument(
        "--hypernetwork",
        action="append",
        default=[],
        metavar="NAME[:MULTIPLIER]",
        help="append <hypernet:NAME:MULTIPLIER> to the prompt; may be repeated",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument("--sampler", default="Euler a", metavar="NAME")
    parser.add_argument("--cfg-scale", type=float, default=7.0, metavar="X")
    parser.add_argument("--seed", type=int, default=-1, metavar="N", help="-1 draws one")
    parser.add_argument("--width", type=int, metavar="PX", help="default: the checkpoint's own")
    parser.add_argument("--height", type=int, metavar="PX")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="pictures at once")
    parser.add_argument("--batch-count", type=int, default=1, metavar="N", help="batches in a row")
    parser.add_argument("--clip-skip", type=int, default=1, metavar="N")
    parser.add_argument(
        "--policy",
        choices=["strict", "warn", "ignore"],
        default="warn",
        help="what to do with a network that cannot be applied",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the PNGs"
    )
    _add_models(parser)
    parser.add_argument("--checkpoint", metavar="FILE|NAME", help="default: the first there is")
    parser.add_argument(
        "--config", type=Path, metavar="DIR", help="diffusers configurations for the checkpoint"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, …")
    parser.add_argument(
        "--dtype", default="auto", choices=["auto", "float32", "float16", "bfloat16"]
    )
    parser.set_defaults(run=commands.txt2img)


def _add_parse(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("prompt", nargs="?", metavar="PROMPT")
    what.add_argument(
        "--jsonl",
        action="store_true",
        help='read {"id", "prompt", "steps", "hires_steps"} a line, answer one JSON object a line',
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument(
        "--hires-steps", type=int, metavar="N", help="show the schedule of the second pass"
    )
    parser.add_argument("--negative", action="store_true", help="read it as a negative prompt")
    parser.add_argument(
        "--comments",
        action=argparse.BooleanOptionalAction,
        help="take out # comments (default: yes; with --jsonl no)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_models(parser)
    parser.set_defaults(run=commands.parse_prompt)


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, with SHA-256")
    _add_models(parser)
    parser.set_defaults(run=commands.networks)


if __name__ == "__main__":
    sys.exit(main())
