"""Poor man's outpainting: beyond an image's edges, tile by tile, from what inpainting fills in by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from PIL import Image

from promptengine.request.image_start import ImageStart, Inpainting, MaskedContent
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.image_input import (
    check_canvas,
    check_last_seed,
    check_tiles,
    going_on,
    one_start,
    tile_size,
    unpainted,
)
from promptengine.scripts.outpainting import (
    DIRECTION_ARGUMENT,
    Margins,
    margins_around,
    mask_around,
    rounded_up,
)
from promptengine.scripts.script import (
    IMG2IMG,
    Script,
    ScriptArgument,
    ScriptArguments,
    ScriptContext,
    ScriptImage,
    ScriptOutput,
    ScriptRun,
    ScriptStep,
)
from promptengine.super_resolution.tile_grid import TileGrid

__all__ = ["POOR_MANS_OUTPAINTING"]

_MOST_PIXELS: Final = 1 << 27
"""Of the canvas."""


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """An image within the room that is to be painted.

    Attributes:
        image: RGB, black where there is nothing yet.
        mask: In mode L, 255 where results are to show.
        latent_mask: Likewise, where the sampler paints.
        kept: Left, top, right and bottom of the original; the last two are outside.
    """

    image: Image.Image
    mask: Image.Image
    latent_mask: Image.Image
    kept: tuple[int, int, int, int]


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    pixels, blur = arguments["pixels"], arguments["mask_blur"]
    content = cast("MaskedContent", arguments["masked_content"])
    directions = frozenset(cast("tuple[str, ...]", arguments["directions"]))
    assert isinstance(pixels, int)
    assert isinstance(blur, int)
    start, original = one_start(request, POOR_MANS_OUTPAINTING.name)
    if not directions:
        return unpainted(original)
    margins = margins_around(original.size, pixels, directions)
    size = _canvas_size(original.size, margins)
    tile = tile_size(request, context)
    check_canvas(*size, "pixels", most_pixels=_MOST_PIXELS)
    check_tiles(tile, pixels, size, "pixels")
    canvas = _canvas(original, size, margins, blur)
    grid = TileGrid.covering(size, tile, pixels)
    base = replace(
        start.inpainting or Inpainting(mask=canvas.mask),
        inverted=False,
        only_masked=False,
        content=content,
        blur=(2 * blur, 2 * blur),
    )
    plain = with_seeds(replace(request, width=tile[0], height=tile[1], batch_size=1, batch_count=1))
    boxes = [box for box in grid.boxes() if not _within(box, canvas.kept)]
    check_last_seed(plain, len(boxes) - 1)
    results: list[GenerationResult] = []
    for number, box in enumerate(boxes):
        again = going_on(_tile_start(start, base, canvas, box), results)
        (result,) = yield ScriptStep((replace(plain, start=again, seed=plain.seed + number),))
        results.append(result)
    image = grid.join(_tiles(grid, canvas, results))
    return ScriptOutput(
        (ScriptImage(image, results[0].infotexts[0]),), tuple(results), _notes(request)
    )


def _canvas_size(size: tuple[int, int], margins: Margins) -> tuple[int, int]:
    """Return multiples of 64, also of a side that does not grow: the rest of it stays black, as in WebUI."""
    return (
        rounded_up(size[0] + margins.left + margins.right),
        rounded_up(size[1] + margins.up + margins.down),
    )


def _canvas(original: Image.Image, size: tuple[int, int], margins: Margins, blur: int) -> _Canvas:
    image = Image.new("RGB", size)
    image.paste(original.convert("RGB"), (margins.left, margins.up))
    left, top, right, bottom = edges = (
        *(margins.left, margins.up),
        *(size[0] - margins.right, size[1] - margins.down),
    )

    def inner(inset: int) -> tuple[int, int, int, int]:
        return (
            left + (inset if margins.left else 0),
            top + (inset if margins.up else 0),
            right - (inset if margins.right else 0),
            bottom - (inset if margins.down else 0),
        )

    mask, latent_mask = (
        mask_around(size, inner(inset), "mask_blur") for inset in (2 * blur, blur // 2)
    )
    return _Canvas(image, mask, latent_mask, edges)


def _within(box: tuple[int, int, int, int], kept: tuple[int, int, int, int]) -> bool:
    """Return whether a tile has nothing to paint."""
    return box[0] >= kept[0] and box[1] >= kept[1] and box[2] <= kept[2] and box[3] <= kept[3]


def _tile_start(
    start: ImageStart, base: Inpainting, canvas: _Canvas, box: tuple[int, int, int, int]
) -> ImageStart:
    inpainting = replace(base, mask=canvas.mask.crop(box), latent_mask=canvas.latent_mask.crop(box))
    return replace(start, images=(canvas.image.crop(box),), inpainting=inpainting)


def _tiles(
    grid: TileGrid, canvas: _Canvas, results: list[GenerationResult]
) -> Iterator[Image.Image]:
    """Yield all tiles of a grid: those that were painted, and the original where nothing was."""
    painted = iter(results)
    for box in grid.boxes():
        if _within(box, canvas.kept):
            yield canvas.image.crop(box)
        else:
            yield next(painted).images[0]


def _notes(request: GenerationRequest) -> tuple[str, ...]:
    if request.batch_size == request.batch_count == 1:
        return ()
    name = POOR_MANS_OUTPAINTING.name
    return (f"{name} makes one image; batch size and batch count are not used",)


POOR_MANS_OUTPAINTING: Final = Script(
    "Poor man's outpainting",
    (
        ScriptArgument("pixels", "Pixels to expand", 128, 1, 4096, help="at each of the edges"),
        ScriptArgument("mask_blur", "Mask blur", 4, 0, 64, help="pixels that old and new share"),
        ScriptArgument(
            "masked_content",
            "Masked content",
            "fill",
            choices=get_args(MaskedContent),
            numbered=True,
            help="what the new room holds before it is painted",
        ),
        DIRECTION_ARGUMENT,
    ),
    IMG2IMG,
    _run,
)
"""Arguments in the order of WebUI's page. The request's size is that of the tiles."""
