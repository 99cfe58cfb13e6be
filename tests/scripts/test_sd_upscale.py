"""SD upscale: tiles of an enlarged image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptengine import RequestError
from promptengine.registry.registry import Registry
from promptengine.scripts.sd_upscale import SD_UPSCALE
from tests.scripts.painter import Painter, from_image, lighter


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


def speckled(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(96, 64), (64, 64), (130, 200), (40, 36)])
def test_tiles_that_are_left_alone_join_to_the_enlarged_image(
    registry: Registry, size: tuple[int, int]
) -> None:
    image = speckled(*size)
    output = Painter().run(SD_UPSCALE, from_image(image), registry, overlap=16, upscaler="Nearest")
    (joined,) = output.images
    aim = size[0] * 2 // 8 * 8, size[1] * 2 // 8 * 8
    assert joined.image.size == aim
    enlarged = image.resize((2 * size[0], 2 * size[1]), Image.Resampling.NEAREST)
    off = np.asarray(joined.image, int) - np.asarray(enlarged.resize(aim, Image.Resampling.LANCZOS))
    # Laid over one another, two equal values may come out one lower.
    assert np.abs(off).max() <= 1


def test_none_leaves_the_size(registry: Registry) -> None:
    output = Painter(lighter).run(SD_UPSCALE, from_image(speckled(100, 70)), registry, overlap=0)
    assert output.images[0].image.size == (100, 70)


def test_seeds_grow_by_one_for_each_batch_of_tiles(registry: Registry) -> None:
    painter = Painter()
    request = from_image(speckled(64, 64), batch_size=2, batch_count=2)
    output = painter.run(SD_UPSCALE, request, registry, overlap=16, upscaler="Lanczos")
    assert [one.seed for one in painter.requests] == [
        100,
        101,
        102,
        103,
        104,
        101,
        102,
        103,
        104,
        105,
    ]
    counts = [len(one.start.images) for one in painter.requests if one.start is not None]
    assert counts == [2, 2, 2, 2, 1] * 2
    assert [one.image.size for one in output.images] == [(128, 128)] * 2
    assert dict(painter.requests[0].script_entries) == {
        "SD upscale overlap": "16",
        "SD upscale upscaler": "Lanczos",
    }


def test_a_strip_is_reduced_to_no_less_than_a_latent_cell(registry: Registry) -> None:
    request = from_image(speckled(130, 1))
    output = Painter().run(SD_UPSCALE, request, registry, upscaler="Lanczos", scale=0.09, overlap=8)
    assert output.images[0].image.size == (8, 8)


def test_transparency_is_laid_on_the_background(registry: Registry) -> None:
    output = Painter().run(SD_UPSCALE, from_image(Image.new("RGBA", (64, 64))), registry, overlap=8)
    assert output.images[0].image.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"upscaler": "nope"}, "upscaler"),
        ({"upscaler": "Latent"}, "upscaler"),
        ({"overlap": 64}, "overlap"),
        ({"overlap": -1}, "overlap"),
        ({"scale": 0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": 1e9}, "scale"),
        ({"overlap": 63, "upscaler": "Nearest", "scale": 4.0}, "overlap"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_image(
    registry: Registry, arguments: dict[str, object], field: str
) -> None:
    painter = Painter()
    with pytest.raises(RequestError) as refused:
        painter.run(SD_UPSCALE, from_image(speckled(64, 64)), registry, **arguments)
    assert refused.value.field == field
    assert painter.requests == []


def test_a_result_that_would_be_too_large_is_refused(registry: Registry) -> None:
    request = from_image(Image.new("L", (9000, 64)))
    with pytest.raises(RequestError, match="scale asks for an image of 72000x512 pixels"):
        Painter().run(SD_UPSCALE, request, registry, upscaler="Lanczos", scale=8.0, overlap=0)
