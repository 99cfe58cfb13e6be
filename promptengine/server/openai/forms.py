"""What OpenAI's clients may ask for. What is unknown is refused, null is as good as left out."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from promptengine.server.v1.forms import StrictForm, Text

__all__ = [
    "OUTPUT_FORMATS",
    "EditForm",
    "ErrorAnswer",
    "GenerationForm",
    "ImageForm",
    "ImagesAnswer",
    "ModelAnswer",
    "ModelsAnswer",
]

OutputFormat = Literal["png", "jpeg", "webp"]
OUTPUT_FORMATS: Final = ("png", "jpeg", "webp")
Quality = Literal["auto", "low", "medium", "standard", "high", "hd"]
Short = Annotated[Text, Field(max_length=512)]


class ImageForm(StrictForm):
    """What generations and edits have in common.

    Attributes:
        prompt: In WebUI's syntax, tags included.
        model: A checkpoint by its name; without one the server's.
        n: Images.
        size: ``WIDTHxHEIGHT``; ``auto`` is the checkpoint's own, or that of the image.
        quality: Scales the steps: ``low`` halves, ``high`` and ``hd`` double them.
        style: One of WebUI's styles by its name.
        background: What an image has is opaque.
        moderation: Nothing is filtered here, whatever it says.
        output_format: Of the images.
        output_compression: Quality of JPEG and WEBP.
        response_format: How the images come back.
        stream: Whether they come as events.
        partial_images: Small images on the way, of a stream.
        user: Echoed, as OpenAI does, where ``safety_identifier`` says nothing.
        safety_identifier: Echoed.
        promptengine: More fields of a job, by the names of our own API.
    """

    prompt: Text
    model: Short | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Short | None = None
    quality: Quality | None = None
    style: Short | None = None
    background: Literal["auto", "opaque", "transparent"] | None = None
    moderation: Literal["auto", "low"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    user: Short | None = None
    safety_identifier: Short | None = None
    promptengine: dict[str, Any] | None = None


class GenerationForm(ImageForm):
    """A request for images made from a prompt."""

    model_config = ConfigDict(strict=True)


class EditForm(ImageForm):
    """The texts of a request for images made from an image; files come beside them."""

    input_fidelity: Literal["low", "high"] | None = None


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """An error."""

    error: ErrorDetail


class ImageAnswer(BaseModel):
    """One image; ``revised_prompt`` is what it was made from, where that is another text."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class Facts(BaseModel):
    """What OpenAI's form has no place for: of each image its infotext and seed, and warnings."""

    infotexts: list[str]
    seeds: list[int]
    warnings: list[str]


class ImagesAnswer(BaseModel):
    """Images."""

    created: int
    data: list[ImageAnswer]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    quality: Literal["low", "medium", "high"]
    size: str
    safety_identifier: str | None = None
    usage: dict[str, Any]
    promptengine: Facts


class ModelAnswer(BaseModel):
    """A checkpoint."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "promptengine"


class ModelsAnswer(BaseModel):
    """The checkpoints."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]
