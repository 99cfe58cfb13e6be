"""What is asked of an engine, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, runtime_checkable

from promptengine.errors import RequestError
from promptengine.prompt import parse
from promptengine.prompt.ast import Diagnostic, Dialect, Span
from promptengine.request.options import REQUEST_SETTINGS, SETTINGS, Options
from promptengine.request.samplers import Sampler, find_hires_sampler, find_sampler
from promptengine.request.schedulers import find_scheduler
from promptengine.validation import Between, MultipleOf, check_fields, check_type

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "GenerationRequest",
    "GenerationResult",
    "HiresPass",
    "HypernetworkLike",
    "ImageStart",
    "Inpainting",
    "MaskedContent",
    "NetworkReport",
    "Policy",
    "Progress",
    "ResizeMode",
    "append_default_hypernetwork",
    "append_hypernetwork",
    "append_tag",
    "apply_settings",
    "one_batch",
    "samplers_of",
]

Policy = Literal["strict", "warn", "ignore"]
"""What to do with a network that cannot be applied: refuse, report with a diagnostic, or only report."""

ResizeMode = Literal["stretch", "crop", "pad", "latent"]
"""How an image is brought to size: its proportions ignored, its sides cut, its edges continued, or not
at all but by resizing its latents. WebUI's modes 0 to 3."""

MaskedContent = Literal["fill", "original", "latent noise", "latent nothing"]
"""What stands under a mask at first: the colors around it, the image itself, noise, or nothing."""

MAX_SEED = 2**64 - 1
LATENT_SCALE = 8
_LARGEST = 16384

Share = Annotated[float, Between(0, 1)]
"""How much of something: 0 is nothing, 1 all."""

Pixels = Annotated[int, Between(0, _LARGEST)]
Side = Annotated[int, Between(LATENT_SCALE, _LARGEST), MultipleOf(LATENT_SCALE)]
"""Pixels of an image's side."""

Origin = Annotated[int, Between(LATENT_SCALE, _LARGEST)]
Blur = Annotated[float, Between(0, 256)]

Seed = Annotated[int, Between(-1, MAX_SEED)]
"""Of random numbers; -1 has one drawn."""


Multiplier = Annotated[float, Between(-1000, 1000)]


