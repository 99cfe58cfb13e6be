"""How a finished image is enlarged: WebUI's extras."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, get_args

from promptengine.errors import RequestError
from promptengine.request.fields import ApiField, LeftOut, described
from promptengine.request.ranges import Share
from promptengine.validation import Between, check_fields

__all__ = ["GREATEST_SCALE", "LARGEST_SIDE", "ScaleMode", "UpscaleRequest"]

GREATEST_SCALE: Final = 8.0
"""How many times the sides of an image may grow."""

LARGEST_SIDE: Final = 16384
"""Pixels of a side to enlarge to."""

ScaleMode = Literal["scale by", "scale to"]
"""Whether sides grow by a factor, or to a size. WebUI's modes 0 and 1."""

_NO_FLAG: Final = LeftOut("the command enlarges no finished images")
_NO_ENTRY: Final = LeftOut("said in the text beside the infotext")

_Side = Annotated[int, Between(1, LARGEST_SIDE)]


def _mode(number: int) -> str:
    modes = get_args(ScaleMode)
    if not 0 <= number < len(modes):
        message = f"resize_mode must be 0 to {len(modes) - 1} (got {number})"
        raise RequestError(message, field="resize_mode")
    return modes[number]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleRequest:
    """How a finished image is enlarged.

    Attributes:
        upscaler_1: Name of what enlarges it; ``None`` leaves it as it is.
        upscaler_2: Name of what enlarges it as well, to be laid over the first result; ``None`` for nothing.
        visibility: How much of the second result shows.
        mode: Whether ``scale`` or ``width`` and ``height`` count.
        scale: How many times its sides grow.
        width: Of the size to cover, in pixels.
        height: Likewise.
        crop: Whether what of the covering image is over is cut off, evenly at both ends.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    upscaler_1: str = field(
        default="Lanczos",
        metadata=described(
            "Upscaler 1",
            "what enlarges the image; None leaves it as it is",
            flag=_NO_FLAG,
            api=ApiField({"upscaler_1": "None"}),
            entry=_NO_ENTRY,
            choices="upscalers",
        ),
    )
    upscaler_2: str = field(
        default="None",
        metadata=described(
            "Upscaler 2",
            "what enlarges it as well, to be laid over the first result",
            flag=_NO_FLAG,
            api=ApiField({"upscaler_2": "None"}),
            entry=_NO_ENTRY,
            choices="upscalers",
        ),
    )
    visibility: Share = field(
        default=0.0,
        metadata=described(
            "Upscaler 2 visibility",
            "how much of the second result shows, 0 to 1",
            flag=_NO_FLAG,
            api=ApiField({"extras_upscaler_2_visibility": 0.0}),
            entry=_NO_ENTRY,
        ),
    )
    mode: ScaleMode = field(
        default="scale by",
        metadata=described(
            "Scale",
            "by a factor, or to a size",
            flag=_NO_FLAG,
            api=ApiField(
                {"resize_mode": 0}, _mode, lambda mode: (get_args(ScaleMode).index(mode),)
            ),
            entry=_NO_ENTRY,
            labels=("Scale by", "Scale to"),
        ),
    )
    scale: Annotated[float, Between(0.01, GREATEST_SCALE)] = field(
        default=4.0,
        metadata=described(
            "Resize",
            "how many times the sides grow",
            flag=_NO_FLAG,
            api=ApiField({"upscaling_resize": 2.0}),
            entry=_NO_ENTRY,
            control="slider",
        ),
    )
    width: _Side = field(
        default=1024,
        metadata=described(
            "Width",
            "of the size to cover, in pixels",
            flag=_NO_FLAG,
            api=ApiField({"upscaling_resize_w": 512}),
            entry=_NO_ENTRY,
        ),
    )
    height: _Side = field(
        default=1024,
        metadata=described(
            "Height",
            "of the size to cover, in pixels",
            flag=_NO_FLAG,
            api=ApiField({"upscaling_resize_h": 512}),
            entry=_NO_ENTRY,
        ),
    )
    crop: bool = field(
        default=True,
        metadata=described(
            "Crop to fit",
            "cut off what of the image is over, evenly at both ends",
            flag=_NO_FLAG,
            api=ApiField({"upscaling_crop": True}),
            entry=_NO_ENTRY,
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height to cover; None where the scale counts."""
        return (self.width, self.height) if self.mode == "scale to" else None
