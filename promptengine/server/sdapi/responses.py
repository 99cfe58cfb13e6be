"""The forms of WebUI's answers."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from promptengine.prompt.serialize import well_formed

__all__ = [
    "Checkpoint",
    "Error",
    "Generation",
    "Hypernetwork",
    "ImageTextResponse",
    "Json",
    "Lora",
    "Name",
    "Progress",
    "ProgressState",
    "PromptStyle",
    "Sampler",
    "Scheduler",
    "Scripts",
    "TaskProgress",
    "Upscaled",
    "UpscaledBatch",
    "Upscaler",
    "Vae",
    "ValidationError",
]


class Json(JSONResponse):
    """An answer in JSON, whatever names and texts of files hold."""

    def render(self, content: Any) -> bytes:
        """The body."""
        try:
            return super().render(content)
        except UnicodeEncodeError:
            return super().render(well_formed(content))


class Error(BaseModel):
    """Every error but that of a body that does not fit its form."""

    error: str
    detail: str
    body: str
    errors: str


class Fault(BaseModel):
    """One fault of a body."""

    loc: list[str | int]
    msg: str
    type: str


class ValidationError(BaseModel):
    """What does not fit."""

    detail: list[Fault] | str
    error: str | None = None
    body: str | None = None
    errors: str | None = None


class Generation(BaseModel):
    """Images in base64, the fields of the request, and a JSON text about how they were made."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class Checkpoint(BaseModel):
    """A checkpoint; hashes are there once they are known."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class Sampler(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, Any]


class Scheduler(BaseModel):
    """A schedule type."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class Upscaler(BaseModel):
    """What enlarges images."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class Name(BaseModel):
    """Something that has a name only."""

    name: str


class Hypernetwork(BaseModel):
    """A hypernetwork; its hash is there once it is known."""

    name: str
    path: str
    sha256: str | None


class Lora(BaseModel):
    """A LoRA."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class PromptStyle(BaseModel):
    """A style."""

    name: str
    prompt: str | None
    negative_prompt: str | None


class Vae(BaseModel):
    """A VAE of its own."""

    model_name: str
    filename: str


class Scripts(BaseModel):
    """Names of scripts, of which there are none."""

    txt2img: list[str]
    img2img: list[str]


class ProgressState(BaseModel):
    """Where the running job is."""

    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_count: int
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class Progress(BaseModel):
    """How far the running job is; 0 when there is none."""

    progress: float
    eta_relative: float
    state: ProgressState
    current_image: str | None
    textinfo: str | None


class TaskProgress(BaseModel):
    """How far a job is that its client gave a name."""

    active: bool
    queued: bool
    completed: bool
    progress: float | None
    eta: float | None
    live_preview: str | None
    id_live_preview: int | None
    textinfo: str | None


class ImageTextResponse(BaseModel):
    """What an image says about itself."""

    info: str
    items: dict[str, Any]
    parameters: dict[str, Any]


class Upscaled(BaseModel):
    """An enlarged image."""

    html_info: str
    image: str
    warnings: list[str]


class UpscaledBatch(BaseModel):
    """Enlarged images."""

    html_info: str
    images: list[str]
    warnings: list[str]
