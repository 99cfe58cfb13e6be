"""What is asked of an engine: one declaration of every field, from which all surfaces derive."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from promptengine.errors import RequestError
from promptengine.prompt.diagnostic_kinds import DiagnosticCode
from promptengine.prompt.dialects import DIALECTS, WEBUI, DialectName
from promptengine.request.dynamic_fields import DYNAMIC, DYNAMIC_METHOD, DynamicMethod
from promptengine.request.fields import (
    ApiField,
    Entry,
    Flag,
    LeftOut,
    Said,
    SharedWith,
    described,
    grouped,
    left_out,
    unless,
)
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart
from promptengine.request.in_memory import HypernetworkLike
from promptengine.request.options import Options
from promptengine.request.ranges import (
    LATENT_SCALE,
    MAX_SEED,
    Multiplier,
    Origin,
    Seed,
    Share,
    Side,
    drawn_seed,
)
from promptengine.request.refiner_fields import REFINER, REFINER_SWITCH_AT
from promptengine.request.regions import (
    BASE_RATIO,
    BASE_RATIOS,
    LAYOUT,
    RATIOS,
    BaseRatios,
    Ratios,
    Region,
    RegionLayout,
    check_regions,
)
from promptengine.request.samplers import Sampler, find_hires_sampler, find_sampler
from promptengine.request.values import (
    parse_float,
    parse_int,
    parse_size,
    size_text,
    without_fraction,
)
from promptengine.request.weighing import check_weighing
from promptengine.validation import Between, check_fields

__all__ = [
    "GenerationRequest",
    "HypernetworkLike",
    "Policy",
    "merging_ratios_of",
    "one_batch",
    "samplers_of",
    "with_seeds",
]

Policy = Literal["strict", "warn", "ignore"]
"""What to do with a network that cannot be applied: refuse, report with a diagnostic, or only report."""


def _read_sampler(name: str | None, index: str | None) -> str:
    return name or index or "Euler"


def _cut_side(pixels: int) -> int:
    return pixels - pixels % LATENT_SCALE


def _syntax(dialect: str, _: Said) -> str | None:
    return None if DIALECTS[dialect].silent else dialect


def _variation_strength(strength: float, said: Said) -> float | None:
    return None if said.own["variation_seed"] is None else strength


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
        cache_interval: How many calls of the UNet share one whole call at most, 1 to 100; those in between reuse its
            deep layers' states (DeepCache), but for the last tenth of a pass. 1 is exact, 3 takes about half the time.
        refiner: Another checkpoint of the models folder, which takes over on the way: a name, a title, or a
            file's name; never a path. None, empty, ``None`` and the model at work itself are none.
        refiner_switch_at: The share of the way after which it does, 0 to 1: 1 is never, None at once. By
            noise levels, unless ``Options.refiner_by_steps``; a second pass has it unless
            ``Options.refiner_pass`` says otherwise.
        hires: A second pass at a higher resolution, or None.
        start: What to start from instead of noise, or None.
        options: Everything else.
        policy: What to do with a network that cannot be applied.
        dialect: ``webui`` reads the prompt as WebUI does; ``extended`` lets hypernetworks change over
            the steps: ``<hypernet:ink:0@0,1@0.5>``, and tags within ``[a:b:0.5]`` and ``[a|b]``. Plugins
            may add others.
        region_ratios: How large the regions are that ``ADDCOL`` and ``ADDROW`` divide the image into, such as
            ``1,2`` or ``1,2,1;2,1``, see :func:`promptengine.request.regions.region_boxes`; empty for equal ones.
        region_base_ratios: How much of each region follows the text before ``ADDBASE``, 0 to 1: one number for
            all, or one for each.
        region_layout: ``horizontal`` divides into rows first, and these into columns; ``vertical`` into
            columns first.
        regions: Texts that act where their masks are; the prompt holds for all the rest. Up to 16.
        dynamic: Whether the prompts are templates, such as ``a {red|blue} car``, of which each image gets a
            prompt of its own; see :mod:`promptengine.prompt.templates`.
        dynamic_method: How choices are picked; anything but ``random`` needs ``dynamic``. Of ``combinatorial``
            there are as many images as combinations, but no more than are asked for.
        networks: Hypernetworks in memory with their multipliers, such as ``[(network, 0.8)]``. They act
            behind those of the tags, in both passes, as they are when the generation begins.
        ignored_diagnostics: Codes of diagnostics that results shall not tell, see
            :data:`promptengine.prompt.diagnostic_kinds.DIAGNOSTIC_KINDS`. What is refused stays refused.
        script_entries: What infotexts tell of the script that asks for the image: keys and values.

    Raises:
        RequestError: On creation, if a value has another type or is out of its range; names the field and
            what it must be.
    """

    prompt: str = field(
        metadata=described(
            "Prompt",
            "in WebUI's syntax, tags included",
            flag=LeftOut("the command's own argument"),
            api=ApiField({"prompt": ""}),
            entry=LeftOut("the text's first lines"),
            control="prompt",
        )
    )
    negative_prompt: str = field(
        default="",
        metadata=described(
            "Negative prompt",
            "what to steer away from",
            flag=Flag("--negative-prompt", "TEXT", "-n"),
            api=ApiField({"negative_prompt": ""}),
            entry=LeftOut("a line of its own"),
            control="prompt",
        ),
    )
    seed: Seed = field(
        default=-1,
        metadata=described(
            "Seed",
            "number that the noise is made of; -1 draws one",
            flag=Flag("--seed", "N"),
            api=ApiField({"seed": -1}),
            entry=Entry("Seed", parse_int),
            axis="seed",
            control="seed",
        ),
    )
    steps: Annotated[int, Between(1, 1000)] = field(
        default=20,
        metadata=described(
            "Sampling steps",
            "how many steps",
            flag=Flag("--steps", "N"),
            api=ApiField({"steps": 50}),
            entry=Entry("Steps", parse_int),
            axis="steps",
        ),
    )
    sampler: str = field(
        default="Euler a",
        metadata=described(
            "Sampling method",
            "what removes the noise",
            flag=Flag("--sampler", "NAME"),
            api=ApiField(
                {"sampler_name": None, "sampler_index": None},
                _read_sampler,
                lambda name: (name, None),
            ),
            entry=Entry("Sampler", None, also=("Schedule type",)),
            axis="sampler",
            choices="samplers",
        ),
    )
    scheduler: str = field(
        default="automatic",
        metadata=described(
            "Schedule type",
            "how the steps are spread, such as karras or beta",
            flag=Flag("--scheduler", "NAME"),
            api=ApiField({"scheduler": None}),
            entry=Entry("Schedule type", None),
            axis="scheduler",
            choices="schedulers",
        ),
    )
    cfg_scale: Annotated[float, Between(-1000, 1000)] = field(
        default=7.0,
        metadata=described(
            "CFG Scale",
            "how closely to follow the prompt",
            flag=Flag("--cfg-scale", "X"),
            api=ApiField({"cfg_scale": 7.0}),
            entry=Entry("CFG scale", parse_float, lambda value, _: without_fraction(value)),
            axis="cfg",
        ),
    )
    width: Side | None = field(
        default=None,
        metadata=described(
            "Width",
            "pixels across",
            flag=Flag("--width", "PX"),
            api=ApiField({"width": 512}, _cut_side),
            entry=Entry("Size", None, lambda wide, said: size_text(wide, said.own["height"])),
            usual="the start image's, or the checkpoint's own",
        ),
    )
    height: Side | None = field(
        default=None,
        metadata=described(
            "Height",
            "pixels down",
            flag=Flag("--height", "PX"),
            api=ApiField({"height": 512}, _cut_side),
            entry=SharedWith("width"),
            usual="the start image's, or the checkpoint's own",
        ),
    )
    batch_size: Annotated[int, Between(1, 1024)] = field(
        default=1,
        metadata=described(
            "Batch size",
            "images at once",
            flag=Flag("--batch-size", "N"),
            api=ApiField({"batch_size": 1}),
            entry=LeftOut("each image is told alone"),
        ),
    )
    batch_count: Annotated[int, Between(1, 1_000_000)] = field(
        default=1,
        metadata=described(
            "Batch count",
            "batches in a row",
            flag=Flag("--batch-count", "N"),
            api=ApiField({"n_iter": 1}),
            entry=LeftOut("each image is told alone"),
        ),
    )
    clip_skip: Annotated[int, Between(1, 100)] = field(
        default=1,
        metadata=described(
            "Clip skip",
            "1 reads CLIP's last layer, 2 the one before",
            flag=Flag("--clip-skip", "N"),
            api=LeftOut("a setting there: CLIP_stop_at_last_layers"),
            entry=Entry("Clip skip", parse_int, unless(1)),
            axis="clip-skip",
        ),
    )
    variation_seed: Seed = field(
        default=-1,
        metadata=described(
            "Variation seed",
            "noise to move towards; -1 draws one",
            flag=Flag("--variation-seed", "N"),
            api=ApiField({"subseed": -1}),
            entry=Entry("Variation seed", parse_int),
            axis="variation-seed",
            control="seed",
        ),
    )
    variation_strength: Share = field(
        default=0.0,
        metadata=described(
            "Variation strength",
            "how far to move, 0 to 1",
            flag=Flag("--variation-strength", "X"),
            api=ApiField({"subseed_strength": 0.0}),
            entry=Entry("Variation seed strength", parse_float, _variation_strength),
            axis="variation-strength",
        ),
    )
    seed_resize_from: tuple[Origin, Origin] | None = field(
        default=None,
        metadata=described(
            "Resize seed from",
            "size of an image whose composition the seed shall keep, as WIDTHxHEIGHT",
            flag=Flag("--seed-resize-from", "SIZE", read=parse_size),
            api=ApiField(
                {"seed_resize_from_w": -1, "seed_resize_from_h": -1},
                lambda *sides: sides if min(sides) > 0 else None,
                lambda sides: sides or (-1, -1),
            ),
            entry=Entry("Seed resize from", parse_size, lambda v, _: v and size_text(*v)),
            usual="none",
        ),
    )
    tiling: bool = field(
        default=False,
        metadata=described(
            "Tiling",
            "let opposite edges fit",
            flag=Flag("--tiling"),
            api=ApiField({"tiling": None}),
            entry=Entry("Tiling", None, lambda value, _: value or None),
        ),
    )
    cache_interval: Annotated[int, Between(1, 100)] = field(
        default=1,
        metadata=described(
            "Cache interval",
            "compute the UNet's deep layers at every n-th step only: quicker, and another image",
            flag=Flag("--cache", "N"),
            api=LeftOut("WebUI has no such thing"),
            entry=Entry("Cache interval", parse_int, unless(1)),
            axis="cache-interval",
        ),
    )
    refiner: str | None = field(default=None, metadata=REFINER)
    refiner_switch_at: Share | None = field(default=None, metadata=REFINER_SWITCH_AT)
    hires: HiresPass | None = field(
        default=None,
        metadata=grouped("Hires. fix", "a second pass at a higher resolution"),
    )
    start: ImageStart | None = field(
        default=None,
        metadata=grouped("Image to image", "start from images instead of noise"),
    )
    options: Options = field(
        default_factory=Options,
        metadata=left_out("WebUI's settings go by WebUI's names everywhere"),
    )
    policy: Policy = field(
        default="warn",
        metadata=described(
            "Policy",
            "what to do with a network that cannot be applied",
            flag=Flag("--policy"),
            api=LeftOut("WebUI always goes on, and says so"),
            entry=LeftOut("says nothing about the image"),
        ),
    )
    dialect: DialectName = field(
        default=WEBUI,
        metadata=described(
            "Prompt syntax",
            "how the prompt is read; extended lets networks change over the steps: "
            "<hypernet:ink:0@0,1@0.5>",
            flag=Flag("--dialect", choices=lambda: tuple(DIALECTS)),
            api=LeftOut("WebUI has the one"),
            entry=Entry("Prompt syntax", None, _syntax),
            choices="dialects",
        ),
    )
    region_ratios: Ratios = field(default="", metadata=RATIOS)
    region_base_ratios: BaseRatios = field(default=BASE_RATIO, metadata=BASE_RATIOS)
    region_layout: RegionLayout = field(default="horizontal", metadata=LAYOUT)
    regions: tuple[Region, ...] = field(
        default=(),
        metadata=left_out("masks travel as images, which each front end takes in its way"),
    )
    dynamic: bool = field(default=False, metadata=DYNAMIC)
    dynamic_method: DynamicMethod = field(default="random", metadata=DYNAMIC_METHOD)
    networks: tuple[tuple[HypernetworkLike, Multiplier], ...] = field(
        default=(),
        repr=False,
        metadata=left_out("objects in memory cannot travel"),
    )
    ignored_diagnostics: tuple[DiagnosticCode, ...] = field(
        default=(), metadata=left_out("says nothing about the image; a list of codes")
    )
    script_entries: tuple[tuple[str, str], ...] = field(
        default=(), metadata=left_out("written by scripts alone")
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_regions(self.regions)
        find_sampler(self.sampler, self.scheduler)
        counted = "variation_seed" if self.variation_strength > 0 else "seed"
        last = getattr(self, counted) + self.batch_size * self.batch_count - 1
        if problem := Between(-1, MAX_SEED).problem(last):
            raise RequestError(f"{counted} is {last} at the last image{problem}", field=counted)
        check_weighing(self.dialect, self.options)
        if self.dynamic_method != "random" and not self.dynamic:
            message = f"dynamic_method is {self.dynamic_method!r}, which picks from templates"
            raise RequestError(f"{message}; set dynamic as well", field="dynamic_method")
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
    """Return the samplers of both passes with their schedule types; the second is None where there is one pass."""
    asked, hires = (request.sampler, request.scheduler), request.hires
    later = None if hires is None else find_hires_sampler(asked, hires.sampler, hires.scheduler)
    return find_sampler(*asked), later


def merging_ratios_of(request: GenerationRequest) -> tuple[float, float]:
    """Return the shares of tokens that both passes merge; the second is 0 where there is one pass."""
    options = request.options
    first = options.token_merging
    if request.start is not None:
        first = options.token_merging_img2img or first
    return first, (options.token_merging_hires or first) if request.hires else 0.0


def with_seeds(request: GenerationRequest) -> GenerationRequest:
    """Return a request whose seeds are drawn where they are -1."""
    if min(request.seed, request.variation_seed) >= 0:
        return request
    seeds = drawn_seed(request.seed), drawn_seed(request.variation_seed)
    return replace(request, seed=seeds[0], variation_seed=seeds[1])


def one_batch(request: GenerationRequest, batch: int) -> GenerationRequest:
    """Return one batch of a request as a request of its own, with the seeds it has there.

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
