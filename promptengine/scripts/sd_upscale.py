"""SD upscale: an image is enlarged, and painted over tile by tile."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.image_input import (
    check_canvas,
    check_last_seed,
    check_tiles,
    going_on,
    one_start,
    tile_size,
    with_entries,
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

if TYPE_CHECKING:
    from PIL.Image import Image

    from promptengine.images.upscalers import PixelUpscaler

__all__ = ["SD_UPSCALE"]

_MOST_PIXELS: Final = 1 << 27
"""Of the enlarged image."""


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    name, overlap, scale = arguments["upscaler"], arguments["overlap"], arguments["scale"]
    assert isinstance(name, str)
    assert isinstance(overlap, int)
    assert isinstance(scale, float)
    start, original = one_start(request, SD_UPSCALE.name)
    upscaler = _find_upscaler(name, request, context)
    tile = tile_size(request, context)
    growth = 1 if upscaler.enlarge is None else scale
    width, height = ceil(original.width * growth), ceil(original.height * growth)
    check_canvas(width, height, "scale", most_pixels=_MOST_PIXELS)
    check_tiles(tile, overlap, (width, height), "overlap")
    image = _enlarged(original, request, upscaler, scale)
    grid = TileGrid.covering(image.size, tile, overlap)
    batches = ceil(len(grid) / request.batch_size)
    plain = with_entries(
        with_seeds(replace(request, width=tile[0], height=tile[1], batch_count=1)),
        SD_upscale_overlap=overlap,
        SD_upscale_upscaler=upscaler.name,
    )
    check_last_seed(plain, request.batch_count + batches - 2)
    boxes = grid.boxes()
    results: list[GenerationResult] = []
    joined: list[Image] = []
    for count in range(request.batch_count):
        painted: list[Image] = []
        for batch in range(batches):
            taken = boxes[batch * request.batch_size : (batch + 1) * request.batch_size]
            again = replace(start, images=tuple(image.crop(box) for box in taken))
            again = going_on(again, results)
            asked = replace(plain, start=again, seed=plain.seed + count + batch)
            (result,) = yield ScriptStep((asked,))
            results.append(result)
            painted.extend(result.images)
        joined.append(grid.join(painted))
    told = results[0].infotexts[0]
    return ScriptOutput(tuple(ScriptImage(one, told) for one in joined), tuple(results))


def _find_upscaler(name: str, request: GenerationRequest, context: ScriptContext) -> PixelUpscaler:
    """Look an upscaler up, its network included; upper and lower case are alike, as in WebUI."""
    from promptengine.images.upscaler_cache import UpscalerCache
    from promptengine.images.upscalers import pixel_upscalers

    known = {one.lower(): one for one in reversed(pixel_upscalers(context.registry))}
    found = known.get(name.lower(), name)
    return UpscalerCache(context.registry, context.device).find_pixel(found, request.options)


def _enlarged(
    image: Image, request: GenerationRequest, upscaler: PixelUpscaler, scale: float
) -> Image:
    from promptengine.checkpoints.vae_codec import flatten_alpha
    from promptengine.images.resize import upscale_image

    image = flatten_alpha(image, request.options.background_color)
    return image if upscaler.enlarge is None else upscale_image(image, scale, upscaler)


SD_UPSCALE: Final = Script(
    "SD upscale",
    (
        ScriptArgument("information", "", ""),
        ScriptArgument(
            "overlap", "Tile overlap", 64, 0, 4096, help="pixels that neighboring tiles share"
        ),
        ScriptArgument(
            "upscaler",
            "Upscaler",
            "None",
            help="what enlarges the image before its tiles are painted over",
            listed="pixel_upscalers",
        ),
        ScriptArgument("scale", "Scale Factor", 2.0, 0.05, 8, help="how much larger it gets"),
    ),
    IMG2IMG,
    _run,
)
"""Arguments in the order of WebUI's page. The request's size is that of the tiles."""
