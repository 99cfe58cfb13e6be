"""Options of the commands that make images: what a request holds, and what becomes of the images."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import get_args

from promptengine.cli.field_options import add_fields
from promptengine.cli.model_folders import add_model_folders
from promptengine.cli.offload import add_offload
from promptengine.cli.options import add_checkpoint, add_ignore
from promptengine.request.hires_pass import HiresPass
from promptengine.request.options import NoiseSource
from promptengine.request.request import GenerationRequest

__all__ = ["add_hires", "add_images", "add_prompt", "add_request"]


def add_prompt(parser: argparse.ArgumentParser, again: str) -> None:
    """Add the prompt, and the file to take one from.

    Args:
        parser: Of a command.
        again: What is done with that file, for the help.
    """
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="in WebUI's syntax, tags included"
    )
    parser.add_argument(
        "--from",
        dest="origin",
        type=Path,
        metavar="FILE",
        help=f"{again}; what else is given goes before it",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add what says where images go, and in what format."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the images"
    )
    parser.add_argument("--format", choices=["png", "jpg", "webp"], default="png")
    parser.add_argument("--profile", action="store_true", help="say where the time went")


def add_hires(parser: argparse.ArgumentParser) -> None:
    """Add the high-resolution pass; any of these options asks for it."""
    add_fields(parser.add_argument_group("high-resolution pass"), HiresPass)


def add_request(parser: argparse.ArgumentParser, leave: Collection[str] = ()) -> None:
    """Add what a request holds. None stands for what is not given: a request has defaults of its own.

    Args:
        parser: Of a command.
        leave: Names of fields that the command says otherwise.
    """
    add_fields(parser, GenerationRequest, leave)
    parser.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="NAME",
        help="put a style of WebUI's around the prompts; may be repeated",
    )
    parser.add_argument(
        "--styles",
        type=Path,
        metavar="FILE",
        help="WebUI's file of styles; default: styles.csv, or that of --webui",
    )
    parser.add_argument(
        "--hypernetwork",
        action="append",
        default=[],
        metavar="NAME[:MULTIPLIER]",
        help="append <hypernet:NAME:MULTIPLIER> to the prompt; may be repeated",
    )
    parser.add_argument(
        "--region",
        action="append",
        nargs=2,
        metavar=("MASK", "TEXT"),
        help="let a text act where an image is white, and the prompt in the rest; may be repeated",
    )
    parser.add_argument(
        "--noise-source",
        choices=get_args(NoiseSource),
        help="cpu (the default), or the numbers of an NVIDIA GPU",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of WebUI's settings by its name there, such as eta_ancestral=0.5; may be repeated",
    )
    add_ignore(parser)
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile, meant for GPUs and many images of one size",
    )
    add_offload(parser.add_argument)
    add_model_folders(parser)
    add_checkpoint(parser)
