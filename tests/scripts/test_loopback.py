"""Loopback: each image is made of the last one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import Image

from promptengine import GenerationRequest, ImageStart, Inpainting, Options, RequestError
from promptengine.scripts.loopback import LOOPBACK, loop_strength
from promptengine.scripts.table import placed_arguments
from tests.scripts.painter import Painter, from_image, lighter

IMAGE = Image.new("RGB", (64, 64), (10, 20, 30))


@pytest.mark.parametrize("curve", ["Linear", "Aggressive", "Lazy"])
@pytest.mark.parametrize("final", [0.9, 0.1])
def test_every_curve_goes_from_the_first_strength_to_the_final_one(
    curve: str, final: float
) -> None:
    found = [loop_strength(0.5, final, curve, loop, 5) for loop in range(5)]
    assert (found[0], found[-1]) == (pytest.approx(0.5), pytest.approx(final))
    steps = [abs(b - a) for a, b in pairwise(found)]
    linear = abs(final - 0.5) / 4
    assert (steps[0] > linear + 0.01) == (curve == "Aggressive")
    assert (steps[0] < linear - 0.01) == (curve == "Lazy")


def test_one_loop_has_the_first_strength() -> None:
    assert loop_strength(0.4, 0.9, "Linear", 0, 1) == 0.4


def test_each_loop_starts_from_the_last_image() -> None:
    painter = Painter(lighter)
    output = painter.run(LOOPBACK, from_image(IMAGE), loops=3, final_strength=0.8)
    assert [one.image.getpixel((0, 0)) for one in output.images[1:]] == [
        (11, 21, 31),
        (12, 22, 32),
        (13, 23, 33),
    ]
    assert [request.seed for request in painter.requests] == [100, 101, 102]
    starts = [request.start for request in painter.requests if request.start is not None]
    assert [start.denoising_strength for start in starts] == pytest.approx([0.4, 0.6, 0.8])
    # The encoder's noise goes on from the last image's seed.
    assert [start.encoder_seed for start in starts] == [None, 100, 101]
    assert all(start.color_reference is IMAGE for start in starts)
    grid = output.images[0]
    assert (grid.grid, grid.image.size) == (True, (192, 64))
    assert grid.image.getpixel((191, 0)) == (13, 23, 33)


def test_every_batch_begins_anew_and_only_its_last_image_is_returned() -> None:
    painter = Painter(lighter)
    output = painter.run(LOOPBACK, from_image(IMAGE, batch_count=2), loops=3)
    assert [one.image.getpixel((0, 0)) for one in output.images[1:]] == [(13, 23, 33)] * 2
    assert [request.seed for request in painter.requests] == list(range(100, 106))
    assert len(output.results) == 6


def test_what_is_masked_is_filled_once_and_then_painted_on() -> None:
    request = from_image(IMAGE)
    assert request.start is not None
    masked = Inpainting(mask=Image.new("L", (64, 64), 255), content="latent noise")
    request = replace(request, start=replace(request.start, inpainting=masked), batch_count=2)
    painter = Painter()
    painter.run(LOOPBACK, request, loops=2)
    contents = [one.start.inpainting.content for one in painter.requests]  # type: ignore[union-attr]
    assert contents == ["latent noise", "original"] * 2


def test_a_batch_size_is_not_used_and_said() -> None:
    painter = Painter()
    output = painter.run(LOOPBACK, from_image(IMAGE, batch_size=3), loops=1)
    assert [request.batch_size for request in painter.requests] == [1]
    assert output.notes == ("Loopback makes one image at a time; the batch size is not used",)


def test_no_grid_is_returned_where_none_is_wanted() -> None:
    request = from_image(IMAGE, options=Options(return_grid=False))
    output = Painter().run(LOOPBACK, request, loops=2)
    assert [one.grid for one in output.images] == [False, False]


def test_a_seed_left_open_is_drawn_once() -> None:
    painter = Painter()
    painter.run(LOOPBACK, from_image(IMAGE, seed=-1), loops=3)
    first = painter.requests[0].seed
    assert first >= 0
    assert [request.seed for request in painter.requests] == [first, first + 1, first + 2]


def test_what_it_cannot_start_from_is_refused() -> None:
    with pytest.raises(RequestError, match=r"Loopback starts from one image \(got 0\)"):
        Painter().run(LOOPBACK, GenerationRequest(prompt="sea"))
    start = ImageStart(images=(IMAGE, IMAGE))
    with pytest.raises(RequestError, match=r"\(got 2\)"):
        Painter().run(LOOPBACK, GenerationRequest(prompt="sea", batch_size=2, start=start))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([0], "loops"),
        ([2, 1.5], "final_strength"),
        ([2, 0.5, "Steep"], "curve"),
        ([2, 0.5, "Linear", "CLIP"], "interrogator"),
        ([2, 0.5, 1], "curve"),
    ],
)
def test_bad_arguments_are_refused(values: list[object], field: str) -> None:
    with pytest.raises(RequestError) as refused:
        placed_arguments(LOOPBACK, values)
    assert refused.value.field == field


def test_seeds_that_run_out_are_refused_before_the_first_image() -> None:
    painter = Painter()
    with pytest.raises(RequestError, match="seed is 18446744073709551616"):
        painter.run(LOOPBACK, from_image(IMAGE, seed=2**64 - 2), loops=3)
    assert painter.requests == []
