"""What OpenAI's clients ask for, as a job of ours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, cast

from PIL import Image, ImageChops
from pydantic import ValidationError

from promptengine.errors import PromptSyntaxError, RequestError, UnknownNetworkError
from promptengine.files.images import read_image
from promptengine.images.save import encode_image
from promptengine.server.auth import is_deeper
from promptengine.server.base64_images import encode_base64
from promptengine.server.config import Limits
from promptengine.server.errors import HTTPRefusal
from promptengine.server.jobs.job import Work
from promptengine.server.openai.errors import fault_of
from promptengine.server.openai.forms import EditForm, ImageForm, OutputFormat
from promptengine.server.sdapi.options import ServerSettings
from promptengine.server.state import Service
from promptengine.server.v1.schemas import JobForm
from promptengine.server.v1.to_request import work_from_form

__all__ = ["ImageCall", "Upload", "edit_call", "edit_form", "generation_call"]

_EXTRA: Final = "promptengine"
_SIZE: Final = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_SAID_OTHERWISE: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "checkpoint": "model",
    "width": "size",
    "height": "size",
    "batch_count": "n",
    "batch_size": "n",
}
"""Fields of a job that have names of OpenAI's, and these."""

_PARAMS: Final[Mapping[str, str]] = {
    **_SAID_OTHERWISE,
    "start.images": "image",
    "start.inpainting.mask": "mask",
    "styles": "style",
}
_LEFT_OUT: Final = ("save", "script")
"""Fields of a job that mean nothing here: who asks waits for the images, and gets one for one."""

_STEPS: Final[Mapping[str, float]] = {"low": 0.5, "high": 2.0, "hd": 2.0}
_TOLD_QUALITY: Final[Mapping[str, str]] = {"low": "low", "high": "high", "hd": "high"}
_USUAL_QUALITY: Final = "medium"
_MOST_JOB_TEXT: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ImageCall:
    """A request as it is understood.

    Attributes:
        form: As it came.
        work: What the queue takes.
        event: What names of events begin with.
    """

    form: ImageForm
    work: Work
    event: str

    @property
    def output_format(self) -> OutputFormat:
        """Of the images."""
        return self.form.output_format or "png"

    @property
    def file_quality(self) -> int:
        """Of JPEG and WEBP, 1 to 100; OpenAI's least compression where nothing else is said."""
        said = self.form.output_compression
        return 100 if said is None else max(said, 1)

    @property
    def told_quality(self) -> str:
        """The quality as answers tell it."""
        return _TOLD_QUALITY.get(self.form.quality or "auto", _USUAL_QUALITY)


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of an edit.

    Attributes:
        images: To start from.
        mask: Transparent where to paint, or None.
    """

    images: Sequence[bytes] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)


def generation_call(form: ImageForm, service: Service) -> ImageCall:
    """Make of a request for images from a prompt what the queue takes.

    Raises:
        PromptEngineError: As :func:`promptengine.server.v1.to_request.work_from_form`; ``field`` is
            OpenAI's parameter.
    """
    values = _values(form, service.settings)
    if values.get("start") is not None:
        message = "promptengine.start is for edits; send the image to /v1/images/edits"
        raise RequestError(message, field="promptengine.start")
    return ImageCall(form, _work(values, service), "image_generation")


def edit_call(form: EditForm, files: Upload, service: Service) -> ImageCall:
    """Make of a request for images from an image what the queue takes.

    Raises:
        PromptEngineError: As :func:`generation_call`.
    """
    if len(files.images) != 1:
        message = f"image must be one file (got {len(files.images)}); these models cannot put several together"
        raise RequestError(message, field="image")
    if form.input_fidelity == "high":
        message = (
            'input_fidelity \'high\' has no equal here; send promptengine={"start": {"denoising_strength": 0.4}}, '
            "which keeps more of the image the lower it is"
        )
        raise RequestError(message, field="input_fidelity")
    values = _values(form, service.settings)
    start = _part(values, "start")
    start["images"] = [encode_base64(files.images[0])]
    if files.mask is not None:
        mask = _mask(files.images[0], files.mask, service.config.limits)
        start["inpainting"] = {**_part(start, "inpainting", "start."), "mask": mask}
    return ImageCall(form, _work({**values, "start": start}, service), "image_edit")


def _values(form: ImageForm, settings: ServerSettings) -> dict[str, Any]:
    """Return the fields of a job.

    Raises:
        RequestError: What cannot be honored, or is said twice.
    """
    _check(form)
    values = dict(form.promptengine or {})
    for name in values:
        if name in _LEFT_OUT:
            message = f"promptengine.{name} is not for this route; /promptengine/v1/jobs takes it"
            raise RequestError(message, field=f"{_EXTRA}.{name}")
        if name in _SAID_OTHERWISE:
            message = f"promptengine.{name} is said by {_SAID_OTHERWISE[name]!r}; leave it out"
            raise RequestError(message, field=f"{_EXTRA}.{name}")
    width, height = _size(form.size)
    values |= {"prompt": form.prompt, "width": width, "height": height, "batch_count": form.n or 1}
    values |= {"checkpoint": form.model or None, "save": False}
    if form.style is not None:
        styles = values.get("styles") or []
        values["styles"] = [*styles, form.style] if isinstance(styles, list) else styles
    if (factor := _STEPS.get(form.quality or "auto")) is not None:
        usual = settings.form_defaults.get("steps", JobForm.model_fields["steps"].default)
        steps = values.get("steps", usual)
        whole = isinstance(steps, int) and abs(steps) < 1 << 31
        values["steps"] = math.ceil(steps * factor) if whole else steps
    return values


def _check(form: ImageForm) -> None:
    """Refuse what is known and cannot be honored.

    Raises:
        RequestError: There is such a thing.
    """
    if form.background == "transparent":
        message = "background 'transparent' is not possible with these models; leave it at 'auto'"
        raise RequestError(message, field="background")
    compressed = form.output_compression not in (None, 100)
    if compressed and (form.output_format or "png") == "png":
        message = "output_compression is for jpeg and webp; PNG loses nothing"
        raise RequestError(message, field="output_compression")
    if form.partial_images and not form.stream:
        message = "partial_images is for streams; set stream to true"
        raise RequestError(message, field="partial_images")
    if form.stream and form.response_format == "url":
        message = "a stream holds the images themselves; leave response_format out"
        raise RequestError(message, field="response_format")


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None or text == "auto":
        return None, None
    match = _SIZE.fullmatch(text)
    if match is None:
        message = f"size must be WIDTHxHEIGHT in pixels, or 'auto' (got {text[:50]!r})"
        raise RequestError(message, field="size")
    return int(match[1]), int(match[2])


def _part(values: Mapping[str, Any], name: str, above: str = "") -> dict[str, Any]:
    """Return a part of a job's fields that is an object itself.

    Raises:
        RequestError: It is none, or says what a file says.
    """
    place, part = f"{_EXTRA}.{above}{name}", values.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise RequestError(f"{place} must be an object", field=place)
    for file in ("images", "mask"):
        if file in part:
            message = f"{place}.{file} comes as a file of the form; leave it out"
            raise RequestError(message, field=f"{place}.{file}")
    return dict(cast("dict[str, Any]", part))


def _work(values: Mapping[str, Any], service: Service) -> Work:
    try:
        form = JobForm.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        message, place, _ = fault_of(found, _EXTRA)
        raise RequestError(message, field=_param(place.removeprefix(f"{_EXTRA}."))) from None
    with _named():
        return work_from_form(form, service.settings, service.registry, service.config.limits)


@contextmanager
def _named() -> Generator[None]:
    """Let a refusal name OpenAI's parameter."""
    try:
        yield
    except (HTTPRefusal, PromptSyntaxError, RequestError, UnknownNetworkError) as error:
        error.field = _param(error.field)
        raise


