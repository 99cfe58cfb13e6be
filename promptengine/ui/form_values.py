"""What the page's controls say, as the forms that the server takes. Knows no toolkit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageChops
from pydantic import ValidationError

from promptengine.errors import RequestError
from promptengine.request.options import read_settings
from promptengine.server.v1.schemas import JobForm
from promptengine.xyz_plot.axes import Axis

__all__ = ["NO_AXIS", "Values", "axes_of", "job_form", "mask_of", "settings_of"]

Values = Mapping[str, Any]
"""What the controls hold, by their names."""

NO_AXIS: Final = "none"

_PLAIN: Final = (
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "sampler",
    "scheduler",
    "cfg_scale",
    "width",
    "height",
    "batch_size",
    "batch_count",
    "clip_skip",
    "checkpoint",
    "dialect",
)
_HIRES: Final = ("scale", "upscaler", "steps", "denoising_strength")


def job_form(values: Values) -> JobForm:
    """The job that the page asks for. What a control leaves empty is the default.

    Raises:
        RequestError: Something that is needed is missing, or a value cannot be used.
    """
    facts = _said(values, _PLAIN)
    facts["options"] = settings_of(values["options"])
    facts["policy"] = "warn"
    if values["mode"] in ("text", "grid") and values["hires"]:
        facts["hires"] = _said(values, _HIRES, "hires_")
    if values["mode"] == "image":
        facts["start"] = _start(values, _file_of(values["image"]))
    if values["mode"] == "inpaint":
        facts["start"] = _inpainted(values)
    try:
        return JobForm.model_validate(facts)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        message = f"{field}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
        raise RequestError(message, field=field) from None


def _said(values: Values, names: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    told = {name: values[f"{prefix}{name}"] for name in names}
    return {name: value for name, value in told.items() if value is not None}


def _start(values: Values, picture: str) -> dict[str, Any]:
    return {
        "images": [picture],
        "denoising_strength": values["denoising_strength"],
        "resize_mode": values["resize_mode"],
    }


def _inpainted(values: Values) -> dict[str, Any]:
    drawn = values["drawing"] or {}
    picture = drawn.get("background")
    if picture is None:
        raise RequestError("choose a picture to paint in", field="drawing")
    blur = values["mask_blur"]
    return {
        **_start(values, _png(picture)),
        "inpainting": {
            "mask": _png(mask_of(picture.size, drawn.get("layers") or ())),
            "inverted": values["mask_inverted"],
            "blur": (blur, blur),
            "content": values["mask_content"],
            "only_masked": values["only_masked"],
            "padding": values["mask_padding"],
        },
    }


def mask_of(
    size: tuple[int, int], layers: tuple[Image.Image, ...] | list[Image.Image]
) -> Image.Image:
    """White wherever something was drawn on one of some transparent layers.

    Raises:
        RequestError: Nothing was drawn.
    """
    mask = Image.new("L", size)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").resize(size)
        mask = ImageChops.lighter(mask, alpha)
    if mask.getbbox() is None:
        raise RequestError("paint over what may change before you generate", field="drawing")
    return mask


def _file_of(path: str | None) -> str:
    if path is None:
        raise RequestError("choose a picture to start from", field="image")
    return base64.b64encode(Path(path).read_bytes()).decode("ascii")


def _png(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")


def settings_of(text: str | None) -> dict[str, object]:
    """Read WebUI's settings from lines of ``name = value``.

    Raises:
        RequestError: A line that is none, an unknown name, or a value that cannot be used.
    """
    pairs: dict[str, str] = {}
    for line in (text or "").splitlines():
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals:
            message = f"setting {line.strip()[:80]!r}: write NAME = VALUE, one on a line"
            raise RequestError(message, field="options")
        pairs[name.strip()] = value.strip()
    return read_settings(pairs)


def axes_of(values: Values) -> tuple[Axis, Axis | None, Axis | None]:
    """The axes of a grid.

    Raises:
        RequestError: There is no x axis, or values that cannot be read.
    """
    x, y, z = (_axis(values[f"{letter}_kind"], values[f"{letter}_values"]) for letter in "xyz")
    if x is None:
        raise RequestError("choose what varies along the X axis", field="axis")
    return x, y, z


def _axis(kind: str | None, values: str | None) -> Axis | None:
    return None if kind in (None, NO_AXIS) else Axis.parse(f"{kind}={values or ''}")
