"""Where regions are: ratios as the Regional Prompter extension writes them, and what a mask may be."""

from __future__ import annotations

from fractions import Fraction

import pytest
from PIL import Image

from promptengine import GenerationRequest, RequestError
from promptengine.request.regions import Region, RegionLayout, base_shares, region_boxes

COL, ROW = "ADDCOL", "ADDROW"


def boxes(
    separators: list[str], ratios: str, layout: RegionLayout = "horizontal"
) -> list[tuple[str, ...]]:
    """Boxes as fractions."""
    found = region_boxes(separators, ratios, layout)
    return [tuple(str(Fraction(side).limit_denominator(100)) for side in box) for box in found]


@pytest.mark.parametrize(
    ("separators", "ratios", "layout", "wanted"),
    [
        ([], "", "horizontal", ["0 0 1 1"]),
        ([COL], "", "horizontal", ["0 0 1/2 1", "1/2 0 1 1"]),
        ([COL], "1,3", "horizontal", ["0 0 1/4 1", "1/4 0 1 1"]),
        ([COL], "0.1, 0.3", "vertical", ["0 0 1/4 1", "1/4 0 1 1"]),
        ([ROW], "1,3", "horizontal", ["0 0 1 1/4", "0 1/4 1 1"]),
        ([ROW], "1;3", "horizontal", ["0 0 1 1/4", "0 1/4 1 1"]),
        ([ROW], "1,3", "vertical", ["0 0 1 1/4", "0 1/4 1 1"]),
        ([COL, ROW], "", "horizontal", ["0 0 1/2 1/2", "1/2 0 1 1/2", "0 1/2 1 1"]),
        ([COL, ROW], "", "vertical", ["0 0 1/2 1", "1/2 0 1 1/2", "1/2 1/2 1 1"]),
        (
            [COL, ROW, COL],
            "1,2,1;2,1,1",
            "horizontal",
            ["0 0 2/3 1/3", "2/3 0 1 1/3", "0 1/3 1/2 1", "1/2 1/3 1 1"],
        ),
        (
            [COL, COL, ROW, COL],
            "1,2,1,1;2,4,6",
            "horizontal",
            ["0 0 1/2 1/3", "1/2 0 3/4 1/3", "3/4 0 1 1/3", "0 1/3 2/5 1", "2/5 1/3 1 1"],
        ),
        ([COL, ROW], "1,3;1;4", "vertical", ["0 0 1/4 1", "1/4 0 1 1/5", "1/4 1/5 1 1"]),
    ],
)
def test_boxes(separators: list[str], ratios: str, layout: RegionLayout, wanted: list[str]) -> None:
    assert [" ".join(box) for box in boxes(separators, ratios, layout)] == wanted


@pytest.mark.parametrize(
    ("separators", "ratios"),
    [([COL], "1"), ([COL], "1,1,1"), ([COL, ROW], "1,1,1"), ([COL, ROW], "1,1;1,1"), ([], "1,2")],
)
def test_ratios_of_other_regions_are_refused_with_what_fits(
    separators: list[str], ratios: str
) -> None:
    with pytest.raises(RequestError, match="region_ratios is ") as caught:
        region_boxes(separators, ratios, "horizontal")
    fitting = str(caught.value).split("'")[3]
    assert region_boxes(separators, fitting, "horizontal") == region_boxes(
        separators, "", "horizontal"
    )


@pytest.mark.parametrize(
    "text", ["0,1", "-1", "a", "nan", "inf,1", "1e999", "1,,2", "1," * 40 + "1", "9" * 600]
)
def test_absurd_ratios_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="it must be up to 32 numbers above 0"):
        GenerationRequest(prompt="", region_ratios=text)


def test_base_ratios() -> None:
    assert base_shares("0.2", 3) == (0.2, 0.2, 0.2)
    assert base_shares("0, 1;0.5", 3) == (0, 1, 0.5)
    with pytest.raises(RequestError, match="write one number, or 3"):
        base_shares("0.1,0.2", 3)
    for text in ("", "1.1", "-0.1", "x"):
        with pytest.raises(RequestError, match="region_base_ratios"):
            GenerationRequest(prompt="", region_base_ratios=text)


def test_masks() -> None:
    with pytest.raises(RequestError, match=r"regions\.mask is 1x20000 pixels"):
        Region(mask=Image.new("L", (1, 20_000), 255), prompt="")
    with pytest.raises(RequestError, match=r"regions\.weight is 0"):
        Region(mask=Image.new("L", (8, 8), 255), prompt="", weight=0)
    with pytest.raises(RequestError, match=r"regions\.mask"):
        Region(mask="mask.png", prompt="")  # type: ignore[arg-type]
