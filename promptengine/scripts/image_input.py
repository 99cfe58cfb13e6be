"""What scripts of img2img have in common: the image they start from, seeds, and how large things may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from PIL.Image import Image

from promptengine.errors import RequestError
from promptengine.images.image_grid import grid_shape, image_grid
from promptengine.request.image_start import ImageStart
from promptengine.request.options import Options
from promptengine.request.ranges import MAX_SEED
from promptengine.request.request import GenerationRequest
from promptengine.request.result import GenerationResult
from promptengine.scripts.script import ScriptContext, ScriptImage, ScriptOutput

__all__ = [
    "check_canvas",
    "check_last_seed",
    "check_tiles",
    "going_on",
    "one_start",
    "tile_size",
    "unpainted",
    "with_entries",
    "with_grid",
]

_LARGEST_SIDE: Final = 16384
_MOST_TILES: Final = 10_000
_MOST_GRID_PIXELS: Final = 1 << 28


def one_start(request: GenerationRequest, script: str) -> tuple[ImageStart, Image]:
    """Return what a request starts from, and its only image.

    Raises:
        RequestError: It starts from none, or from several.
    """
    start = request.start
    count = 0 if start is None else len(start.images)
    if start is None or count != 1:
        message = f"{script} starts from one image (got {count}); send one"
        raise RequestError(message, field="start.images")
    return start, start.images[0]


def check_last_seed(request: GenerationRequest, further: int) -> None:
    """Refuse a first seed from which a script counts too far.

    Args:
        request: With its seeds set.
        further: How far the script counts.

    Raises:
        RequestError: There are no such seeds.
    """
    last = request.seed + further + request.batch_size - 1
    if last > MAX_SEED:
        message = f"seed is {last} at the last image; it must be at most {MAX_SEED}"
        raise RequestError(message, field="seed")


def with_entries(request: GenerationRequest, **entries: object) -> GenerationRequest:
    """Return a request whose infotexts tell more; underscores of the keys are blanks there."""
    told = tuple((key.replace("_", " "), str(value)) for key, value in entries.items())
    return replace(request, script_entries=(*request.script_entries, *told))


def going_on(start: ImageStart, results: Sequence[GenerationResult]) -> ImageStart:
    """Return what to start from with the encoder's noise that WebUI draws there.

    WebUI seeds the generator of that noise with each image's seed, before the image is sampled by another
    one, so the next run of a script begins at the last image's seed.

    Args:
        start: What to start from.
        results: What the script has made so far.
    """
    return replace(start, encoder_seed=results[-1].seeds[-1]) if results else start


def tile_size(request: GenerationRequest, context: ScriptContext) -> tuple[int, int]:
    """Return width and height of what is made at once: the request's, or what is native to the model."""
    native = context.native_size
    return request.width or native, request.height or native


def check_canvas(width: int, height: int, field: str, *, most_pixels: int) -> None:
    """Refuse an image that would be too large.

    Args:
        width: In pixels.
        height: Likewise.
        field: The argument that asks for it.
        most_pixels: Of the image in all.

    Raises:
        RequestError: It is; names the argument and the limits.
    """
    if max(width, height) > _LARGEST_SIDE or width * height > most_pixels:
        message = (
            f"{field} asks for an image of {width}x{height} pixels; it must have sides of at most "
            f"{_LARGEST_SIDE} and {most_pixels} pixels in all"
        )
        raise RequestError(message, field=field)


def check_tiles(tile: tuple[int, int], overlap: int, size: tuple[int, int], field: str) -> None:
    """Refuse tiles that do not go forward, or too many of them.

    Args:
        tile: Width and height.
        overlap: Pixels that neighbors share.
        size: Of the image.
        field: The argument that says the overlap.

    Raises:
        RequestError: They cannot be used; names the argument.
    """
    if overlap >= min(tile):
        message = f"{field} must be less than both sides of a tile of {tile[0]}x{tile[1]} pixels"
        raise RequestError(f"{message} (got {overlap})", field=field)
    across, down = (
        max(-(-(length - overlap) // (side - overlap)), 1)
        for length, side in zip(size, tile, strict=True)
    )
    if across * down > _MOST_TILES:
        message = (
            f"{field} is {overlap}, which cuts {size[0]}x{size[1]} pixels into {across * down} tiles "
            f"of {tile[0]}x{tile[1]}; there may be at most {_MOST_TILES}, so ask for less overlap or "
            "larger tiles"
        )
        raise RequestError(message, field=field)


def with_grid(
    images: Sequence[Image],
    results: Sequence[GenerationResult],
    options: Options,
    *,
    rows: int | None = None,
    notes: tuple[str, ...] = (),
) -> ScriptOutput:
    """Return images with the infotext of the first result, and before several of them their grid.

    Args:
        images: At least one.
        results: All that were made, at least one.
        options: Whether a grid is wanted.
        rows: Of the grid; None is as many as make it about square.
        notes: What else to say.
    """
    told = results[0].infotexts[0]
    found = [ScriptImage(image, told) for image in images]
    if len(images) > 1 and options.return_grid:
        columns, rows = grid_shape(len(images), rows)
        width = columns * max(one.width for one in images)
        height = rows * max(one.height for one in images)
        if width * height > _MOST_GRID_PIXELS:
            notes = (*notes, f"the grid is left out: it would have {width}x{height} pixels")
        else:
            found.insert(0, ScriptImage(image_grid(images, rows), told, grid=True))
    return ScriptOutput(tuple(found), tuple(results), notes)


def unpainted(image: Image) -> ScriptOutput:
    """Return an image as it is, where a script was given no direction to paint in."""
    note = "no direction is chosen, so the image is returned as it is"
    return ScriptOutput((ScriptImage(image.convert("RGB"), ""),), (), (note,))
