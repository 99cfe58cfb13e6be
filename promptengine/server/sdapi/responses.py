"""The forms of WebUI's answers."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from promptengine.prompt.serialize import well_formed

__all__ = [
    "Error",
    "Generation",
    "ImageTextResponse",
    "Json",
    "Progress",
    "ProgressState",
    "Scripts",
    "TaskProgress",
    "Upscaled",
    "UpscaledBatch",
    "ValidationError",
]


class Json(JSONResponse):
    """An answer in JSON, whatever names and texts of files hold."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
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


class Scripts(BaseModel):
    """Names of scripts."""

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
