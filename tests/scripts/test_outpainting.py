"""Outpainting mk2 and Poor man's outpainting: where images grow, and what is asked for on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from promptengine import ImageStart, Inpainting, RequestError
from promptengine.scripts.outpainting import Margins, margins_around
from promptengine.scripts.outpainting_mk2 import OUTPAINTING_MK2
from promptengine.scripts.poor_mans_outpainting import POOR_MANS_OUTPAINTING
from promptengine.scripts.script import Script
from promptengine.scripts.table import placed_arguments
from tests.scripts.painter import Painter, from_image, lighter

BOTH = pytest.mark.parametrize("script", [OUTPAINTING_MK2, POOR_MANS_OUTPAINTING])


def speckled(width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def starts(painter: Painter) -> list[ImageStart]:
    return [one.start for one in painter.requests if one.start is not None]


def inpaintings(painter: Painter) -> list[Inpainting]:
    return [one.inpainting for one in starts(painter) if one.inpainting is not None]


@pytest.mark.parametrize(
    ("size", "pixels", "directions", "margins"),
    [
        ((64, 64), 32, {"left"}, Margins(64, 0, 0, 0)),
        ((64, 64), 32, {"left", "right"}, Margins(32, 32, 0, 0)),
        ((40, 56), 24, {"left", "right"}, Margins(44, 44, 0, 0)),
        ((50, 50), 7, {"up", "down"}, Margins(0, 0, 7, 7)),
        ((45, 64), 1, {"left", "right", "down"}, Margins(9, 10, 0, 64)),
    ],
)
def test_sides_that_grow_become_multiples_of_64(
    size: tuple[int, int], pixels: int, directions: set[str], margins: Margins
) -> None:
    assert margins_around(size, pixels, frozenset(directions)) == margins


@BOTH
@pytest.mark.parametrize(
    ("direction", "size", "place"),
    [
        ("left", (128, 64), (64, 0)),
        ("right", (128, 64), (0, 0)),
        ("up", (64, 128), (0, 64)),
        ("down", (64, 128), (0, 0)),
    ],
)
def test_the_image_stays_where_it_is_and_grows_in_one_direction(
    script: Script, direction: str, size: tuple[int, int], place: tuple[int, int]
) -> None:
    image = speckled()
    request = from_image(image, width=128, height=128)
    output = Painter().run(script, request, pixels=32, mask_blur=2, directions=[direction])
    (made,) = output.images
    assert made.image.size == size
    kept = made.image.crop((*place, place[0] + 64, place[1] + 64))
    # Where a tile is laid over its neighbor, two equal values may come out one lower; noise stands below the
    # mask's blur.
    off = np.abs(np.asarray(kept, int) - np.asarray(image))[8:-8, 8:-8]
    assert off.max() <= 1


@BOTH
def test_no_direction_returns_the_image_and_says_so(script: Script) -> None:
    painter = Painter()
    output = painter.run(script, from_image(speckled()), directions=[])
    assert (painter.requests, output.results) == ([], ())
    assert output.images[0].image.tobytes() == speckled().tobytes()
    assert output.notes == ("no direction is chosen, so the image is returned as it is",)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"pixels": -8}, "pixels"),
        ({"pixels": 0}, "pixels"),
        ({"pixels": 10**9}, "pixels"),
        ({"pixels": 1.5}, "pixels"),
        ({"mask_blur": -1}, "mask_blur"),
        ({"mask_blur": 65}, "mask_blur"),
        ({"directions": ["north"]}, "directions"),
        ({"directions": "left"}, "directions"),
    ],
)
def test_bad_arguments_are_refused(
    script: Script, arguments: dict[str, object], field: str
) -> None:
    painter = Painter()
    with pytest.raises(RequestError) as refused:
        painter.run(script, from_image(speckled()), **arguments)
    assert refused.value.field == field
    assert painter.requests == []


@BOTH
@pytest.mark.parametrize("pixels", [4096, 4000])
def test_a_canvas_that_would_be_too_large_is_refused(script: Script, pixels: int) -> None:
    request = from_image(Image.new("L", (15_000, 9000)), width=8192, height=8192)
    with pytest.raises(RequestError, match="pixels asks for an image of"):
        Painter().run(script, request, pixels=pixels)


def test_tiles_of_the_poor_man_count_their_seeds_and_skip_what_is_whole() -> None:
    painter = Painter(lighter)
    request = from_image(speckled(192, 192), batch_size=2, batch_count=3)
    output = painter.run(
        POOR_MANS_OUTPAINTING, request, pixels=16, mask_blur=4, directions=["right"]
    )
    # 256x192 in tiles of 64 that share 16: 4 rows of 5 columns, of which the last two are not whole.
    assert [one.seed for one in painter.requests] == list(range(100, 108))
    assert [one.encoder_seed for one in starts(painter)] == [None, *range(100, 107)]
    assert {one.batch_size for one in painter.requests} == {1}
    assert output.notes == (
        "Poor man's outpainting makes one image; batch size and batch count are not used",
    )
    assert {one.blur for one in inpaintings(painter)} == {(8, 8)}
    last = inpaintings(painter)[-1]
    assert last.latent_mask is not None
    assert last.mask.getextrema() == last.latent_mask.getextrema() == (255, 255)


def test_masks_of_the_poor_man_differ_by_the_blur() -> None:
    painter = Painter()
    request = from_image(speckled(), width=128, height=64)
    painter.run(POOR_MANS_OUTPAINTING, request, pixels=16, mask_blur=4, directions=["left"])
    (inpainting,) = inpaintings(painter)
    assert inpainting.latent_mask is not None
    edges = [
        m.point(lambda level: 255 - level).getbbox()
        for m in (inpainting.mask, inpainting.latent_mask)
    ]
    assert [edge and edge[0] for edge in edges] == [64 + 8, 64 + 2]
    assert inpainting.content == "fill"
    assert not inpainting.only_masked


def test_masked_content_goes_by_number_or_name() -> None:
    for value, name in ((2, "latent noise"), ("original", "original")):
        assert placed_arguments(POOR_MANS_OUTPAINTING, [8, 4, value])["masked_content"] == name
    for value in (4, -1, True, "noise", 1.0):
        with pytest.raises(RequestError, match="Masked content must be"):
            placed_arguments(POOR_MANS_OUTPAINTING, [8, 4, value])


def test_an_overlap_as_large_as_a_tile_is_refused() -> None:
    with pytest.raises(RequestError, match="less than both sides of a tile of 64x64") as refused:
        Painter().run(POOR_MANS_OUTPAINTING, from_image(speckled()), pixels=64)
    assert refused.value.field == "pixels"


def test_mk2_paints_one_edge_after_the_other_with_the_same_seed() -> None:
    painter = Painter()
    request = from_image(speckled(), batch_size=2)
    output = painter.run(OUTPAINTING_MK2, request, pixels=16, mask_blur=2)
    # The height of what is painted left and right is the image's; up and down the width of the grown one.
    assert [(one.width, one.height) for one in painter.requests] == [
        (64, 64),
        (64, 64),
        (128, 64),
        (128, 64),
    ]
    assert {one.seed for one in painter.requests} == {100}
    assert {one.blur for one in inpaintings(painter)} == {(8, 8)}
    assert {one.content for one in inpaintings(painter)} == {"original"}
    assert [one.image.size for one in output.images] == [(256, 128), (128, 128), (128, 128)]
    assert [one.grid for one in output.images] == [True, False, False]


def test_mk2_blurs_only_along_what_grows() -> None:
    painter = Painter()
    painter.run(OUTPAINTING_MK2, from_image(speckled()), pixels=32, mask_blur=3, directions=["up"])
    assert inpaintings(painter)[0].blur == (0, 12)


def test_mk2_replaces_a_mask_of_the_request_and_keeps_how_it_is_painted() -> None:
    request = from_image(speckled())
    assert request.start is not None
    own = Inpainting(mask=Image.new("L", (9, 9)), inverted=True, only_masked=True, soft=True)
    request = replace(request, start=replace(request.start, inpainting=own))
    painter = Painter()
    painter.run(OUTPAINTING_MK2, request, pixels=64, mask_blur=2, directions=["up"])
    (inpainting,) = inpaintings(painter)
    assert inpainting.mask.size == (64, 64)
    assert (inpainting.inverted, inpainting.only_masked, inpainting.soft) == (False, False, True)


def test_mk2_refuses_to_go_on_from_nothing() -> None:
    painter = Painter()
    with pytest.raises(RequestError, match="leaves nothing of the image in a tile of 64x64"):
        painter.run(OUTPAINTING_MK2, from_image(speckled()), pixels=64, directions=["right"])
    request = from_image(speckled(8, 64))
    with pytest.raises(RequestError, match="mask_blur"):
        painter.run(OUTPAINTING_MK2, request, pixels=8, mask_blur=8, directions=["left"])
    assert painter.requests == []


def test_mk2_refuses_tiles_that_are_no_multiple_of_a_latent_cell() -> None:
    request = from_image(speckled(40, 64), width=128)
    with pytest.raises(RequestError, match="a tile of 84 pixels at the left edge"):
        Painter().run(
            OUTPAINTING_MK2, request, pixels=24, mask_blur=1, directions=["left", "right"]
        )


def test_mk2_paints_on_from_a_black_image() -> None:
    output = Painter().run(
        OUTPAINTING_MK2,
        from_image(Image.new("RGB", (64, 64))),
        pixels=32,
        mask_blur=2,
        directions=["left"],
    )
    assert output.images[0].image.getextrema() == ((0, 0),) * 3