def _param(name: str) -> str:
    return _PARAMS.get(name, f"{_EXTRA}.{name}") if name else ""


def _mask(image: bytes, mask: bytes, limits: Limits) -> str:
    """Return a mask of ours, white where OpenAI's is transparent, as PNG in base64.

    Raises:
        RequestError: It is no image, says nothing, or is of another size than the image.
    """
    own, size = _opened(mask, "mask", limits), _opened(image, "image", limits).size
    if own.size != size:
        message = f"mask must be as large as the image, {size[0]}x{size[1]} (got {own.width}x{own.height})"
        raise RequestError(message, field="mask")
    if "A" not in own.getbands() and "transparency" not in own.info:
        raise RequestError(
            "mask must be transparent where to paint: a PNG with alpha", field="mask"
        )
    alpha = own.convert("RGBA").getchannel("A")
    return encode_base64(encode_image(ImageChops.invert(alpha).convert("RGB")))


def _opened(data: bytes, name: str, limits: Limits) -> Image.Image:
    try:
        return read_image(BytesIO(data), most_pixels=limits.image_pixels)
    except (OSError, ValueError) as error:
        raise RequestError(f"{name} cannot be read: {error}", field=name) from None


def edit_form(texts: Mapping[str, str], limits: Limits) -> EditForm:
    """Read the texts of a form whose files come beside them.

    Args:
        texts: By their names.
        limits: What is allowed.

    Raises:
        RequestError: One is unknown, or cannot be used.
    """
    values: dict[str, Any] = dict(texts)
    if _EXTRA in values:
        values[_EXTRA] = _json(texts[_EXTRA], limits)
    try:
        return EditForm.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        message, place, _ = fault_of(found)
        raise RequestError(message, field=place) from None


def _json(text: str, limits: Limits) -> object:
    message = f"promptengine must be a JSON object, nested at most {limits.json_depth} deep"
    try:
        value: object = json.loads(text[:_MOST_JOB_TEXT])
    except (ValueError, RecursionError):
        raise RequestError(message, field=_EXTRA) from None
    if not isinstance(value, dict) or is_deeper(cast("object", value), limits.json_depth):
        raise RequestError(message, field=_EXTRA)
    return cast("object", value)
