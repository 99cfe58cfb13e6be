"""What comes back from an engine: images and the truth about them, and how far a job is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from promptengine.errors import RequestError
from promptengine.kinds.blocks import BlockWeights
from promptengine.prompt.ast import Diagnostic, Span
from promptengine.validation import Between, check_type

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["GenerationResult", "ModelUse", "NetworkReport", "Progress"]


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """What became of one tag, or of one network that the request holds itself.

    Attributes:
        kind: The tag's kind, such as ``hypernet``.
        name: The network's name as written.
        multiplier: As used, or None where it could not be read; a LoRA's for the text encoder; of one
            that changes over the steps the one of the largest effect.
        applied: Whether the network changed the model while the image was made.
        reason: Why not, in words; empty if applied.
        span: The tag's place in the prompt; of a network in the request the prompt's end.
        path: The file, where one was found.
        digest: Its SHA-256 in hex, where it was applied; of a network in the request that of its
            settings and weights.
        unet_multiplier: A LoRA's for the UNet, as used; None for other kinds.
        lora_hash: A LoRA's 12 digits in WebUI's ``Lora hashes``, where its file was used or would have
            been, were its multiplier not 0.
        multipliers: Where it changes over the steps, that of each call of the denoiser; else empty. A
            LoRA's for the UNet.
        text_multipliers: A LoRA's for the text encoder, likewise: a text is encoded under that of the call
            at which it is first read.
        blocks: Weights by block that multiplied its multipliers; None where the tag asks for none.
        origin: ``prompt`` for a tag, ``request`` for one of :attr:`GenerationRequest.networks`.
        region: The region that it acts in, from 1; None for the whole image. Where regions have masks, ``span``
            is a place of that region's prompt.
    """

    kind: str
    name: str
    multiplier: float | None
    applied: bool
    reason: str
    span: Span
    path: Path | None = None
    digest: str | None = None
    unet_multiplier: float | None = None
    lora_hash: str | None = None
    multipliers: tuple[float, ...] = ()
    text_multipliers: tuple[float, ...] = ()
    blocks: BlockWeights | None = None
    origin: Literal["prompt", "request"] = "prompt"
    region: int | None = None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model did for a batch.

    Attributes:
        name: The checkpoint's, without suffix.
        path: Its file or folder.
        stage: The pass: ``first`` or ``hires``.
        batch: Which batch, from 0.
        calls: How often its denoiser was called in a row.
    """

    name: str
    path: Path
    stage: Literal["first", "hires"]
    batch: int
    calls: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. Steps are the sampler's updates.

    Attributes:
        batch: Batches finished before this one.
        batches: Batches in all.
        step: Steps done in this batch, from 1. Samplers that pick their own steps (DPM fast, DPM
            adaptive) make fewer or more than were asked for.
        steps: Steps of a batch as planned, both passes together.
        denoised: What the latents would be without noise, ``[images, 4, height / 8, width / 8]`` on
            the device, of all images of the batch. To be read during the call only.
        drawn: What turns ``denoised`` into small images.
    """

    batch: int
    batches: int
    step: int
    steps: int
    denoised: Tensor | None = field(default=None, repr=False, compare=False)
    drawn: Callable[[Tensor], list[Image]] | None = field(default=None, repr=False, compare=False)

    def preview(self, number: int = 0) -> Image:
        """Draw one image as it stands, an eighth as wide and high: rough, but in no time.

        Args:
            number: Which one of the batch, from 0. To be called during the callback only.

        Raises:
            RequestError: No such image, or this tells of no image at all.
        """
        if self.drawn is None or self.denoised is None:
            raise RequestError("this progress holds no image to preview", field="progress")
        check_type("number", number, int)
        Between(0, len(self.denoised) - 1).check("number", number)
        return self.drawn(self.denoised[number : number + 1])[0]


@dataclass(frozen=True, slots=True, eq=False)
class GenerationResult:
    """Finished images and the truth about how they were made.

    Attributes:
        images: Pillow images, RGB, in order of their seeds.
        latents: ``[images, 4, height / 8, width / 8]``, float32, on the CPU; without those of images that
            an interrupt left at the size of the first pass, before the second one enlarged them.
        infotexts: WebUI's ``parameters`` text of each image.
        seeds: Of each image.
        variation_seeds: Of each image where there is a variation, else empty.
        networks: Every tag of the prompt, then every network that the request holds itself: applied or
            not, and why.
        hires_networks: Likewise in the high-resolution pass; empty where there is none.
        diagnostics: What a person would want to know about the prompts and files.
        timings: Seconds by stage: plan, load, encode, sample, decode.
        refiner_networks: Likewise where a refiner took over, first pass before second: on it none act, as in
            WebUI. Empty where there was none to take over.
        models: Which model made which part of the sampling, in order.
        unfinished: Numbers of the images that an interrupt ended before their last step, from 0.
        masks: RGB, of each image what of its original was laid over it, black for all; empty unless
            ``Options.return_mask``, or where nothing was inpainted.
        mask_composites: RGBA, of each image what was painted, transparent where the original shows; empty
            unless ``Options.return_mask_composite``, likewise.
        prompts: Prompt and negative prompt of each image where templates gave them, else empty.
    """

    images: tuple[Image, ...]
    latents: Tensor
    infotexts: tuple[str, ...]
    seeds: tuple[int, ...]
    networks: tuple[NetworkReport, ...]
    diagnostics: tuple[Diagnostic, ...]
    timings: Mapping[str, float] = field(default_factory=dict[str, float])
    variation_seeds: tuple[int, ...] = ()
    hires_networks: tuple[NetworkReport, ...] = ()
    refiner_networks: tuple[NetworkReport, ...] = ()
    models: tuple[ModelUse, ...] = ()
    unfinished: tuple[int, ...] = ()
    masks: tuple[Image, ...] = ()
    mask_composites: tuple[Image, ...] = ()
    prompts: tuple[tuple[str, str], ...] = ()

    def masks_of(self, number: int) -> dict[str, Image]:
        """Return what belongs to an image beside it, as far as the options ask for it.

        Args:
            number: Which image, from 0.

        Returns:
            ``mask`` and ``mask-composite``, in WebUI's order.
        """
        found = {"mask": self.masks, "mask-composite": self.mask_composites}
        return {name: images[number] for name, images in found.items() if images}
