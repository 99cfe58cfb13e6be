"""Images to start from instead of pure noise, and the part that is painted: WebUI's img2img."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from promptengine.errors import RequestError
from promptengine.request.fields import (
    ApiField,
    Entry,
    Flag,
    LeftOut,
    Said,
    described,
    grouped,
    left_out,
    unless,
)
from promptengine.request.ranges import MAX_SEED, Blur, Pixels, Share
from promptengine.request.values import (
    parse_bool,
    parse_float,
    parse_int,
    parse_pair,
    without_fraction,
)
from promptengine.validation import Between, check_fields

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageStart", "Inpainting", "MaskedContent", "ResizeMode"]

ResizeMode = Literal["stretch", "crop", "pad", "latent"]
"""How an image is brought to size: its proportions ignored, its sides cut, its edges continued, or not
at all but by resizing its latents. WebUI's modes 0 to 3."""

MaskedContent = Literal["fill", "original", "latent noise", "latent nothing"]
"""What stands under a mask at first: the colors around it, the image itself, noise, or nothing."""

SoftNumber = Annotated[float, Between(0, 100)]
"""Of soft inpainting."""

_MASK_MODES: Final = ("Inpaint masked", "Inpaint not masked")
_AREAS: Final = ("Whole picture", "Only masked")
_RESIZE_MODES: Final = (
    "Just resize",
    "Crop and resize",
    "Resize and fill",
    "Just resize (latent upscale)",
)


def _numbered(
    name: str, choices: tuple[str, ...]
) -> tuple[Callable[[int], str], Callable[[str], tuple[int, ...]]]:
    """Return how a choice is read from its number in WebUI's API, and written as that."""

    def read(number: int) -> str:
        if not 0 <= number < len(choices):
            raise RequestError(f"{name} must be 0 to {len(choices) - 1} (got {number})", field=name)
        return choices[number]

    return read, lambda choice: (choices.index(choice),)


def _read_blur(both: float | None, across: float, down: float) -> tuple[float, float]:
    return (across, down) if both is None else (both, both)


def _without_fraction(text: str) -> float:
    return without_fraction(parse_float(text))


def _soft_number(label: str, help_: str, flag: str, field_name: str, usual: float) -> Any:
    """Return the metadata of one of soft inpainting's numbers, which only count where it is on."""
    return described(
        label,
        help_,
        flag=Flag(flag, "X", read=_without_fraction),
        api=ApiField({field_name: float(usual)}, without_fraction),
        entry=Entry(
            f"Soft inpainting {label.lower()}",
            _without_fraction,
            lambda value, said: value if said.own["soft"] else None,
        ),
    )


