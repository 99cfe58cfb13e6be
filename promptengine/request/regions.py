"""Where the regions of a prompt are: divided by ratios as the Regional Prompter extension writes them, or masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from promptengine.errors import RequestError
from promptengine.prompt import Prompt, Regions
from promptengine.prompt.regions import MOST_REGIONS
from promptengine.request.fields import Entry, Flag, LeftOut, described, left_out, unless
from promptengine.request.in_memory import HypernetworkLike
from promptengine.request.ranges import Multiplier
from promptengine.validation import Between, check_fields, shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from promptengine.request.request import GenerationRequest

__all__ = [
    "BASE_RATIO",
    "BASE_RATIOS",
    "LAYOUT",
    "RATIOS",
    "BaseRatios",
    "RatioRule",
    "Ratios",
    "Region",
    "RegionBox",
    "RegionLayout",
    "base_shares",
    "check_regions",
    "placed_regions",
    "region_boxes",
]

RegionLayout = Literal["horizontal", "vertical"]
"""What an image is divided into first: rows, or columns. The extension's words."""

BASE_RATIO: Final = "0.2"
"""How much of a region follows the base text where nothing else is asked for; the extension's default."""

_LONGEST: Final = 500
_LARGEST: Final = 1e6
_MOST_PIXELS: Final = 16384


def _numbers(text: str) -> tuple[tuple[float, ...], ...]:
    """Read numbers with commas between, and lists of these with semicolons; ValueError where it is none."""
    return tuple(tuple(float(item) for item in line.split(",")) for line in text.split(";"))


@dataclass(frozen=True, slots=True)
class RatioRule:
    """A rule for fields: numbers with commas and semicolons between.

    Attributes:
        least: What each must be at least, or if ``above``, more than.
        most: What each may be at most.
        above: Whether the least is excluded.
        empty: Whether there may be none.
    """

    least: float
    most: float
    above: bool
    empty: bool

    @property
    def words(self) -> str:
        """What a text must be."""
        numbers = f"{'above' if self.above else 'from'} {self.least:g} up to {self.most:g}"
        return f"up to {MOST_REGIONS * 2} numbers {numbers}"

    def problem(self, value: str) -> str:
        """Say what is wrong with a text; empty if nothing is."""
        if self.empty and not value.strip():
            return ""
        problem = f"; it must be {self.words}, such as {'1,2,1;2,1' if self.above else '0.2'}"
        if len(value) > _LONGEST:
            return problem
        try:
            numbers = [number for line in _numbers(value) for number in line]
        except ValueError:
            return problem
        fits = all(
            math.isfinite(one) and self.least <= one <= self.most and not (self.above and one == 0)
            for one in numbers
        )
        return "" if fits and len(numbers) <= MOST_REGIONS * 2 else problem


Ratios = Annotated[str, RatioRule(0, _LARGEST, above=True, empty=True)]
"""Such as ``1,2`` or ``1,2,1;2,1``."""

BaseRatios = Annotated[str, RatioRule(0, 1, above=False, empty=False)]
"""Such as ``0.2`` or ``0.2,0.5``."""

_NOT_THERE: Final = LeftOut("WebUI has no regions without an extension")

