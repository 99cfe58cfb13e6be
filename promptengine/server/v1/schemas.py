"""Requests and answers of our own routes, with the engine's own names. What is unknown is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from promptengine.prompt.ast import Dialect
from promptengine.prompt.serialize import well_formed
from promptengine.registry.registry import Kind
from promptengine.request.request import MaskedContent, Policy, ResizeMode
from promptengine.server.jobs.queue import State

__all__ = [
    "HiresForm",
    "InpaintingForm",
    "JobForm",
    "JobResult",
    "JobStatus",
    "NetworkDetail",
    "NetworkEntry",
    "PromptForm",
    "ReadPrompt",
    "StartForm",
]

Text = Annotated[str, BeforeValidator(well_formed, json_schema_input_type=str)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class PromptForm(_Strict):
    """A prompt to be read."""

    prompt: Text
    negative: bool = False
    comments: bool = True
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    hires_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    dialect: Dialect = "webui"


class DiagnosticForm(BaseModel):
    """What a person would want to know; ``start`` and ``end`` count characters from 0."""

    severity: Literal["info", "warning", "error"]
    message: str
    hint: str
    column: int | None
    start: int | None
    end: int | None


class ReadPrompt(BaseModel):
    """A prompt as it is read.

    Attributes:
        text: The prompt without tags and comments, its parts joined by ``AND``.
        tags: Kind and arguments of each tag.
        networks: What the tags find in the folders.
        multipliers: By the number of a tag, what its multiplier is call by call, where it changes.
        subprompts: Text, weight and schedule of each part; no schedule where it would be too long, which
            a diagnostic says.
        diagnostics: What looks odd, and what the folders say.
    """

    text: str
    tags: list[tuple[str, list[str]]]
    networks: list[dict[str, Any]]
    multipliers: dict[str, list[float]] = {}
    subprompts: list[dict[str, Any]]
    diagnostics: list[DiagnosticForm]


class NetworkEntry(BaseModel):
    """A file of the folders."""

    kind: Kind
    name: str
    aliases: list[str]
    path: str
    bytes: int
    sha256: str | None
    description: str


class NetworkDetail(NetworkEntry):
    """The same with what the file holds."""

    safe: bool
    format: str
    layers: list[str]
    metadata: dict[str, str]
    notes: list[str]
    user_metadata: dict[str, Any]


class HiresForm(_Strict):
    """A second pass; see :class:`promptengine.request.request.HiresPass`."""

    scale: float = 2.0
    resize_x: int = 0
    resize_y: int = 0
    upscaler: Text | None = None
    steps: int = 0
    sampler: Text | None = None
    scheduler: Text | None = None
    prompt: Text = ""
    negative_prompt: Text = ""
    denoising_strength: float = 0.75


class InpaintingForm(_Strict):
    """What is painted anew; see :class:`promptengine.request.request.Inpainting`. The mask is base64."""

    mask: str
    inverted: bool = False
    blur: tuple[float, float] = (4, 4)
    content: MaskedContent = "original"
    only_masked: bool = False
    padding: int = 32
    hard: bool = True


class StartForm(_Strict):
    """Images to start from, in base64; see :class:`promptengine.request.request.ImageStart`."""

    images: list[str]
    denoising_strength: float = 0.75
    resize_mode: ResizeMode = "stretch"
    inpainting: InpaintingForm | None = None


class JobForm(_Strict):
    """A job; see :class:`promptengine.request.request.GenerationRequest`.

    ``options`` are WebUI's settings by its names. ``checkpoint`` and ``vae`` are names. Without a size the
    image is as large as the checkpoint's own, or as the one that it starts from.
    """

    prompt: Text
    negative_prompt: Text = ""
    seed: int = -1
    steps: int = 20
    sampler: Text = "Euler a"
    scheduler: Text = "automatic"
    cfg_scale: float = 7.0
    width: int | None = None
    height: int | None = None
    batch_size: int = 1
    batch_count: int = 1
    clip_skip: int = 1
    variation_seed: int = -1
    variation_strength: float = 0.0
    seed_resize_from: tuple[int, int] | None = None
    tiling: bool = False
    hires: HiresForm | None = None
    start: StartForm | None = None
    options: dict[str, Any] = {}
    checkpoint: Text | None = None
    vae: Text | None = None
    policy: Policy = "strict"
    dialect: Dialect = "webui"


class JobStatus(BaseModel):
    """Where a job is.

    Attributes:
        id: Its name in our routes.
        state: ``waiting``, ``running``, ``done``, ``failed``, ``cancelled`` or ``interrupted``.
        position: Jobs that are taken before it, where it waits.
        progress: 0 to 1.
        batch: Batches that are done.
        batches: Batches in all.
        step: Steps done of the running batch.
        steps: Steps of that batch.
        eta_s: Seconds left, as far as that can be told.
        error: Why it failed.
        preview: A small PNG of the last step in base64, in events only.
    """

    id: str
    state: State
    position: int | None
    progress: float
    batch: int
    batches: int
    step: int
    steps: int
    eta_s: float
    error: str | None
    preview: str | None = None


class JobResult(BaseModel):
    """What a job came to.

    Attributes:
        images: Files in base64, PNG unless the server's settings say otherwise.
        infotexts: WebUI's text of each image.
        seeds: Of each image.
        networks: What became of each tag, and in which images.
        diagnostics: What a person should know.
        timings: Seconds by stage.
    """

    id: str
    images: list[str]
    infotexts: list[str]
    seeds: list[int]
    networks: list[dict[str, Any]]
    diagnostics: list[DiagnosticForm]
    timings: dict[str, float]