@runtime_checkable
class HypernetworkLike(Protocol):
    """What a request may hold of :class:`promptengine.Hypernetwork`, which this part does not load."""

    name: str
    step: int

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths it has networks for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HiresPass:
    """A second pass over an enlarged first image: WebUI's "hires. fix". Defaults are WebUI's.

    Attributes:
        scale: How much larger each side gets; not heeded where a side is given.
        resize_x: Width in pixels, or 0. Of two sides given, one is met and the other one cut to size.
        resize_y: Height likewise.
        upscaler: What enlarges: one of :data:`promptengine.images.upscalers.UPSCALERS`; None is ``Latent``.
        steps: Steps of the second pass, all of which are walked; 0 for as many as in the first.
        sampler: Name of another sampler, or None for the same.
        scheduler: Another schedule type, or None for the one that the first pass asks for;
            ``automatic`` is the sampler's own.
        prompt: Another prompt, or empty for the same. Its tags replace all of the first pass's.
        negative_prompt: Likewise.
        denoising_strength: How much may change, 0 (nothing) to 1.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    scale: Annotated[float, Between(0.01, 100)] = 2.0
    resize_x: Pixels = 0
    resize_y: Pixels = 0
    upscaler: str | None = None
    steps: Annotated[int, Between(0, 1000)] = 0
    sampler: str | None = None
    scheduler: str | None = None
    prompt: str = ""
    negative_prompt: str = ""
    denoising_strength: Share = 0.75

    def __post_init__(self) -> None:
        check_fields(self, "hires.")
        for name, check in (("sampler", find_sampler), ("scheduler", find_scheduler)):
            if value := getattr(self, name):
                try:
                    check(value)
                except RequestError as error:
                    raise RequestError(str(error), field=f"hires.{name}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inpainting:
    """Which part of an image is painted anew. Defaults are those of WebUI's page.

    Attributes:
        mask: White where to paint. The alpha channel counts instead if there is one that says
            anything.
        inverted: Paint what the mask leaves out.
        blur: Sigma of the mask's blur, across and down, in pixels, 0 to 256.
        content: What stands under the mask at first.
        only_masked: Work on the part around the masked area alone, at full resolution.
        padding: Pixels around that area.
        hard: Decide each latent cell to be painted or not; soft masks blend in every step.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    mask: Image
    inverted: bool = False
    blur: tuple[Blur, Blur] = (4, 4)
    content: MaskedContent = "original"
    only_masked: bool = False
    padding: Pixels = 32
    hard: bool = True

    def __post_init__(self) -> None:
        from PIL.Image import Image

        check_fields(self, "inpainting.", Image=Image)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStart:
    """Images to start from instead of pure noise: WebUI's img2img. Defaults are WebUI's.

    Attributes:
        images: One for all images of a batch, or one for each.
        denoising_strength: How much may change, 0 (almost nothing) to 1.
        resize_mode: How they are brought to the request's size.
        inpainting: Which part is painted anew, or None for all.
        noise_seed: Seed of the encoder's noise for the first image, n + i for the i-th; None for
            the seeds of the first batch. It is noise for ``latent noise`` too.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    images: tuple[Image, ...]
    denoising_strength: Share = 0.75
    resize_mode: ResizeMode = "stretch"
    inpainting: Inpainting | None = None
    noise_seed: Annotated[int, Between(0, MAX_SEED)] | None = None

    def __post_init__(self) -> None:
        from PIL.Image import Image

        check_fields(self, "start.", Image=Image)
        if not self.images:
            raise RequestError("there is no image to start from", field="start.images")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One job. Defaults are WebUI's.

    Attributes:
        prompt: WebUI prompt, tags included.
        negative_prompt: What to steer away from. Tags are words here, as in WebUI.
        seed: 0 to 2**64 - 1, or -1 to have one drawn and reported. Image i has ``seed + i``.
        steps: 1 to 1000.
        sampler: A name or alias from :data:`promptengine.request.samplers.SAMPLERS`; the label of a
            schedule type may follow, such as `` Karras``.
        scheduler: A schedule type from :data:`promptengine.request.schedulers.SCHEDULERS`, which counts
            before one in the sampler's name; ``automatic`` leaves the choice to that, or else is the
            sampler's own.
        cfg_scale: Guidance; 1 follows the prompt alone.
        width: Pixels, a multiple of 8, or None for the checkpoint's own size; where there is an image
            to start from, for the image's, cut to a multiple of 8.
        height: Likewise.
        batch_size: Images made at once; but see :attr:`batch_images`.
        batch_count: Batches made one after another.
        clip_skip: 1 reads CLIP's last layer, n the n-th from the end.
        variation_seed: Seed of the noise to move towards, or -1 to have one drawn. Image i then has
            ``variation_seed + i``, and all have the same ``seed``.
        variation_strength: How far to move, 0 (none) to 1.
        seed_resize_from: Width and height in pixels of an image whose composition the seed shall
            keep at this size, or None.
        tiling: Let opposite edges fit.
        hires: A second pass at a higher resolution, or None.
        start: What to start from instead of noise, or None.
        options: Everything else.
        policy: What to do with a network that cannot be applied.
        dialect: ``webui`` reads the prompt as WebUI does; ``extended`` lets hypernetworks change over
            the steps: ``<hypernet:ink:0@0,1@0.5>``, and tags within ``[a:b:0.5]`` and ``[a|b]``.
        networks: Hypernetworks in memory with their multipliers, such as ``[(network, 0.8)]``. They act
            behind those of the tags, in both passes, as they are when the generation begins.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    prompt: str
    negative_prompt: str = ""
    seed: Seed = -1
    steps: Annotated[int, Between(1, 1000)] = 20
    sampler: str = "Euler a"
    scheduler: str = "automatic"
    cfg_scale: Annotated[float, Between(-1000, 1000)] = 7.0
    width: Side | None = None
    height: Side | None = None
    batch_size: Annotated[int, Between(1, 1024)] = 1
    batch_count: Annotated[int, Between(1, 1_000_000)] = 1
    clip_skip: Annotated[int, Between(1, 100)] = 1
    variation_seed: Seed = -1
    variation_strength: Share = 0.0
    seed_resize_from: tuple[Origin, Origin] | None = None
    tiling: bool = False
    hires: HiresPass | None = None
    start: ImageStart | None = None
    options: Options = field(default_factory=Options)
    policy: Policy = "warn"
    dialect: Dialect = "webui"
    networks: tuple[tuple[HypernetworkLike, Multiplier], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        find_sampler(self.sampler, self.scheduler)
        counted = "variation_seed" if self.variation_strength > 0 else "seed"
        last = getattr(self, counted) + self.batch_size * self.batch_count - 1
        if problem := Between(-1, MAX_SEED).problem(last):
            raise RequestError(f"{counted} is {last} at the last image{problem}", field=counted)
        if self.hires and self.start:
            message = (
                "the high-resolution pass goes with a prompt alone, not with an image to start from"
            )
            raise RequestError(message, field="hires")
        if self.start and len(self.start.images) > self.batch_size:
            count = len(self.start.images)
            message = f"there are {count} images to start from, but batch_size is {self.batch_size}"
            raise RequestError(f"{message}; make it {count}", field="batch_size")

    @property
    def batch_images(self) -> int:
        """Images of a batch: fewer than asked for where there are fewer images to start from."""
        given = len(self.start.images) if self.start else 1
        return self.batch_size if given == 1 else given


def samplers_of(request: GenerationRequest) -> tuple[Sampler, Sampler | None]:
    """The samplers of both passes with their schedule types; the second is None where there is one pass."""
    asked, hires = (request.sampler, request.scheduler), request.hires
    later = None if hires is None else find_hires_sampler(asked, hires.sampler, hires.scheduler)
    return find_sampler(*asked), later


def one_batch(request: GenerationRequest, batch: int) -> GenerationRequest:
    """One batch of a request as a request of its own, with the seeds it has there.

    Args:
        request: With seeds that are drawn already.
        batch: Counted from 0.
    """
    images = batch * request.batch_images
    start = request.start
    if start is not None and start.noise_seed is None:
        # All batches of one request start from the same latents.
        request = replace(request, start=replace(start, noise_seed=request.seed))
    if request.variation_strength > 0:
        return replace(request, variation_seed=request.variation_seed + images, batch_count=1)
    return replace(request, seed=request.seed + images, batch_count=1)


def apply_settings(request: GenerationRequest, settings: Mapping[str, object]) -> GenerationRequest:
    """Change a request by WebUI's options.

    Args:
        request: What to change.
        settings: WebUI's names and values, as in an API's ``override_settings``.

    Raises:
        RequestError: An unknown name, or a value that cannot be used.
    """
    own = {
        REQUEST_SETTINGS[name]: SETTINGS[name].ours(value)
        for name, value in settings.items()
        if name in REQUEST_SETTINGS
    }
    others = {name: value for name, value in settings.items() if name not in REQUEST_SETTINGS}
    return replace(request, options=Options.from_webui(others, request.options), **own)


def append_hypernetwork(prompt: str, name: str, multiplier: str = "1") -> str:
    """Append a hypernetwork's tag to a prompt.

    Args:
        prompt: Any prompt.
        name: As the registry knows it.
        multiplier: As it shall stand in the tag.

    Raises:
        RequestError: No tag can hold this name.
    """
    if not name or any(mark in name for mark in "<>:\r\n"):
        message = f"{name!r} is no name of a hypernetwork that a tag can hold"
        raise RequestError(message, field="hypernetwork")
    return append_tag(prompt, f"<hypernet:{name}:{multiplier}>")


def append_tag(prompt: str, tag: str) -> str:
    """Append a tag; behind a comment on a new line, since it would be part of that."""
    line_break = "\n" if "#" in prompt.rpartition("\n")[2] else ""
    return f"{prompt}{line_break}{tag}"


def append_default_hypernetwork(request: GenerationRequest) -> GenerationRequest:
    """Append the tag of the hypernetwork that the options name, unless the prompt has one of it.

    Raises:
        RequestError: No tag can hold the name.
    """
    name = request.options.hypernetwork
    read = parse(request.prompt, comments=request.options.comments)
    tags = [tag for tag in read.tags if tag.kind == "hypernet"]
    if name in ("", "None") or any(tag.arguments[0] == name for tag in tags):
        return request
    multiplier = str(request.options.default_multiplier)
    return replace(request, prompt=append_hypernetwork(request.prompt, name, multiplier))


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
        multipliers: Where it changes over the steps, that of each call of the denoiser; else empty.
        origin: ``prompt`` for a tag, ``request`` for one of :attr:`GenerationRequest.networks`.
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
    origin: Literal["prompt", "request"] = "prompt"


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
        unfinished: Numbers of the images that an interrupt ended before their last step, from 0.
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
    unfinished: tuple[int, ...] = ()
