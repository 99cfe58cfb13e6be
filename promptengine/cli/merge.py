"""``promptengine merge``: one hypernetwork that does what several do in a row."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

from promptengine.cli.convert import require_free
from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.cli.terminal import printable
from promptengine.errors import RequestError
from promptengine.kinds import HYPERNETWORK
from promptengine.registry.registry import Registry

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Write one hypernetwork that does at multiplier 1 what the given ones do in a row, exactly but for "
        "rounding. Where no network does that, say why. Networks are exact together whose activations "
        "are one of ReLU, LeakyReLU, GELU, SiLU and swish, or none, without layer norm."
    )
    parser.add_argument(
        "uses",
        nargs="+",
        metavar="NAME[:MULTIPLIER]",
        help="hypernetworks, in the order of their tags: names in the models folder, or files",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_model_folders(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from promptengine.networks.hypernetwork.files import (
        load_hypernetwork,
        require_writable,
        save_hypernetwork,
    )
    from promptengine.networks.hypernetwork.merge import merge_hypernetworks

    require_free(options.output, force=options.force)
    opened = cache(lambda: Registry.open(folders_of(options)))
    named = [_named(use, opened) for use in options.uses]
    uses = [(load_hypernetwork(path), multiplier) for path, multiplier in named]
    merged = merge_hypernetworks(uses, name=options.output.stem)
    require_writable(merged.settings, options.output)
    save_hypernetwork(merged, options.output)
    tags = "".join(f"<hypernet:{path.stem}:{multiplier:g}>" for path, multiplier in named)
    print(f"wrote {printable(str(options.output))}, which does at multiplier 1 what {tags} does")
    return 0


def _named(use: str, opened: Callable[[], Registry]) -> tuple[Path, float]:
    """Return a file and its multiplier.

    Raises:
        RequestError: A multiplier that is no number.
        UnknownNetworkError: Neither a file nor a name.
    """
    # A path may have colons itself.
    if Path(use).is_file():
        return Path(use), 1.0
    name, colon, text = use.rpartition(":")
    name, text = (name, text) if colon else (use, "1")
    try:
        multiplier = float(text)
    except ValueError:
        message = f"{use!r}: multiplier {text!r} is no number; write NAME:MULTIPLIER"
        raise RequestError(message, field="networks") from None
    if Path(name).is_file():
        return Path(name), multiplier
    registry = opened()
    entry = registry.find(HYPERNETWORK.name, name)
    if entry is None:
        raise registry.unknown(HYPERNETWORK.name, name)
    return entry.path, multiplier
