"""Requests and answers of our own routes, with the engine's own names. What is unknown is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from promptengine.kinds import model_kinds
from promptengine.prompt.diagnostic_kinds import DIAGNOSTIC_KINDS
from promptengine.prompt.dialects import DIALECTS, WEBUI
from promptengine.prompt.regions import MOST_REGIONS
from promptengine.prompt.serialize import well_formed
from promptengine.request.regions import Region
from promptengine.request.request import GenerationRequest, Policy
from promptengine.server.jobs.job import State
from promptengine.server.v1.forms import StrictForm, Text, form_of

__all__ = [
    "JobForm",
    "JobResult",
    "JobStatus",
    "KindName",
    "Mark",
    "MoveForm",
    "NetworkDetail",
    "NetworkEntry",
    "PromptForm",
    "ReadPrompt",
    "RelatedForm",
    "RemedyForm",
    "ScriptForm",
    "Tokens",
]


def _name_dialects(schema: dict[str, Any]) -> None:
    schema["enum"] = list(DIALECTS)


DialectText = Annotated[str, Field(json_schema_extra=_name_dialects)]
"""Checked where the prompt is read."""


def _name_kinds(schema: dict[str, Any]) -> None:
    schema["enum"] = list(model_kinds())


def _known_kind(name: str) -> str:
    kinds = model_kinds()
    if name not in kinds:
        raise ValueError(f"it must be one of {', '.join(kinds)}")
    return name


KindName = Annotated[str, AfterValidator(_known_kind), Field(json_schema_extra=_name_kinds)]


def _name_codes(schema: dict[str, Any]) -> None:
    schema["items"] = {"type": "string", "enum": list(DIAGNOSTIC_KINDS)}


Codes = Annotated[list[str], Field(max_length=1000, json_schema_extra=_name_codes)]
"""Checked where they are used."""


class PromptForm(StrictForm):
    """A prompt to be read; without ``tokens`` they are not counted, which halves the time."""

    prompt: Text
    negative: bool = False
    comments: bool = True
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    hires_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    dialect: DialectText = WEBUI
    tokens: bool = True
    ignored_diagnostics: Codes = Field(default_factory=list[str])


class RemedyForm(BaseModel):
    """A mend: what to put in place of characters ``start`` to ``end``; ``label`` says what that does."""

    start: int
    end: int
    text: str
    label: str


class RelatedForm(BaseModel):
    """Another place that has to do with a diagnostic, characters ``start`` to ``end``, and what stands there."""

    start: int
    end: int
    message: str


class DiagnosticForm(BaseModel):
    """What a person would want to know; ``start`` and ``end`` count characters from 0.

    Attributes:
        code: What kind of thing it is, in words with hyphens, which stay the same.
        remedy: The obvious mend, where there is one.
        related: Further places that have to do with it.
    """

    severity: Literal["info", "warning", "error"]
    message: str
    hint: str
    column: int | None
    start: int | None
    end: int | None
    remedy: RemedyForm | None = None
    code: str = "remark"
    related: list[RelatedForm] = []


class Tokens(BaseModel):
    """The length of a prompt's longest text.

    Attributes:
        count: As WebUI counts; a chunk that ``BREAK`` or a comma ends early counts as full.
        limit: How many fit into its chunks.
        chunks: Of each chunk, how many of its 75 places are taken.
    """

    count: int
    limit: int
    chunks: list[int]


class Mark(BaseModel):
    """A place of a prompt that means more than its words; offsets count characters from 0.

    Attributes:
        kind: ``weight`` for text that counts more or less at some step, the others for their syntax.
        start: Its first character.
        end: Past its last one.
        weight: Of the text; 1 for other kinds than ``weight``.
    """

    kind: Literal["tag", "schedule", "alternation", "and", "break", "weight"]
    start: int
    end: int
    weight: float


class ReadPrompt(BaseModel):
    """A prompt as it is read.

    Attributes:
        text: The prompt without tags and comments, its parts joined by ``AND``.
        tags: Kind and arguments of each tag.
        networks: What the tags find in the folders.
        multipliers: By the number of a tag, what its multiplier is call by call, where it changes.
        subprompts: Text, weight and schedule of each part; no schedule where it would be too long, which
            a diagnostic says.
        marks: Where the syntax stands, in the order of the prompt; no weights where the schedule would be
            too long.
        diagnostics: What looks odd, and what the folders say.
        tokens: How long it is for CLIP; null where the schedule would be too long.
    """

    text: str
    tags: list[tuple[str, list[str]]]
    networks: list[dict[str, Any]]
    multipliers: dict[str, list[float]] = {}
    subprompts: list[dict[str, Any]]
    marks: list[Mark]
    diagnostics: list[DiagnosticForm]
    tokens: Tokens | None


class NetworkEntry(BaseModel):
    """A file of the folders.

    Attributes:
        tag: The word of the tag that names it in prompts, such as ``hypernet``; null where none does, or none
            can hold its name.
        folder: Where it lies below the folder of its kind, with ``/``; empty for there itself.
        created: When it came to be, in seconds since the epoch.
        modified: When it was last written, likewise.
        preview: When its preview was last written, likewise; null where it has none.
        description: What its side-cars say that it does; its beginning, where that is long.
        activation_text: What its user wants in the prompt with it, from WebUI's side-car as all that follows.
        preferred_weight: Its multiplier; 0 for the usual one.
        negative_text: What its user wants in the negative prompt with it.
        user_notes: What its user noted; its beginning, where that is long.
        sd_version: What it was made for.
        problems: What of the side-car is ignored, and why.
    """

    kind: KindName
    tag: str | None
    name: str
    aliases: list[str]
    path: str
    folder: str
    bytes: int
    created: float
    modified: float
    preview: float | None
    sha256: str | None
    description: str
    activation_text: str
    preferred_weight: float
    negative_text: str
    user_notes: str
    sd_version: str
    problems: list[str]


class NetworkDetail(NetworkEntry):
    """The same with what the file holds, and all that its user wrote.

    Attributes:
        notes: What is to be known of the file.
        user_metadata: WebUI's side-car as it is.
    """

    safe: bool
    format: str
    layers: list[str]
    metadata: dict[str, str]
    notes: list[str]
    user_metadata: dict[str, Any]


class ScriptForm(StrictForm):
    """A script that makes the images of a job.

    Attributes:
        name: As the list of scripts has it; upper and lower case are alike.
        arguments: By their names there; those that are left out have their defaults.
    """

    name: Text
    arguments: Annotated[dict[str, Any], BeforeValidator(well_formed)] = Field(
        default_factory=dict[str, Any]
    )


class RegionForm(form_of(Region, "The fields of a region.")):
    """A text that acts where its mask, an image in base64, is white."""

    if TYPE_CHECKING:
        # The fields that the base class has come from their declarations.
        def __getattr__(self, name: str) -> Any: ...


class JobForm(form_of(GenerationRequest, "The fields of a request.")):
    """A job; see :class:`promptengine.request.request.GenerationRequest`. Images and masks are base64.

    ``options`` are WebUI's settings by its names. ``styles`` are names of styles that are put around the
    prompts, one after another. ``checkpoint`` and ``vae`` are names. Without a size the
    image is as large as the checkpoint's own, or as the one that it starts from. Its images go to the
    server's output folder unless ``save`` says no. ``script`` makes images of the request, and grids of these.
    ``regions`` are texts that act where their masks are. ``ignored_diagnostics`` are codes that its result
    does not tell.
    """

    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    styles: Annotated[list[Text], Field(max_length=100)] = Field(default_factory=list[Text])
    checkpoint: Text | None = None
    vae: Text | None = None
    policy: Policy = "strict"
    ignored_diagnostics: Codes = Field(default_factory=list[str])
    save: bool = True
    script: ScriptForm | None = None
    regions: Annotated[list[RegionForm], Field(max_length=MOST_REGIONS)] = Field(
        default_factory=list[RegionForm]
    )

    if TYPE_CHECKING:
        # The fields that the base class has come from their declarations.
        def __getattr__(self, name: str) -> Any: ...

    dialect: DialectText = WEBUI


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
        prompt: What it is made from, shortened.
        created: When it was submitted, in seconds since the epoch.
        saved: Of each image of a job that has ended what :mod:`promptengine.server.v1.images` knows it by;
            null where it is not saved, and empty as long as images are being saved.
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
    prompt: str
    created: float
    saved: list[str | None]
    preview: str | None = None


class MoveForm(StrictForm):
    """Where a waiting job is to be."""

    position: Annotated[int, Field(ge=0, le=100_000)]


class JobResult(BaseModel):
    """The results of a job.

    Attributes:
        images: Files in base64, PNG unless the server's settings say otherwise.
        grids: Whether each image is made of several.
        masks: ``mask`` and ``mask-composite`` of each image as PNG in base64, where the options
            ``return_mask`` and ``return_mask_composite`` ask for them.
        infotexts: WebUI's text of each image.
        seeds: Of each image.
        networks: What became of each tag, and in which images.
        diagnostics: What a person should know.
        timings: Seconds by stage.
        saved: Of each image what :mod:`promptengine.server.v1.images` knows it by, its path below the output folder;
            null where it is not saved.
        warnings: What the script says, and why some are not saved.
    """

    id: str
    images: list[str]
    grids: list[bool]
    masks: list[dict[str, str]]
    infotexts: list[str]
    seeds: list[int]
    networks: list[dict[str, Any]]
    diagnostics: list[DiagnosticForm]
    timings: dict[str, float]
    saved: list[str | None]
    warnings: list[str]
