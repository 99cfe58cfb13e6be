"""``promptengine upscale``: images enlarged, as WebUI's extras do it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from promptengine.cli.model_folders import add_model_folders, folders_of
from promptengine.errors import ImageError, RequestError

if TYPE_CHECKING:
    from PIL.Image import Image

    from promptengine.images.postprocess import Postprocess
    from promptengine.images.upscaler_cache import UpscalerCache

__all__ = ["add_arguments"]

_LONGEST_STEM: Final = 100
_USUAL_SCALE: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Enlarge images. Networks lie in ESRGAN, RealESRGAN, SwinIR and upscaler below the models "
        "folder, and go by their files' names without suffix."
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="images")
    add("--upscaler", default="Lanczos", metavar="NAME", help="default: Lanczos")
    add("--scale", type=float, metavar="X", help=f"default: {_USUAL_SCALE:g}")
    add("--width", type=int, metavar="PX", help="to cover, with --height; instead of a scale")
    add("--height", type=int, metavar="PX")
    add("--no-crop", action="store_true", help="keep what goes beyond width and height")
    add("--upscaler-2", metavar="NAME", help="another one, laid over the first")
    add("--visibility", type=float, metavar="X", help="how much of it shows, 0 to 1; default: 0.5")
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of WebUI's settings by its name there, such as ESRGAN_tile=128; may be repeated",
    )
    add_model_folders(parser, hypernetworks=False)
    add("--device", default="auto", help="auto, cpu, cuda, mps, …")
    add("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="for the PNGs")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Enlarge every file; one that is no image gets a line of its own.

    Returns:
        0, or 1 where a file could not be read.
    """
    from promptengine.accel.memory import translate_oom
    from promptengine.checkpoints.resolve import resolve_device
    from promptengine.cli.terminal import printable
    from promptengine.images.upscaler_cache import UpscalerCache
    from promptengine.registry.registry import Registry

    device = resolve_device(options.device)
    upscalers = UpscalerCache(Registry.open(folders_of(options)), device)
    wish = _wish(options, upscalers)
    options.output.mkdir(parents=True, exist_ok=True)
    status = 0
    with _progress_bar() as begin, translate_oom(device):
        for path in options.files:
            try:
                image, infotext = _read(path)
            except ImageError as error:
                status = 1
                print(f"promptengine: error: {printable(str(error))}", file=sys.stderr)
                continue
            with upscalers.watching(begin(path)):
                made, done = wish.apply(image)
            target = _write(made, done, infotext, options.output, path)
            print(printable(str(target)))
    return status


def _wish(options: argparse.Namespace, upscalers: UpscalerCache) -> Postprocess:
    """Return how to enlarge.

    Raises:
        RequestError: Options that do not go together, or no such upscaler.
    """
    from promptengine.cli.webui import saved_options
    from promptengine.images.postprocess import Postprocess

    sides = (options.width, options.height)
    if None in sides and sides != (None, None):
        raise RequestError("--width and --height must be given together", field="width")
    if options.scale is not None and sides != (None, None):
        raise RequestError("--scale cannot be given with --width and --height", field="scale")
    if options.visibility is not None and options.upscaler_2 is None:
        raise RequestError("--visibility is given, but no --upscaler-2", field="visibility")
    settings = saved_options(options)
    second = options.upscaler_2
    return Postprocess(
        upscaler=upscalers.find_pixel(options.upscaler, settings, field="upscaler"),
        second=second and upscalers.find_pixel(second, settings, field="upscaler_2"),
        visibility=0.5 if options.visibility is None else options.visibility,
        scale=_USUAL_SCALE if options.scale is None else options.scale,
        size=None if options.width is None else sides,
        crop=not options.no_crop,
    )


def _read(path: Path) -> tuple[Image, str]:
    """Return an image, and what it says about how it was made.

    Raises:
        ImageError: It cannot be read.
    """
    from promptengine.cli.image_options import open_image
    from promptengine.images import read_image_info

    image = open_image(path)
    return image, str(read_image_info(path, hidden=False).original)


def _write(image: Image, done: str, infotext: str, folder: Path, source: Path) -> Path:
    from promptengine.cli.arguments import free_path
    from promptengine.files.atomic import atomic_write
    from promptengine.images.postprocess import encode_postprocessed

    target = free_path(folder, source.stem[:_LONGEST_STEM])
    with atomic_write(target) as temporary:
        temporary.write_bytes(encode_postprocessed(image, done, infotext))
    return target


@contextmanager
def _progress_bar() -> Generator[Callable[[Path], Callable[[int, int], None]]]:
    """A bar over the tiles of each image, on standard error."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from promptengine.cli.terminal import printable

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("tiles", total=None)

        def begin(path: Path) -> Callable[[int, int], None]:
            name = escape(printable(path.name))
            bar.reset(task, total=None, description=name)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield begin
