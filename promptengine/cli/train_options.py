"""The options of ``promptengine train``, which need no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from promptengine.cli.field_options import add_fields
from promptengine.cli.model_folders import add_model_folders
from promptengine.cli.options import add_checkpoint
from promptengine.plugins import LazyFunction
from promptengine.request.fields import fields_of
from promptengine.training.options import GROUPS, TrainingOptions

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be trained, each with its options."""
    kinds = parser.add_subparsers(title="what to train", required=True, metavar="KIND")
    hypernetwork = kinds.add_parser(
        "hypernetwork",
        help="train a hypernetwork",
        description="Train a hypernetwork. A run that was stopped goes on with the same command.",
    )
    hypernetwork.add_argument("name", metavar="NAME", help="of the network and of its file")
    _add_training_options(hypernetwork)
    add_model_folders(hypernetwork)
    add_checkpoint(hypernetwork)
    hypernetwork.set_defaults(run=LazyFunction("promptengine.cli.train:run"))


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
