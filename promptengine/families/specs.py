"""The families of Stable Diffusion: all in which they differ, one object each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from promptengine.plugins import LazyFunction

__all__ = [
    "FAMILIES",
    "OPEN_CLIP_ACTIVATION",
    "TEXT_ENCODERS",
    "Family",
    "FamilySpec",
    "LatentToRGB",
    "SizeNumber",
    "TextEncoderSpec",
    "TextPart",
    "family_of_encoders",
    "family_of_width",
]

OPEN_CLIP_ACTIVATION: Final = "gelu"
"""CLIP has a quicker one, whatever the width."""


Family = Literal["SD1", "SD2", "SDXL", "SDXL refiner"]
"""The name of a family."""

TextPart = Literal["text_encoder", "text_encoder_2"]
"""What diffusers calls a text encoder of a pipeline."""

TEXT_ENCODERS: Final[tuple[TextPart, ...]] = get_args(TextPart)
"""Both, in order."""

SizeNumber = Literal["height", "width", "crop_top", "crop_left"]
"""A number that a UNet is told beside the text, in pixels."""


@dataclass(frozen=True, slots=True)
class TextEncoderSpec:
    """One text encoder of a family.

    Attributes:
        prefix: What the names of its weights begin with, in the original layout.
        open_clip: Whether it is OpenCLIP's, whose weights have other names and whose activation is plain
            GELU; else it is CLIP's as transformers names it.
        projected: Whether its pooled output is projected.
        part: What diffusers calls it.
    """

    prefix: str
    open_clip: bool = False
    projected: bool = False
    part: TextPart = "text_encoder"


@dataclass(frozen=True, slots=True)
class LatentToRGB:
    """What the channels of latents mean, in red, green and blue of -1 to 1.

    Attributes:
        channels: What each adds, ``[channels, 3]``.
        offset: What there is without, ``[3]``.
    """

    channels: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """A family of models.

    Attributes:
        name: Of the family.
        title: As messages call it.
        encoders: Its text encoders, in order.
        text_width: Of what its cross-attention reads.
        image_widths: Of what its self-attention reads, in models of the usual size.
        read_text: Makes one function of the loaded encoders, and of ``clip_skip`` where that is used.
        clip_skip: Whether clip skip is used, as in WebUI.
        zero_empty_negative: Whether an empty negative prompt is all zeros, as in WebUI.
        sizes: What the UNet is told of the image's sizes beside the text, in order; empty where it is
            told none. The image's height and width stand there twice where they are original and target.
        aesthetic_score: Whether it is told an aesthetic score behind these, one for the prompt and one
            for the negative prompt.
        attention_heads: How many heads a level has; None where heads are 64 wide.
        native_size: Pixels of a side that models were trained at, where they do not say.
        native_size_v: Likewise of those that predict v.
        predicts_v: Whether models that say nothing may predict v; those for inpainting never do.
        scaling_factor: Of latents, where the model does not say.
        aligned_sigmas: The levels of "Align Your Steps" for ten steps, high to low, as its authors
            published them (SD2 takes those of SD1, as in WebUI).
        latent_to_rgb: Fitted by others to the VAEs that nearly all models of the family have.
        trainable: Whether hypernetworks can be trained on it here.
    """

    name: Family
    title: str
    encoders: tuple[TextEncoderSpec, ...]
    text_width: int
    image_widths: frozenset[int]
    read_text: Callable[..., Any]
    clip_skip: bool = False
    zero_empty_negative: bool = False
    sizes: tuple[SizeNumber, ...] = ()
    aesthetic_score: bool = False
    attention_heads: int | None = None
    native_size: int = 512
    native_size_v: int = 512
    predicts_v: bool = False
    scaling_factor: float = 0.18215
    aligned_sigmas: tuple[float, ...]
    latent_to_rgb: LatentToRGB
    trainable: bool = True

    @property
    def told_numbers(self) -> int:
        """How many numbers the UNet is told beside the text."""
        return len(self.sizes) + self.aesthetic_score


_ALIGNED: Final = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
_LATENT_TO_RGB: Final = LatentToRGB(
    (
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
    (0.0, 0.0, 0.0),
)
_ALIGNED_XL: Final = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
_LATENT_TO_RGB_XL: Final = LatentToRGB(
    (
        (0.471, 0.471, 0.471),
        (-0.471, -0.039, 0.078),
        (0.196, 0.118, -0.039),
        (-0.549, -0.392, -0.275),
    ),
    (0.176, 0.098, 0.02),
)


def _open_clip_g(prefix: str) -> TextEncoderSpec:
    return TextEncoderSpec(prefix, open_clip=True, projected=True, part="text_encoder_2")


def _reader(name: str) -> LazyFunction:
    return LazyFunction(f"promptengine.text.encoder:{name}")


FAMILIES: Final[Mapping[Family, FamilySpec]] = {
    "SD1": FamilySpec(
        name="SD1",
        title="Stable Diffusion 1",
        encoders=(TextEncoderSpec("cond_stage_model.transformer."),),
        text_width=768,
        image_widths=frozenset({320, 640, 1280}),
        read_text=_reader("clip_text_model"),
        clip_skip=True,
        attention_heads=8,
        aligned_sigmas=_ALIGNED,
        latent_to_rgb=_LATENT_TO_RGB,
    ),
    "SD2": FamilySpec(
        name="SD2",
        title="Stable Diffusion 2",
        encoders=(TextEncoderSpec("cond_stage_model.model.", open_clip=True),),
        text_width=1024,
        image_widths=frozenset({320, 640, 1280}),
        read_text=_reader("sd2_text_model"),
        native_size_v=768,
        predicts_v=True,
        aligned_sigmas=_ALIGNED,
        latent_to_rgb=_LATENT_TO_RGB,
    ),
    "SDXL": FamilySpec(
        name="SDXL",
        title="SDXL",
        encoders=(
            TextEncoderSpec("conditioner.embedders.0.transformer."),
            _open_clip_g("conditioner.embedders.1.model."),
        ),
        text_width=2048,
        image_widths=frozenset({640, 1280}),
        read_text=_reader("sdxl_text_model"),
        zero_empty_negative=True,
        sizes=("height", "width", "crop_top", "crop_left", "height", "width"),
        native_size=1024,
        native_size_v=1024,
        scaling_factor=0.13025,
        aligned_sigmas=_ALIGNED_XL,
        latent_to_rgb=_LATENT_TO_RGB_XL,
        trainable=False,
    ),
    "SDXL refiner": FamilySpec(
        name="SDXL refiner",
        title="the SDXL refiner",
        encoders=(_open_clip_g("conditioner.embedders.0.model."),),
        text_width=1280,
        image_widths=frozenset({768, 1536}),
        read_text=_reader("refiner_text_model"),
        zero_empty_negative=True,
        sizes=("height", "width", "crop_top", "crop_left"),
        aesthetic_score=True,
        native_size=1024,
        native_size_v=1024,
        scaling_factor=0.13025,
        aligned_sigmas=_ALIGNED_XL,
        latent_to_rgb=_LATENT_TO_RGB_XL,
        trainable=False,
    ),
}
"""Every family by its name."""


def family_of_width(text_width: int | None) -> FamilySpec | None:
    """Return the family whose attention reads text of a width."""
    return next((spec for spec in FAMILIES.values() if spec.text_width == text_width), None)


def family_of_encoders(parts: Collection[str], *, activation: str) -> Family:
    """Return the family of a pipeline in diffusers' form.

    Args:
        parts: Its text encoders, one or more of :data:`TEXT_ENCODERS`.
        activation: Of the first of them, which tells families apart that have one of the same name.
    """
    open_clip = activation == OPEN_CLIP_ACTIVATION
    named = [
        spec
        for spec in FAMILIES.values()
        if {encoder.part for encoder in spec.encoders} == set(parts)
    ]
    alike = [spec for spec in named if spec.encoders[0].open_clip == open_clip]
    return (alike or named)[0].name