def _mask_blur(blur: tuple[float, float], _: Said) -> float | None:
    across, down = blur
    return without_fraction(across) if across == down and across > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpainting:
    """Which part of an image is repainted. Defaults are those of WebUI's page.

    Attributes:
        mask: White where to paint. The alpha channel counts instead if there is one that says
            anything.
        inverted: Paint what the mask leaves out.
        blur: Sigma of the mask's blur, across and down, in pixels, 0 to 256.
        content: What stands under the mask at first.
        only_masked: Work on the part around the masked area alone, at full resolution.
        padding: Pixels around that area.
        hard: Decide each latent cell to be painted or not; soft masks blend in every step.
        soft: Paint by degrees where the mask is gray: WebUI's soft inpainting, which never rounds the mask.
        soft_bias: How much later in the steps the original stops to hold; 1 is in step with the noise.
        soft_strength: How strongly the original holds where the mask is gray; 0 not at all.
        soft_boost: How far contrast is kept where old and new mix; 1 is a plain mix.
        soft_influence: How much the mask decides what of the original is laid over the result, beside
            how much changed: 0 to 1.
        soft_threshold: How large a change, in latents, is half kept.
        soft_contrast: How sharply kept and discarded changes part.
        latent_mask: What the sampler paints, where that is another part than what shows of the result:
            of the size of ``mask``, whose blur and inversion do not touch it. None for ``mask``.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    mask: Image = field(
        metadata=described(
            "Mask",
            "paint only where this is white",
            flag=Flag("--mask", "FILE"),
            api=ApiField({"mask": None}),
            entry=LeftOut("no infotext holds an image"),
        )
    )
    inverted: bool = field(
        default=False,
        metadata=described(
            "Inpaint not masked",
            "paint where the mask is not white",
            flag=Flag("--mask-invert"),
            api=ApiField({"inpainting_mask_invert": 0}, bool, lambda value: (int(value),)),
            entry=Entry(
                "Mask mode", _MASK_MODES.index, lambda value, _: _MASK_MODES[1] if value else None
            ),
            labels=_MASK_MODES,
        ),
    )
    blur: tuple[Blur, Blur] = field(
        default=(4, 4),
        metadata=described(
            "Mask blur",
            "how far the mask's edge is blurred, or across and down as X,Y",
            flag=Flag("--mask-blur", "PX", read=parse_pair),
            api=ApiField(
                {"mask_blur": None, "mask_blur_x": 4.0, "mask_blur_y": 4.0},
                _read_blur,
                lambda value: (None, *value),
            ),
            entry=Entry("Mask blur", parse_int, _mask_blur),
            usual="4",
        ),
    )
    content: MaskedContent = field(
        default="original",
        metadata=described(
            "Masked content",
            "what stands under the mask at first",
            flag=Flag("--mask-content"),
            api=ApiField(
                {"inpainting_fill": 0}, *_numbered("inpainting_fill", get_args(MaskedContent))
            ),
            entry=Entry("Masked content", get_args(MaskedContent).index, unless("original")),
        ),
    )
    only_masked: bool = field(
        default=False,
        metadata=described(
            "Only masked",
            "work on the part around the mask alone, at full resolution",
            flag=Flag("--only-masked"),
            api=ApiField({"inpaint_full_res": True}),
            entry=Entry(
                "Inpaint area",
                lambda text: bool(_AREAS.index(text)),
                lambda value, _: _AREAS[1] if value else None,
            ),
            labels=_AREAS,
        ),
    )
    padding: Pixels = field(
        default=32,
        metadata=described(
            "Only masked padding, pixels",
            "pixels around that part",
            flag=Flag("--mask-padding", "PX"),
            api=ApiField({"inpaint_full_res_padding": 0}),
            entry=Entry(
                "Masked area padding",
                parse_int,
                lambda value, said: value if said.own["only_masked"] else None,
            ),
        ),
    )
    hard: bool = field(
        default=True,
        metadata=described(
            "Round the mask",
            "decide each latent cell to be painted or not; soft masks blend in every step",
            flag=Flag("--mask-round"),
            api=ApiField({"mask_round": True}),
            entry=LeftOut("WebUI writes none"),
        ),
    )
    soft: bool = field(
        default=False,
        metadata=described(
            "Soft inpainting",
            "paint by degrees where the mask is gray; the mask is not rounded",
            flag=Flag("--soft-inpainting"),
            api=ApiField({"soft_inpainting": False}),
            entry=Entry(
                "Soft inpainting enabled", parse_bool, lambda value, _: True if value else None
            ),
        ),
    )
    soft_bias: SoftNumber = field(
        default=1,
        metadata=_soft_number(
            "Schedule bias",
            "how much later in the steps the original stops to hold",
            "--soft-bias",
            "soft_inpainting_bias",
            1,
        ),
    )
    soft_strength: SoftNumber = field(
        default=0.5,
        metadata=_soft_number(
            "Preservation strength",
            "how strongly the original holds where the mask is gray",
            "--soft-strength",
            "soft_inpainting_strength",
            0.5,
        ),
    )
    soft_boost: Annotated[float, Between(0.1, 100)] = field(
        default=4,
        metadata=_soft_number(
            "Transition contrast boost",
            "how far contrast is kept where old and new mix",
            "--soft-boost",
            "soft_inpainting_boost",
            4,
        ),
    )
    soft_influence: Share = field(
        default=0,
        metadata=_soft_number(
            "Mask influence",
            "how much the mask, and not the change alone, decides what of the original is kept",
            "--soft-influence",
            "soft_inpainting_influence",
            0,
        ),
    )
    soft_threshold: SoftNumber = field(
        default=0.5,
        metadata=_soft_number(
            "Difference threshold",
            "how large a change is half kept",
            "--soft-threshold",
            "soft_inpainting_threshold",
            0.5,
        ),
    )
    soft_contrast: SoftNumber = field(
        default=2,
        metadata=_soft_number(
            "Difference contrast",
            "how sharply kept and discarded changes part",
            "--soft-contrast",
            "soft_inpainting_contrast",
            2,
        ),
    )
    latent_mask: Image | None = field(
        default=None, metadata=left_out("made by scripts that paint beyond an image")
    )

    def __post_init__(self) -> None:
        from PIL.Image import Image

        check_fields(self, "inpainting.", Image=Image)
        other = self.latent_mask
        if other is not None and other.size != self.mask.size:
            sizes = (f"{one.width}x{one.height} pixels" for one in (other, self.mask))
            message = "inpainting.latent_mask has {}, the mask {}; both must have the same size"
            raise RequestError(message.format(*sizes), field="inpainting.latent_mask")

    @property
    def rounded(self) -> bool:
        """Whether each latent cell is painted or not, with nothing between."""
        return self.hard and not self.soft


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStart:
    """Images to start from instead of pure noise: WebUI's img2img. Defaults are WebUI's.

    Attributes:
        images: One for all images of a batch, or one for each.
        denoising_strength: How much may change, 0 (almost nothing) to 1.
        resize_mode: How they are brought to the request's size.
        inpainting: Which part is repainted, or None for all.
        noise_seed: Seed of the encoder's noise for the first image, n + i for the i-th; None for
            the seeds of the first batch. It is noise for ``latent noise`` too.
        encoder_seed: Seed of one stream of numbers from which the encoder's noise of all images is drawn, one
            image after the other, or None for ``noise_seed``; what WebUI's random numbers are at from the
            second run of a script on, where it is the seed of the last image before.
        color_reference: Whose colors ``Options.color_correction`` gives the results; None for those of
            the image that each starts from.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    images: tuple[Image, ...] = field(
        metadata=described(
            "Image",
            "images to start from",
            flag=LeftOut("the command's own argument"),
            api=ApiField({"init_images": ()}),
            entry=LeftOut("no infotext holds an image"),
        )
    )
    denoising_strength: Share = field(
        default=0.75,
        metadata=described(
            "Denoising strength",
            "how much may change, 0 to 1",
            flag=Flag("--denoising", "X"),
            api=ApiField({"denoising_strength": 0.75}),
            entry=Entry("Denoising strength", parse_float, lambda value, _: float(value)),
            axis="denoising",
        ),
    )
    resize_mode: ResizeMode = field(
        default="stretch",
        metadata=described(
            "Resize mode",
            "how the image is brought to size",
            flag=Flag("--resize-mode"),
            api=ApiField({"resize_mode": 0}, *_numbered("resize_mode", get_args(ResizeMode))),
            entry=LeftOut("WebUI writes none"),
            labels=_RESIZE_MODES,
        ),
    )
    inpainting: Inpainting | None = field(
        default=None,
        metadata=grouped("Inpaint", "paint a part of the image only"),
    )
    noise_seed: Annotated[int, Between(0, MAX_SEED)] | None = field(
        default=None,
        metadata=described(
            "Noise seed",
            "seed of the encoder's noise",
            flag=LeftOut("follows the seed, as in WebUI"),
            api=LeftOut("follows the seed there"),
            entry=LeftOut("WebUI writes none"),
            usual="the image's seed",
        ),
    )
    encoder_seed: Annotated[int, Between(0, MAX_SEED)] | None = field(
        default=None, metadata=left_out("set by scripts that start from their own results")
    )
    color_reference: Image | None = field(
        default=None, metadata=left_out("made by scripts that start from their own results")
    )

    def __post_init__(self) -> None:
        from PIL.Image import Image

        check_fields(self, "start.", Image=Image)
        if not self.images:
            raise RequestError("there is no image to start from", field="start.images")