RATIOS: Final[Mapping[str, object]] = described(
    "Region ratios",
    "how large the regions of ADDCOL and ADDROW are, such as 1,2 or 1,2,1;2,1 (needs the extended syntax)",
    flag=Flag("--region-ratios", "RATIOS"),
    api=_NOT_THERE,
    entry=Entry("Region ratios", str, unless("")),
    usual="equal",
    group="Regions",
)
BASE_RATIOS: Final[Mapping[str, object]] = described(
    "Region base ratios",
    "how much of each region follows the text before ADDBASE, 0 to 1, such as 0.2 or 0.2,0.5",
    flag=Flag("--region-base-ratios", "RATIOS"),
    api=_NOT_THERE,
    entry=Entry("Region base ratios", str, unless(BASE_RATIO)),
    group="Regions",
)
LAYOUT: Final[Mapping[str, object]] = described(
    "Region layout",
    "divide into rows first (horizontal), or into columns first (vertical)",
    flag=Flag("--region-layout"),
    api=_NOT_THERE,
    entry=Entry("Region layout", str, unless("horizontal")),
    group="Regions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A text that acts in a part of the image.

    Attributes:
        mask: White where it acts, gray where it does in part; resized to the image, whatever its size.
        prompt: In the request's dialect. Its hypernetworks act in the region alone; it has no ``AND``, no
            regions of its own, and no LoRAs.
        weight: How much of the region follows it: at 1 all, below 1 the rest follows the request's prompt.
            Where masks overlap, weights are in proportion.
        networks: Hypernetworks in memory with their multipliers, which act in the region behind those of the tags.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range.
    """

    mask: Image = field(
        metadata=described(
            "Mask",
            "white where the text acts",
            flag=LeftOut("an option of its own, with the text"),
            api=_NOT_THERE,
            entry=LeftOut("no infotext holds an image"),
        )
    )
    prompt: str = field(
        metadata=described(
            "Prompt",
            "what acts there, tags of hypernetworks included",
            flag=LeftOut("an option of its own, with the mask"),
            api=_NOT_THERE,
            entry=LeftOut("told with the mask"),
            control="prompt",
        )
    )
    weight: Annotated[float, Between(0.01, 100)] = field(
        default=1.0,
        metadata=described(
            "Weight",
            "how much of the region follows it; the rest follows the prompt",
            flag=LeftOut("1 there"),
            api=_NOT_THERE,
            entry=LeftOut("told with the mask"),
        ),
    )
    networks: tuple[tuple[HypernetworkLike, Multiplier], ...] = field(
        default=(), repr=False, metadata=left_out("objects in memory cannot travel")
    )

    def __post_init__(self) -> None:
        from PIL.Image import Image

        check_fields(self, "regions.", Image=Image)
        width, height = self.mask.size
        if not (0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS):
            message = f"regions.mask is {width}x{height} pixels; it must be 1 to {_MOST_PIXELS} on each side"
            raise RequestError(message, field="regions.mask")
        if self.mask.convert("L").getextrema()[1] == 0:
            message = "regions.mask is black everywhere; it must be white where the text acts"
            raise RequestError(message, field="regions.mask")


def check_regions(regions: Sequence[Region]) -> None:
    """Refuse more regions than a request may have.

    Raises:
        RequestError: There are too many.
    """
    if len(regions) > MOST_REGIONS:
        message = f"regions are {len(regions)}; they must be up to {MOST_REGIONS}"
        raise RequestError(message, field="regions")


class RegionBox(NamedTuple):
    """The place of a region, in shares of the image's width and height."""

    left: float
    top: float
    right: float
    bottom: float


def region_boxes(
    separators: Sequence[str], ratios: str, layout: RegionLayout
) -> tuple[RegionBox, ...]:
    """Return where the regions of a prompt are, in the order of their texts.

    ``horizontal`` splits texts into rows at ``ADDROW`` and rows into columns at ``ADDCOL``. Ratios are those of
    rows with ``;`` between, each the row's height and then, where it has several, the widths of its columns:
    ``1,2,1;2,1``. Where there are columns alone or rows alone, they are a plain list: ``1,2``. ``vertical``
    splits into columns first, with ``,`` between, and ``;`` within: ``1;2;1,2;1``.

    Args:
        separators: Between the texts: ``ADDCOL`` or ``ADDROW``.
        ratios: As the request has them; empty for equal ones.
        layout: What the image is divided into first.

    Raises:
        RequestError: The ratios are of other regions than the texts.
    """
    outer = "ADDROW" if layout == "horizontal" else "ADDCOL"
    cells = [1]
    for separator in separators:
        if separator == outer:
            cells.append(1)
        else:
            cells[-1] += 1
    lines, shares = _shares(cells, ratios, layout)
    boxes: list[RegionBox] = []
    for (start, end), some in zip(_ranges(lines), shares, strict=True):
        for first, last in _ranges(some):
            across = RegionBox(first, start, last, end)
            boxes.append(across if layout == "horizontal" else RegionBox(start, first, end, last))
    return tuple(boxes)


def _shares(
    cells: Sequence[int], ratios: str, layout: RegionLayout
) -> tuple[Sequence[float], Sequence[Sequence[float]]]:
    """Return how large lines are, and how large the cells of each."""
    equal = [[1.0] * count for count in cells]
    if not ratios.strip():
        return [1.0] * len(cells), equal
    flat = "," not in ratios or ";" not in ratios
    numbers = [number for line in _numbers(ratios) for number in line]
    if flat and len(cells) == 1 and len(numbers) == cells[0]:
        return [1.0], [numbers]
    if flat and set(cells) == {1} and len(numbers) == len(cells):
        return numbers, equal
    between, within = (";", ",") if layout == "horizontal" else (",", ";")
    lines = [[float(item) for item in line.split(within)] for line in ratios.split(between)]
    fits = [
        len(line) == count + 1 or (len(line) == count == 1)
        for line, count in zip(lines, cells, strict=False)
    ]
    if len(cells) == 1 or len(lines) != len(cells) or not all(fits):
        raise _misfit(cells, ratios, layout)
    return [line[0] for line in lines], [line[1:] or [1.0] for line in lines]


def _misfit(cells: Sequence[int], ratios: str, layout: RegionLayout) -> RequestError:
    between, within = (";", ",") if layout == "horizontal" else (",", ";")
    if len(cells) == 1 or set(cells) == {1}:
        fitting = ",".join(["1"] * sum(cells))
    else:
        fitting = between.join(
            within.join(["1"] * (count + 1 if count > 1 else 1)) for count in cells
        )
    what = "rows" if layout == "horizontal" else "columns"
    message = f"region_ratios is {shown(ratios)}, but the prompt has {sum(cells)} regions in {len(cells)} {what}"
    return RequestError(
        f"{message}; write such as {fitting!r}, or leave it empty", field="region_ratios"
    )


def _ranges(shares: Sequence[float]) -> list[tuple[float, float]]:
    whole = sum(shares)
    return list(pairwise([0.0, *(end / whole for end in accumulate(shares))]))


def base_shares(ratios: str, regions: int) -> tuple[float, ...]:
    """Return how much of each region follows the base text.

    Args:
        ratios: As the request has them.
        regions: How many there are.

    Raises:
        RequestError: There is neither one number nor one for each.
    """
    numbers = [number for line in _numbers(ratios) for number in line]
    if len(numbers) not in (1, regions):
        message = f"region_base_ratios is {shown(ratios)}, but the prompt has {regions} regions"
        raise RequestError(f"{message}; write one number, or {regions}", field="region_base_ratios")
    return tuple(numbers * regions if len(numbers) == 1 else numbers)


Place = tuple[tuple[RegionBox, ...], tuple[float, ...] | None]


def placed_regions(prompt: Prompt, request: GenerationRequest) -> tuple[Place | None, ...]:
    """Return for each operand of ``AND`` where its regions are, and how much of each follows the base text.

    Args:
        prompt: As parsed.
        request: With the ratios.

    Raises:
        RequestError: There are too many regions, or ratios do not fit them.
    """
    return tuple(
        None if part.regions is None else _placed(part.regions, request) for part in prompt.parts
    )


def _placed(regions: Regions, request: GenerationRequest) -> Place:
    if regions.count > MOST_REGIONS:
        message = f"the prompt has {regions.count} regions; it must have up to {MOST_REGIONS}"
        raise RequestError(message, field="prompt")
    boxes = region_boxes(regions.separators, request.region_ratios, request.region_layout)
    base = None
    if regions.base is not None:
        base = base_shares(request.region_base_ratios, regions.count)
    return boxes, base
