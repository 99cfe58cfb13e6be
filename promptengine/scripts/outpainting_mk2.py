"""Outpainting mk2: beyond an image's edges, one edge after the other, from noise that looks like the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from PIL import Image

from promptengine.errors import RequestError
from promptengine.images.matched_noise import fill_with_noise
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.ranges import LATENT_SCALE
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.request.result import GenerationResult
from promptengine.scripts.image_input import (
    check_canvas,
    check_last_seed,
    going_on,
    one_start,
    tile_size,
    unpainted,
    with_grid,
)
from promptengine.scripts.outpainting import (
    DIRECTION_ARGUMENT,
    DIRECTIONS,
    Box,
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
    ScriptRun,
    ScriptStep,
)

__all__ = ["OUTPAINTING_MK2"]

_MOST_PIXELS: Final = 1 << 24
"""Of a canvas, of which noise is made in double precision."""


@dataclass(frozen=True, slots=True, eq=False)
class _Edge:
    """What is painted at one edge.

    Attributes:
        size: Width and height of the image afterwards.
        place: Where the image before lies in it.
        unknown: In mode L and of the canvas's size: 255 where the noise goes.
        tile: Left, top, right and bottom of what is painted on the canvas; the last two are outside.
        latent_mask: In mode L and of the tile's size: 255 where the sampler paints.
    """

    size: tuple[int, int]
    place: tuple[int, int]
    unknown: Image.Image
    tile: Box
    latent_mask: Image.Image


def _run(
    request: GenerationRequest, arguments: ScriptArguments, context: ScriptContext
) -> ScriptRun:
    pixels, blur = arguments["pixels"], arguments["mask_blur"]
    falloff, variation = arguments["falloff"], arguments["color_variation"]
    directions = frozenset(cast("tuple[str, ...]", arguments["directions"]))
    assert isinstance(pixels, int)
    assert isinstance(blur, int)
    assert isinstance(falloff, float)
    assert isinstance(variation, float)
    start, original = one_start(request, OUTPAINTING_MK2.name)
    if not directions:
        return unpainted(original)
    blurs = _blurs(blur, directions)
    edges = list(_edges(original.size, tile_size(request, context), pixels, blurs, directions))
    base = replace(
        start.inpainting or Inpainting(mask=original),
        inverted=False,
        only_masked=False,
        content="original",
        blur=(4 * blurs[0], 4 * blurs[1]),
    )
    plain = with_seeds(replace(request, batch_count=1))
    check_last_seed(plain, 0)
    results: list[GenerationResult] = []
    finished: list[Image.Image] = []
    for _ in range(request.batch_count):
        images = [original.convert("RGB")] * request.batch_size
        for edge in edges:
            canvases = [
                fill_with_noise(
                    _placed(image, edge), edge.unknown, falloff=falloff, color_variation=variation
                )
                for image in images
            ]
            again = going_on(_edge_start(start, base, edge, canvases), results)
            width, height = edge.latent_mask.size
            asked = replace(plain, width=width, height=height, start=again)
            (result,) = yield ScriptStep((asked,))
            results.append(result)
            images = [_finished(*pair, edge) for pair in zip(canvases, result.images, strict=True)]
        finished.extend(images)
    return with_grid(finished, results, request.options)


def _blurs(blur: int, directions: frozenset[str]) -> tuple[int, int]:
    """Return the mask's blur across and down: only along axes that grow."""
    return (
        blur if directions & {"left", "right"} else 0,
        blur if directions & {"up", "down"} else 0,
    )


def _edges(
    size: tuple[int, int],
    limits: tuple[int, int],
    pixels: int,
    blurs: tuple[int, int],
    directions: frozenset[str],
) -> Iterator[_Edge]:
    """Plan what is painted at each edge.

    Raises:
        RequestError: Something becomes too large, or leaves nothing to go on from.
    """
    margins = margins_around(size, pixels, directions)
    for direction in DIRECTIONS:
        if direction in directions:
            edge = _edge(size, limits, direction, getattr(margins, direction), blurs)
            size = edge.size
            yield edge


