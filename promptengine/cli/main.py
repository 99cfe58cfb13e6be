"""The ``promptengine`` command: its options, and the edge where errors become one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, get_args

from promptengine.cli import commands, convert, merge, serve
from promptengine.cli.arguments import add_ignore
from promptengine.cli.civitai import SEARCH, add_base_url, add_download_options
from promptengine.cli.comfyui import COMFYUI
from promptengine.cli.command import Command
from promptengine.cli.expand import EXPAND
from promptengine.cli.field_options import add_fields
from promptengine.cli.language_server import LANGUAGE_SERVER
from promptengine.cli.model_folders import add_model_folders
from promptengine.cli.offload import add_offload
from promptengine.cli.plugins import PLUGINS
from promptengine.cli.script import SCRIPTS_COMMAND, add_script_options
from promptengine.cli.translate import TRANSLATE
from promptengine.cli.upscale import UPSCALE
from promptengine.errors import PromptEngineError
from promptengine.plugins import SCRIPT, ObjectRegistry, Plugin, short_warnings
from promptengine.prompt import DIALECTS
from promptengine.request.fields import fields_of
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import NoiseSource
from promptengine.request.request import GenerationRequest
from promptengine.training.options import GROUPS, TrainingOptions
from promptengine.version import __version__
from promptengine.xyz_plot.axes import AXIS_KINDS

__all__ = ["COMMANDS", "main", "register_command"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; the process's own by default.

    Returns:
        0 for success, 1 where some of the input could not be read, 2 for a mistake of the user's,
        130 where the user interrupted.
    """
    with short_warnings():
        return _run(_parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
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
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add_arguments(subparsers.add_parser(command.name, help=command.help))
    return parser


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=commands.inspect)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    convert.add_options(parser)
    add_model_folders(parser)
    _add_checkpoint(parser)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    merge.add_options(parser)
    add_model_folders(parser)


def _add_download(parser: argparse.ArgumentParser) -> None:
    add_download_options(parser)
    add_model_folders(parser)


def _add_txt2img(parser: argparse.ArgumentParser) -> None:
    _add_prompt(parser, "make the image (or infotext) of this file again")
    _add_request(parser)
    _add_hires(parser)
    add_script_options(parser)
    _add_images(parser)
    parser.set_defaults(run=commands.txt2img)


def _add_prompt(parser: argparse.ArgumentParser, again: str) -> None:
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


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the images"
    )
    parser.add_argument("--format", choices=["png", "jpg", "webp"], default="png")
    parser.add_argument("--profile", action="store_true", help="say where the time went")


def _add_hires(parser: argparse.ArgumentParser) -> None:
    """The high-resolution pass; any of these options asks for it."""
    add_fields(parser.add_argument_group("high-resolution pass"), HiresPass)


def _add_img2img(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="to start from")
    _add_prompt(parser, "take prompts and settings of this image (or infotext)")
    group = parser.add_argument_group("image and mask")
    add_fields(group, ImageStart)
    add_fields(group, Inpainting)
    _add_request(parser)
    add_script_options(parser)
    _add_images(parser)
    parser.set_defaults(run=commands.img2img)


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make an image for every combination of values, from the same noise, on one sheet. "
        "An axis is KIND=VALUES, such as hypernetwork=ink,none or multiplier=0-1 [5] or "
        '"prompt=cat,dog,old fox" (replaces cat).'
    )
    for letter, place in (("x", "across"), ("y", "down"), ("z", "block by block")):
        parser.add_argument(
            f"-{letter}",
            required=letter == "x",
            metavar="KIND=VALUES",
            help=f"what varies {place}" + (f": {', '.join(AXIS_KINDS)}" if letter == "x" else ""),
        )
    parser.add_argument("prompt", metavar="PROMPT", help="in WebUI's syntax, tags included")
    _add_request(parser, leave=("batch_size", "batch_count", "dynamic", "dynamic_method"))
    parser.add_argument(
        "--keep-images", action="store_true", help="write every image as a file of its own too"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the PNGs"
    )
    parser.set_defaults(run=commands.grid)


def _add_request(parser: argparse.ArgumentParser, leave: Collection[str] = ()) -> None:
    """What a request holds. None stands for what is not given: a request has defaults of its own."""
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
    _add_checkpoint(parser)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
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


def _add_train(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to train", required=True, metavar="KIND")
    hypernetwork = kinds.add_parser(
        "hypernetwork",
        help="train a hypernetwork",
        description="Train a hypernetwork. A run that was stopped goes on with the same command.",
    )
    hypernetwork.add_argument("name", metavar="NAME", help="of the network and of its file")
    _add_training_options(hypernetwork)
    add_model_folders(hypernetwork)
    _add_checkpoint(hypernetwork)
    hypernetwork.set_defaults(run=commands.train_hypernetwork)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    named = {own.name: own.spec.group for own in fields_of(TrainingOptions)}
    group = parser
    for title in GROUPS:
        group = parser.add_argument_group(title.lower())
        if title == named["template"]:
            help_ = "images; captions beside them"
            group.add_argument("--data", type=Path, required=True, metavar="DIR", help=help_)
        add_fields(group, TrainingOptions, [name for name, own in named.items() if own != title])
    group.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a .pt or .safetensors; default: NAME.pt in the folder of hypernetworks",
    )
    group.add_argument("--log-dir", type=Path, metavar="DIR", help="default: outputs/training/NAME")
    group.add_argument(
        "--restart", action="store_true", help="start over, and replace what there is"
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    serve.add_options(parser)
    add_model_folders(parser)
    _add_checkpoint(parser)


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
    parser.add_argument("--dialect", choices=list(DIALECTS), default="webui")
    add_ignore(parser)
    parser.add_argument(
        "--comments",
        action=argparse.BooleanOptionalAction,
        help="take out # comments (default: yes; with --jsonl no)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_folders(parser)
    parser.set_defaults(run=commands.parse_prompt)


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show the infotext of images (PNG, JPEG, WEBP, GIF) and text files."
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--online", action="store_true", help="ask Civitai what the hashes in it belong to"
    )
    add_base_url(parser)
    parser.set_defaults(run=commands.info)


def _add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, with SHA-256")
    add_model_folders(parser)
    parser.set_defaults(run=commands.networks)


if __name__ == "__main__":
    sys.exit(main())


COMMANDS: Final[ObjectRegistry[Command]] = ObjectRegistry(
    "promptengine.commands",
    "command",
    Command,
    (
        Command("txt2img", "make images from a prompt", _add_txt2img),
        Command("img2img", "make images from an image", _add_img2img),
        UPSCALE,
        SCRIPTS_COMMAND,
        Command("grid", "compare settings on one labeled image", _add_grid),
        Command("train", "train a hypernetwork on images", _add_train),
        Command("serve", "answer WebUI's clients over HTTP", _add_serve),
        Command("parse", "show how a prompt is read; needs no model", _add_parse),
        TRANSLATE,
        EXPAND,
        LANGUAGE_SERVER,
        Command("networks", "list the networks in the models folder", _add_networks),
        Command("inspect", "say what a model file is and whether it is safe", _add_inspect),
        Command("info", "show how an image was made", _add_info),
        Command("convert", "convert a hypernetwork: .pt, .safetensors, LoRA", _add_convert),
        Command("merge", "make one hypernetwork of several", _add_merge),
        SEARCH,
        Command("download", "get a model of Civitai's, verified", _add_download),
        COMFYUI,
        PLUGINS,
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
