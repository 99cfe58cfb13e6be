"""The second pass over an enlarged first image: WebUI's "hires. fix"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from promptengine.errors import RequestError
from promptengine.request.fields import ApiField, Entry, Flag, Said, SharedWith, described, unless
from promptengine.request.ranges import Pixels, Share
from promptengine.request.samplers import find_sampler
from promptengine.request.schedulers import find_scheduler
from promptengine.request.values import parse_float, parse_int, size_text
from promptengine.validation import Between, check_fields

__all__ = ["HiresPass", "named_hires_checkpoint"]


def _scale(scale: float, said: Said) -> float | None:
    return None if said.own["resize_x"] or said.own["resize_y"] else float(scale)


def _size(width: int, said: Said) -> str | None:
    height = said.own["resize_y"]
    return size_text(width, height) if width or height else None


def _if_other(name: str) -> Callable[[str, Said], str | None]:
    """Write a prompt where it is not the first pass's."""
    return lambda prompt, said: None if prompt in ("", said.request[name]) else prompt


def named_hires_checkpoint(name: str | None) -> str | None:
    """Return the checkpoint that a name means, or None where the name is WebUI's word for the same one."""
    return None if name is None or name.lower() in ("", "use same checkpoint") else name


@dataclass(frozen=True, slots=True, kw_only=True)
class HiresPass:
    """A second pass over an enlarged first image: WebUI's "hires. fix". Defaults are WebUI's.

    Attributes:
        scale: How much larger each side gets; not used where a side is given.
        resize_x: Width in pixels, or 0. Of two sides given, one is met and the other one cut to size.
        resize_y: Height likewise.
        upscaler: What enlarges: one of :data:`promptengine.images.upscalers.UPSCALERS`, or the name of a
            network's file without suffix; None is ``Latent``.
        steps: Steps of the second pass, all of which are walked; 0 for as many as in the first.
        sampler: Name of another sampler, or None for the same.
        scheduler: Another schedule type, or None for the one that the first pass asks for;
            ``automatic`` is the sampler's own.
        prompt: Another prompt, or empty for the same. Its tags replace all of the first pass's.
        negative_prompt: Likewise.
        denoising_strength: How much may change, 0 (nothing) to 1.
        checkpoint: Another checkpoint of the models folder for the second pass: a name, a title, or a file's
            name; never a path. None, empty, and ``Use same checkpoint`` are the first pass's.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    scale: Annotated[float, Between(0.01, 100)] = field(
        default=2.0,
        metadata=described(
            "Upscale by",
            "how much larger each side gets",
            flag=Flag("--hires-scale", "X"),
            api=ApiField({"hr_scale": 2.0}),
            entry=Entry("Hires upscale", parse_float, _scale, also=("Hires resize",)),
        ),
    )
    resize_x: Pixels = field(
        default=0,
        metadata=described(
            "Resize width to",
            "width instead of a scale",
            flag=Flag("--hires-width", "PX"),
            api=ApiField({"hr_resize_x": 0}),
            entry=Entry("Hires resize", None, _size),
            usual="by the scale",
        ),
    )
    resize_y: Pixels = field(
        default=0,
        metadata=described(
            "Resize height to",
            "height instead of a scale",
            flag=Flag("--hires-height", "PX"),
            api=ApiField({"hr_resize_y": 0}),
            entry=SharedWith("resize_x"),
            usual="by the scale",
        ),
    )
    upscaler: str | None = field(
        default=None,
        metadata=described(
            "Upscaler",
            "what enlarges, such as Latent or Lanczos",
            flag=Flag("--hires-upscaler", "NAME"),
            api=ApiField({"hr_upscaler": None}),
            entry=Entry("Hires upscaler", str),
            axis="hires-upscaler",
            usual="Latent",
            choices="upscalers",
        ),
    )
    steps: Annotated[int, Between(0, 1000)] = field(
        default=0,
        metadata=described(
            "Hires steps",
            "steps of the second pass",
            flag=Flag("--hires-steps", "N"),
            api=ApiField({"hr_second_pass_steps": 0}),
            entry=Entry("Hires steps", parse_int, unless(0)),
            axis="hires-steps",
            usual="as many as in the first pass",
        ),
    )
    sampler: str | None = field(
        default=None,
        metadata=described(
            "Hires sampling method",
            "another sampler",
            flag=Flag("--hires-sampler", "NAME"),
            api=ApiField({"hr_sampler_name": None}),
            entry=Entry("Hires sampler", str, also=("Hires schedule type",)),
            axis="hires-sampler",
            usual="the same",
            choices="samplers",
        ),
    )
    scheduler: str | None = field(
        default=None,
        metadata=described(
            "Hires schedule type",
            "another schedule type",
            flag=Flag("--hires-scheduler", "NAME"),
            api=ApiField({"hr_scheduler": None}),
            entry=Entry("Hires schedule type", str),
            usual="the one that the first pass asks for",
            choices="schedulers",
        ),
    )
    prompt: str = field(
        default="",
        metadata=described(
            "Hires prompt",
            "another prompt",
            flag=Flag("--hires-prompt", "TEXT"),
            api=ApiField({"hr_prompt": ""}),
            entry=Entry("Hires prompt", str, _if_other("prompt")),
            usual="the same",
            control="prompt",
        ),
    )
    negative_prompt: str = field(
        default="",
        metadata=described(
            "Hires negative prompt",
            "another negative prompt",
            flag=Flag("--hires-negative-prompt", "TEXT"),
            api=ApiField({"hr_negative_prompt": ""}),
            entry=Entry("Hires negative prompt", str, _if_other("negative_prompt")),
            usual="the same",
            control="prompt",
        ),
    )
    denoising_strength: Share = field(
        default=0.75,
        metadata=described(
            "Denoising strength",
            "how much may change, 0 to 1",
            flag=Flag("--hires-denoising", "X"),
            api=ApiField({"denoising_strength": 0.75}),
            entry=Entry("Denoising strength", parse_float, lambda value, _: float(value)),
            axis="denoising",
        ),
    )
    checkpoint: str | None = field(
        default=None,
        metadata=described(
            "Hires checkpoint",
            "another checkpoint",
            flag=Flag("--hires-checkpoint", "NAME"),
            api=ApiField({"hr_checkpoint_name": None}, named_hires_checkpoint),
            entry=Entry("Hires checkpoint", str),
            axis="hires-checkpoint",
            usual="the same",
            choices="checkpoints",
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self, "hires.")
        for name, check in (("sampler", find_sampler), ("scheduler", find_scheduler)):
            if value := getattr(self, name):
                try:
                    check(value)
                except RequestError as error:
                    raise RequestError(str(error), field=f"hires.{name}") from None
