"""Images enlarged after they were made: what is done, said and refused."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from promptengine import RequestError
from promptengine.images.postprocess import Postprocess, encode_postprocessed
from promptengine.images.upscalers import PixelUpscaler, find_pixel_upscaler

LANCZOS, NEAREST, NONE = map(find_pixel_upscaler, ("Lanczos", "Nearest", "None"))
IMAGE = Image.new("RGB", (20, 10), "red")


def test_nothing_is_done_where_the_first_upscaler_is_none() -> None:
    assert Postprocess(NONE, second=LANCZOS, visibility=1).apply(IMAGE) == (IMAGE, "")


@pytest.mark.parametrize("second", [None, NONE, NEAREST])
def test_a_second_one_shows_only_as_far_as_it_is_visible(second: PixelUpscaler | None) -> None:
    _, told = Postprocess(LANCZOS, second=second, visibility=0.0).apply(IMAGE)
    assert told == "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
    made, told = Postprocess(LANCZOS, second=second, visibility=0.5, scale=3).apply(IMAGE)
    assert made.size == (56, 24)
    shown = second is NEAREST
    assert told == "Postprocess upscale by: 3.0, Postprocess upscaler: Lanczos" + (
        ", Postprocess upscaler 2: Nearest" if shown else ""
    )


def test_a_size_is_covered_and_what_is_over_is_cut() -> None:
    made, told = Postprocess(LANCZOS, size=(64, 64)).apply(IMAGE)
    assert made.size == (64, 64)
    assert told == (
        "Postprocess upscale to: 64x64, Postprocess crop to: 64x64, Postprocess upscaler: Lanczos"
    )
    made, told = Postprocess(LANCZOS, size=(64, 64), crop=False).apply(IMAGE)
    assert made.size == (128, 64)
    assert told == "Postprocess upscale to: 64x64, Postprocess upscaler: Lanczos"


@pytest.mark.parametrize(
    ("mode", "made"), [("RGBA", "RGBA"), ("L", "L"), ("P", "RGB"), ("LA", "RGBA"), ("1", "RGB")]
)
def test_every_mode_can_be_enlarged(mode: str, made: str) -> None:
    image = Image.new(mode, (16, 16))
    assert Postprocess(LANCZOS, second=NEAREST, visibility=0.5).apply(image)[0].mode == made


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scale": 0}, "upscaling_resize"),
        ({"scale": 9}, "upscaling_resize"),
        ({"scale": float("nan")}, "upscaling_resize"),
        ({"size": (0, 5)}, "upscaling_resize_w"),
        ({"size": (5, 20_000)}, "upscaling_resize_h"),
        ({"visibility": 1.5}, "extras_upscaler_2_visibility"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError, match=f"{field} is .*; it must be") as refused:
        Postprocess(LANCZOS, **changes)
    assert refused.value.field == field


def test_a_png_says_what_was_done_and_what_it_said_before() -> None:
    data = encode_postprocessed(IMAGE, "Postprocess upscale by: 2.0", "a cat\nSteps: 5")
    with Image.open(BytesIO(data)) as image:
        image.load()
        assert image.info["parameters"] == "a cat\nSteps: 5"
        assert image.info["postprocessing"] == "Postprocess upscale by: 2.0"
    with Image.open(BytesIO(encode_postprocessed(Image.new("CMYK", (3, 3)), ""))) as image:
        assert "parameters" not in image.info
