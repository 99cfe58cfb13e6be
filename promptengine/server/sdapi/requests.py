"""WebUI's requests: what a generation is asked by beside the declared fields, and all other routes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.request import GenerationRequest
from promptengine.request.upscale import UpscaleRequest
from promptengine.server.sdapi.fields import (
    Entries,
    Flag,
    LenientModel,
    Number,
    Text,
    Texts,
    Whole,
    api_model,
)

__all__ = [
    "BatchUpscaling",
    "GenerationFields",
    "Image2Image",
    "ImageTextRequest",
    "TaskQuestion",
    "Text2Image",
    "Upscaling",
]


class GenerationFields(api_model(LenientModel, GenerationRequest)):
    """What both kinds of generation have; defaults are those of WebUI's API."""

    prompt: Annotated[
        Text | list[Text],
        Field(description="A list makes one image of each prompt, all in one batch."),
    ] = ""
    styles: Texts = Field(default_factory=list[str])
    restore_faces: Flag | None = None
    do_not_save_samples: Flag = False
    do_not_save_grid: Flag = False
    eta: Number | None = None
    s_min_uncond: Number | None = None
    s_churn: Number | None = None
    s_tmax: Number | None = None
    s_tmin: Number | None = None
    s_noise: Number | None = None
    token_merging_ratio: Number | None = None
    token_merging_ratio_hr: Number | None = None
    override_settings: Entries = Field(default_factory=dict[str, Any])
    override_settings_restore_afterwards: Flag = True
    disable_extra_networks: Flag = False
    comments: Entries = Field(default_factory=dict[str, Any])
    script_name: Text | None = None
    script_args: list[Any] = Field(default_factory=list[Any])
    alwayson_scripts: Entries = Field(default_factory=dict[str, Any])
    send_images: Flag = True
    save_images: Flag = False
    force_task_id: Text | None = None
    genkey: Text | None = None
    infotext: Text | None = None


class Text2Image(api_model(GenerationFields, HiresPass)):
    """A request of ``txt2img``."""

    enable_hr: Flag = False
    firstphase_width: Whole = 0
    firstphase_height: Whole = 0
    firstpass_image: Text | None = None


class Image2Image(api_model(GenerationFields, ImageStart, Inpainting)):
    """A request of ``img2img``."""

    image_cfg_scale: Number | None = None
    initial_noise_multiplier: Number | None = None
    latent_mask: Text | None = None
    include_init_images: Flag = False


class ImageTextRequest(LenientModel):
    """A request of ``png-info``."""

    image: Text = ""


class _UpscalingFields(api_model(LenientModel, UpscaleRequest)):
    show_extras_results: Flag = True
    gfpgan_visibility: Number = 0.0
    codeformer_visibility: Number = 0.0
    codeformer_weight: Number = 0.0
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

    imageList: list[NamedImage] = Field(default_factory=list[NamedImage])  # noqa: N815 - the clients' name for it


class TaskQuestion(LenientModel):
    """A request of ``/internal/progress``."""

    id_task: Text = ""
    id_live_preview: Whole = -1
    live_preview: Flag = True
