"""WebUI's requests: the only place that knows the names of their fields.

Clients are loose with types: whole numbers come with a fraction or as text, and null or an empty text
stands for the default. What is unknown is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from promptengine.prompt.serialize import well_formed

__all__ = [
    "BatchUpscaling",
    "GenerationFields",
    "Image2Image",
    "ImageTextRequest",
    "TaskQuestion",
    "Text2Image",
    "Upscaling",
    "read_as",
]

_LARGEST: float = 2.0**64


def _whole(value: object) -> object:
    """Cut a number to a whole one, as the first pydantic did."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = _number(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) <= _LARGEST:
        return int(value)
    return value


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _without_nulls(value: object) -> object:
    items = cast("list[object]", value) if isinstance(value, list) else None
    return value if items is None else [item for item in items if item is not None]


Whole = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int | float | str | None)]
Number = Annotated[float, BeforeValidator(_number, json_schema_input_type=float | str | None)]
Flag = Annotated[bool, BeforeValidator(lambda value: value, json_schema_input_type=bool | None)]
Text = Annotated[str, BeforeValidator(well_formed, json_schema_input_type=str | None)]
Texts = Annotated[
    list[Text], BeforeValidator(_without_nulls, json_schema_input_type=list[str | None] | None)
]
Entries = Annotated[
    dict[str, Any],
    BeforeValidator(lambda value: value, json_schema_input_type=dict[str, Any] | None),
]


_READERS: Final[Mapping[type, TypeAdapter[Any]]] = {
    int: TypeAdapter(Whole),
    float: TypeAdapter(Number),
    bool: TypeAdapter(bool),
}


def read_as(kind: type, value: object) -> object:
    """Read an option as request fields of its kind are read; what is no such value comes back as it is.

    Args:
        kind: ``int``, ``float`` or ``bool``; others are left alone.
        value: As a client sent it. Unlike a field's, a whole number is not cut from one with a fraction.
    """
    if kind not in _READERS or isinstance(value, bool):
        return value
    try:
        read = _READERS[kind].validate_python(value)
    except ValidationError:
        return value
    return value if kind is int and read != _number(value) else read


class LenientModel(BaseModel):
    """A request whose nulls and empty texts mean the defaults, and whose unknown fields nothing."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_says_nothing(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, object]", data)
        return {name: value for name, value in fields.items() if value is not None and value != ""}


class GenerationFields(LenientModel):
    """What both kinds of generation have; defaults are those of WebUI's API."""

    prompt: Annotated[
        Text | list[Text],
        Field(description="A list makes one image of each prompt, all in one batch."),
    ] = ""
    negative_prompt: Text = ""
    styles: Texts = []
    seed: Whole = -1
    subseed: Whole = -1
    subseed_strength: Number = 0.0
    seed_resize_from_h: Whole = -1
    seed_resize_from_w: Whole = -1
    sampler_name: Text | None = None
    sampler_index: Text | None = None
    scheduler: Text | None = None
    batch_size: Whole = 1
    n_iter: Whole = 1
    steps: Whole = 50
    cfg_scale: Number = 7.0
    width: Whole = 512
    height: Whole = 512
    restore_faces: Flag | None = None
    tiling: Flag | None = None
    do_not_save_samples: Flag = False
    do_not_save_grid: Flag = False
    eta: Number | None = None
    s_min_uncond: Number | None = None
    s_churn: Number | None = None
    s_tmax: Number | None = None
    s_tmin: Number | None = None
    s_noise: Number | None = None
    override_settings: Entries = {}
    override_settings_restore_afterwards: Flag = True
    refiner_checkpoint: Text | None = None
    refiner_switch_at: Number | None = None
    disable_extra_networks: Flag = False
    comments: Entries = {}
    denoising_strength: Number = 0.75
    script_name: Text | None = None
    script_args: list[Any] = []
    alwayson_scripts: Entries = {}
    send_images: Flag = True
    save_images: Flag = False
    force_task_id: Text | None = None
    genkey: Text | None = None
    infotext: Text | None = None


class Text2Image(GenerationFields):
    """A request of ``txt2img``."""

    enable_hr: Flag = False
    firstphase_width: Whole = 0
    firstphase_height: Whole = 0
    firstpass_image: Text | None = None
    hr_scale: Number = 2.0
    hr_upscaler: Text | None = None
    hr_second_pass_steps: Whole = 0
    hr_resize_x: Whole = 0
    hr_resize_y: Whole = 0
    hr_checkpoint_name: Text | None = None
    hr_sampler_name: Text | None = None
    hr_scheduler: Text | None = None
    hr_prompt: Text = ""
    hr_negative_prompt: Text = ""


class Image2Image(GenerationFields):
    """A request of ``img2img``."""

    init_images: Texts = []
    resize_mode: Whole = 0
    image_cfg_scale: Number | None = None
    mask: Text | None = None
    mask_blur: Number | None = None
    mask_blur_x: Number = 4.0
    mask_blur_y: Number = 4.0
    mask_round: Flag = True
    inpainting_fill: Whole = 0
    inpaint_full_res: Flag = True
    inpaint_full_res_padding: Whole = 0
    inpainting_mask_invert: Whole = 0
    initial_noise_multiplier: Number | None = None
    latent_mask: Text | None = None
    include_init_images: Flag = False


class ImageTextRequest(LenientModel):
    """A request of ``png-info``."""

    image: Text = ""


class _UpscalingFields(LenientModel):
    resize_mode: Whole = 0
    show_extras_results: Flag = True
    gfpgan_visibility: Number = 0.0
    codeformer_visibility: Number = 0.0
    codeformer_weight: Number = 0.0
    upscaling_resize: Number = 2.0
    upscaling_resize_w: Whole = 512
    upscaling_resize_h: Whole = 512
    upscaling_crop: Flag = True
    upscaler_1: Text = "None"
    upscaler_2: Text = "None"
    extras_upscaler_2_visibility: Number = 0.0
    upscale_first: Flag = False


class Upscaling(_UpscalingFields):
    """A request of ``extra-single-image``."""

    image: Text = ""


class NamedImage(LenientModel):
    """One image of ``extra-batch-images``."""

    data: Text = ""
    name: Text = ""


class BatchUpscaling(_UpscalingFields):
    """A request of ``extra-batch-images``."""

    imageList: list[NamedImage] = []  # noqa: N815 - the clients' name for it


class TaskQuestion(LenientModel):
    """A request of ``/internal/progress``."""

    id_task: Text = ""
    id_live_preview: Whole = -1
    live_preview: Flag = True
