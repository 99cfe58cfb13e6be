"""``promptengine convert``: a hypernetwork in another format, or as a LoRA."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.cli.options import add_checkpoint
from promptengine.cli.terminal import printable
from promptengine.conversion.layouts import LORA_LAYOUTS
from promptengine.errors import RequestError

__all__ = ["add_arguments", "require_free"]

_OF_LORAS = ("rank", "prompts", "steps", "size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Write a hypernetwork in the format of OUT's suffix, or with --to as a LoRA for a checkpoint. What "
        "has no activation becomes exactly that; else the nearest is fitted to images made for it, and the "
        "error is measured on others."
    )
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT", help="its suffix picks the format")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    group = parser.add_argument_group("as a LoRA")
    group.add_argument(
        "--to",
        choices=tuple(LORA_LAYOUTS),
        help="; ".join(f"{layout.name}: {layout.help}" for layout in LORA_LAYOUTS.values()),
    )
    group.add_argument(
        "--rank", type=int, metavar="R", help="the largest rank; default: what is needed"
    )
    group.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="one a line, of images to fit to and to measure with; default: twelve of various kinds",
    )
    group.add_argument("--steps", type=int, metavar="N", help="of each of these images; default: 8")
    group.add_argument(
        "--size", type=int, metavar="PX", help="of their sides; default: the checkpoint's own"
    )
    add_model_folders(parser)
    add_checkpoint(parser)
    parser.set_defaults(run=_run)


def require_free(target: Path, *, force: bool) -> None:
    """Refuse to replace a file without being told to.

    Raises:
        RequestError: It exists.
    """
    if target.exists() and not force:
        raise RequestError(f"{target} exists; use --force to replace it", field="target")


def _run(options: argparse.Namespace) -> int:
    require_free(options.target, force=options.force)
    if options.to is not None:
        return _to_lora(options)
    given = [name for name in _OF_LORAS if getattr(options, name) is not None]
    if given:
        message = f"--{given[0]} is for LoRAs; add --to lora, or leave it out"
        raise RequestError(message, field=given[0])
    from promptengine.networks.hypernetwork.files import convert_hypernetwork

    convert_hypernetwork(options.source, options.target)
    print(f"wrote {printable(str(options.target))}")
    return 0


def _to_lora(options: argparse.Namespace) -> int:
    from promptengine.cli.generate import open_engine
    from promptengine.conversion.to_lora import ActivationSampling, convert_to_lora
    from promptengine.networks.hypernetwork.files import load_hypernetwork

    network = load_hypernetwork(options.source)
    sampling = ActivationSampling(size=options.size)
    if options.prompts is not None:
        sampling = replace(sampling, prompts=_prompts(options.prompts))
    if options.steps is not None:
        sampling = replace(sampling, steps=options.steps)
    dtype = "float32" if options.dtype == "auto" else options.dtype
    engine = open_engine(options, folders_of(options), dtype=dtype)
    with _shown() as on_image:
        made = convert_to_lora(
            network,
            options.target,
            engine,
            layout=options.to,
            rank=options.rank,
            sampling=sampling,
            on_image=on_image,
        )
    ranks = sorted(set(made.ranks.values()))
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    checkpoint = printable(engine.checkpoint.path.name)
    print(f"wrote {printable(str(options.target))}: {len(made.ranks)} modules of rank {rank}")
    if made.exact:
        print(f"exact for {checkpoint}, at every multiplier")
        return 0
    worst, error = max(made.errors.items(), key=lambda item: item[1])
    print(
        f"{made.fitted} of them are fitted to {checkpoint}: {made.error:.2%} of what the hypernetwork changes "
        f"is missed (root mean square), most in {worst} ({error:.2%})"
    )
    if made.biased and not LORA_LAYOUTS[options.to].constants:
        print(
            "a LoRA of factors has no room for the hypernetwork's biases; --to lora-diff carries them"
        )
    return 0


def _prompts(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return tuple(line for line in map(str.strip, lines) if line)


@contextmanager
def _shown() -> Generator[Callable[[int, int], None]]:
    """A bar over all images, on standard error, once there are some."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sampling activations", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