def _edge(
    size: tuple[int, int],
    limits: tuple[int, int],
    direction: str,
    added: int,
    blurs: tuple[int, int],
) -> _Edge:
    axis = 0 if direction in ("left", "right") else 1
    before = direction in ("left", "up")

    def along(value: int, other: int) -> tuple[int, int]:
        return (value, other) if axis == 0 else (other, value)

    grown = along(size[axis] + added, size[1 - axis])
    canvas = rounded_up(grown[0]), rounded_up(grown[1])
    check_canvas(*canvas, "pixels", most_pixels=_MOST_PIXELS)
    length = min(limits[axis], grown[axis])
    if length % LATENT_SCALE:
        message = (
            f"pixels of {added} make a tile of {length} pixels at the {direction} edge; it must be a multiple "
            f"of {LATENT_SCALE}: choose other pixels or a smaller image size"
        )
        raise RequestError(message, field="pixels")
    tile = along(length, canvas[1 - axis])
    first = 0 if before else canvas[axis] - length
    corner = along(first, 0)

    def kept(within: tuple[int, int], inset: int) -> Box:
        """Return what is known, the latter end inside, as WebUI draws it."""
        begin = along(added + inset if before else 0, 0)
        end = grown if before else along(within[axis] - added - inset, grown[1 - axis])
        return (*begin, *end)

    return _Edge(
        grown,
        along(added if before else 0, 0),
        _known(mask_around(canvas, kept(canvas, blurs[axis]), "pixels")),
        (*corner, corner[0] + tile[0], corner[1] + tile[1]),
        mask_around(tile, kept(tile, 2 * blurs[axis]), "pixels"),
    )


def _known(unknown: Image.Image) -> Image.Image:
    """Return a mask of noise that leaves something of the image.

    Raises:
        RequestError: It does not, so there is nothing that noise could be like.
    """
    if unknown.getextrema() == (255, 255):
        message = "mask_blur covers the whole image; it must be less than both of its sides"
        raise RequestError(message, field="mask_blur")
    return unknown


def _placed(image: Image.Image, edge: _Edge) -> Image.Image:
    canvas = Image.new("RGB", edge.unknown.size)
    canvas.paste(image, edge.place)
    return canvas


def _edge_start(
    start: ImageStart, base: Inpainting, edge: _Edge, canvases: Sequence[Image.Image]
) -> ImageStart:
    inpainting = replace(base, mask=edge.unknown.crop(edge.tile), latent_mask=edge.latent_mask)
    images = tuple(canvas.crop(edge.tile) for canvas in canvases)
    return replace(start, images=images, inpainting=inpainting)


def _finished(canvas: Image.Image, painted: Image.Image, edge: _Edge) -> Image.Image:
    canvas.paste(painted, edge.tile[:2])
    return canvas.crop((0, 0, *edge.size))


OUTPAINTING_MK2: Final = Script(
    "Outpainting mk2",
    (
        ScriptArgument("information", "", ""),
        ScriptArgument("pixels", "Pixels to expand", 128, 1, 4096, help="at each of the edges"),
        ScriptArgument("mask_blur", "Mask blur", 8, 0, 64, help="pixels that old and new share"),
        DIRECTION_ARGUMENT,
        ScriptArgument(
            "falloff",
            "Fall-off exponent (lower=higher detail)",
            1.0,
            0,
            4,
            help="how fast the noise loses its fine parts",
        ),
        ScriptArgument(
            "color_variation",
            "Color variation",
            0.05,
            0,
            1,
            help="how far the noise's colors may leave the image's",
        ),
    ),
    IMG2IMG,
    _run,
)
"""Arguments in the order of WebUI's page. The request's size bounds what is painted at once along an axis."""
