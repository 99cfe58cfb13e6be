"""Options that several commands share: which checkpoint to take, the dialect, and what not to be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from promptengine.prompt.diagnostic_kinds import read_codes
from promptengine.prompt.dialects import DIALECTS, WEBUI

__all__ = ["add_checkpoint", "add_dialect", "add_ignore"]


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
    """Add the codes of what not to tell, which :func:`check_codes` and :func:`without_codes` take."""
    parser.add_argument(
        "--ignore",
        type=read_codes,
        action="extend",
        default=[],
        metavar="CODE[,CODE]",
        help="tell no diagnostics of these codes, such as negative-weight; may be repeated",
    )
