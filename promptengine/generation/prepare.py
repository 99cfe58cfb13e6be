"""A request made ready: every prompt encoded, every network loaded, every level known."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from promptengine.accel.memory import needs_tiles, vae_tiling
from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import RequestError
from promptengine.generation.conditioning import EngineContext
from promptengine.generation.further_models import FurtherModels
from promptengine.generation.img2img import InitLatents, encode_init_images
from promptengine.generation.named_models import (
    NamedModels,
    check_latents,
    find_models,
    names_models,
)
from promptengine.generation.passes import PassRequest, PreparedPass
from promptengine.generation.timing import StageTimer
from promptengine.images.latent_upscale import HiresSize, hires_size
from promptengine.images.upscalers import PixelUpscaler, latent_upscalers
from promptengine.kinds import LORA
from promptengine.networks.load import LoadedNetworks
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.registry import Registry
from promptengine.request.edit import append_default_hypernetwork
from promptengine.request.hires_pass import HiresPass
from promptengine.request.options import Options
from promptengine.request.plan import append_default_lora
from promptengine.request.regions import BASE_RATIO
from promptengine.request.request import (
    GenerationRequest,
    merging_ratios_of,
    samplers_of,
    with_seeds,
)
from promptengine.request.result import NetworkReport
from promptengine.request.samplers import Sampler, SigmaSampler, split_sampler
from promptengine.request.schedulers import AUTOMATIC, find_scheduler
from promptengine.sampling.img2img_steps import (
    fixed_steps_for_strength,
    sigmas_for,
    steps_for_strength,
)

__all__ = [
    "PreparedRequest",
    "Refining",
    "batch_settings",
    "check_supported",
    "prepare_request",
    "share_networks",
]

_OWN: Mapping[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "seed": 0,
    "variation_seed": 0,
    "cfg_scale": 1.0,
    "clip_skip": 1,
    "batch_size": 1,
    "networks": (),
    "regions": (),
    "region_ratios": "",
    "region_base_ratios": BASE_RATIO,
    "region_layout": "horizontal",
}
"""What requests of one batch may have of their own."""

_IN_TILES = kinds.DECODED_IN_TILES(
    "memory is short, so the VAE works in tiles, which may show faintly",
    None,
    "ask for a smaller image, or free memory",
)


@dataclass(frozen=True, slots=True, eq=False)
class Refining:
    """The change to a refiner on the way.

    As in WebUI, the networks of prompts act on the model before, and not on the refiner.

    Attributes:
        model: The refiner's file.
        first: The first pass as the refiner makes it, or None where it takes no part.
        second: The same of the second pass.
    """

    model: Path
    first: PreparedPass | None
    second: PreparedPass | None

    @property
    def passes(self) -> tuple[PreparedPass, ...]:
        """Those in which it takes part."""
        return tuple(one for one in (self.first, self.second) if one)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A request with everything worked out that does not change from batch to batch.

    Attributes:
        request: As it came, but for tags that an option appends to the prompt.
        first: The first pass.
        second: The high-resolution pass, or None.
        larger: What that one enlarges to; given with it.
        start: What the first pass starts from, or None for pure noise.
        seeds: Of all images.
        variation_seeds: Likewise, or empty where there is no variation.
        width: Pixels.
        height: Likewise.
        tiles: Whether the VAE works in tiles, for want of memory.
        refining: The change to a refiner, or None.
    """

    request: GenerationRequest
    first: PreparedPass
    second: PreparedPass | None
    larger: HiresSize | None
    start: InitLatents | None
    seeds: Sequence[int]
    variation_seeds: Sequence[int]
    width: int
    height: int
    tiles: bool
    refining: Refining | None = None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Of all passes. What later ones repeat is left out, and places in their prompts unnamed."""
        tiles = [_IN_TILES] if self.tiles else []
        refined = self.refining.passes if self.refining else ()
        own = (*self.first.diagnostics, *_idle_schedules(self))
        others = [*([self.second] if self.second else []), *refined]
        later = [one.without_places() for each in others for one in each.diagnostics]
        known = {one.without_places() for one in own}
        return *own, *(one for one in dict.fromkeys(later) if one not in known), *tiles

    @property
    def refiner_reports(self) -> tuple[NetworkReport, ...]:
        """What becomes of networks where the refiner takes over."""
        refining, reason = self.refining, "networks do not act on a refiner"
        pairs = (
            []
            if refining is None
            else [(refining.first, self.first), (refining.second, self.second)]
        )
        return tuple(
            replace(report, applied=False, reason=reason) if report.applied else report
            for refined, own in pairs
            if refined is not None and own is not None
            for report in own.stack.reports
        )

    @property
    def adaptive(self) -> bool:
        """Whether a sampler of either pass is adaptive."""
        return _any_adaptive(one.sampler for one in (self.first, self.second) if one)

    @property
    def shared(self) -> Hashable:
        """What must be equal for jobs to be sampled as one batch; nothing is equal to it where
        :func:`batch_settings` of the request is None.
        """
        settings = batch_settings(self.request)
        if settings is None:
            return object()
        passes = [self.first, *([self.second] if self.second else [])]
        passes += self.refining.passes if self.refining else ()
        return (
            settings,
            self.tiles,
            *(one.stack.model_key for one in passes),
        )

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the finished latents."""
        return (
            (self.height // 8, self.width // 8)
            if self.larger is None
            else self.larger.trimmed_cells
        )

    @property
    def steps(self) -> int:
        """The sampler's updates in both passes, as planned."""
        return self.first_steps + (_updates(self.second, 0) if self.second else 0)

    @property
    def first_steps(self) -> int:
        """The sampler's updates in the first pass, as planned."""
        return _updates(self.first, self.request.steps)


def batch_settings(request: GenerationRequest) -> Hashable | None:
    """Return what requests must have in common to be sampled as one batch.

    None where the images of a batch depend on each other: where a sampler picks its steps by all of
    them, where they share noise, and where they start from images.
    """
    hires, samplers = request.hires, filter(None, samplers_of(request))
    if request.start is not None or request.options.sde_noise_per_batch or _any_adaptive(samplers):
        return None
    return replace(request, **_OWN, hires=hires and replace(hires, prompt="", negative_prompt=""))


def _any_adaptive(samplers: Iterable[Sampler]) -> bool:
    return any(isinstance(sampler, SigmaSampler) and sampler.adaptive for sampler in samplers)


def _updates(prepared: PreparedPass, steps: int) -> int:
    if prepared.walk is None:
        return steps
    return max(len(sigmas_for(prepared.sampler, prepared.schedule, prepared.walk)) - 1, 0)


def prepare_request(
    further: FurtherModels,
    request: GenerationRequest,
    encoder_noise: Tensor | None,
    clock: StageTimer,
) -> PreparedRequest:
    """Work a request out; see :meth:`promptengine.generation.engine.Engine.generate` for errors."""
    parts, options = further.own, request.options
    _check_expanded(request)
    check_supported(options)
    models = find_models(request, parts.registry, parts.checkpoint.path)
    seeds, variation_seeds = _drawn_seeds(request)
    width, height = _size(parts.checkpoint, request)
    hires = request.hires
    larger = None if hires is None else _enlargement(parts, hires, options, width, height)
    with_tags = _with_default_networks(parts.registry, request)
    asked, later = _pass_requests(parts.registry, request, with_tags)
    first = asked.on(parts, clock)
    second = None
    if later is not None:
        under = first.stack if options.hires_first_networks and models.hires is None else None
        second = _on(further, models.hires, later, clock, field="hires.checkpoint", under=under)
    refining = _refining(further, models, first, second, clock)
    tiles = _needs_tiles(further, request, larger, (width, height))
    vaes, journal = [parts.checkpoint.vae] * tiles, parts.checkpoint.journal
    with clock.measuring("encode"), vae_tiling(*vaes, journal=journal):
        latents = encode_init_images(
            parts,
            with_tags,
            (width, height),
            seeds,
            encoder_noise,
            upscaler=_image_upscaler(parts, with_tags),
        )
    return PreparedRequest(
        request=with_tags,
        first=first,
        second=second,
        larger=larger,
        start=latents,
        seeds=seeds,
        variation_seeds=variation_seeds,
        width=width,
        height=height,
        tiles=tiles,
        refining=refining,
    )


def _pass_requests(
    registry: Registry, request: GenerationRequest, with_tags: GenerationRequest
) -> tuple[PassRequest, PassRequest | None]:
    """Return what is asked of both passes."""
    options, start, hires = request.options, request.start, request.hires
    sampler, other = samplers_of(request)
    calls = _calls(sampler, request.steps, options)
    merging, later_merging = merging_ratios_of(request)
    walk = None
    if start is not None:
        rule = fixed_steps_for_strength if options.img2img_exact_steps else steps_for_strength
        walk = rule(request.steps, start.denoising_strength)
    first = PassRequest(with_tags, sampler, walk, (calls, None), merging)
    if hires is None or other is None:
        return first, None
    steps = hires.steps or request.steps
    second = PassRequest(
        _with_default_networks(registry, _with_prompts_of(hires, request)),
        other,
        fixed_steps_for_strength(steps, hires.denoising_strength),
        (calls, _calls(other, steps, options)),
        later_merging,
    )
    return first, second


def _on(
    further: FurtherModels,
    model: Path | None,
    asked: PassRequest,
    clock: StageTimer,
    *,
    field: str,
    under: LoadedNetworks | None = None,
    bare: bool = False,
) -> PreparedPass:
    """Prepare a pass for a model; of a further one's networks only what can be said, since it may go.

    ``field`` is the one that names the model.
    """
    if model is None or further.is_own(model):
        return asked.on(further.own, clock, under=under, bare=bare)
    with clock.measuring("open"):
        parts = further.at(model)
    hires, starts = asked.request.hires, asked.request.start is not None
    if field == "refiner" or (hires and (hires.upscaler or "Latent") in latent_upscalers()):
        check_latents(further.own.checkpoint, parts.checkpoint, starts=starts, field=field)
    return asked.on(parts, clock, model=model, bare=bare).told()


def _refining(
    further: FurtherModels,
    models: NamedModels,
    first: PreparedPass,
    second: PreparedPass | None,
    clock: StageTimer,
) -> Refining | None:
    """Return the change to a refiner, if there is any and it may come."""
    options, at = first.asked.request.options, first.asked.request.refiner_switch_at
    never = at is not None and at >= 1 and not options.refiner_by_steps
    if models.refiner is None or never:
        return None
    refiner = models.refiner

    def refined(one: PreparedPass | None, *names: str) -> PreparedPass | None:
        taken = second is None or options.refiner_pass in names
        if one is None or not taken or _is_same(further, one.model, refiner):
            return None
        prepared = _on(further, refiner, one.asked, clock, field="refiner", bare=True)
        return replace(prepared, model=refiner)

    found = Refining(refiner, refined(first, "first", "both"), refined(second, "second", "both"))
    return found if found.passes else None


def _is_same(further: FurtherModels, model: Path | None, other: Path) -> bool:
    """Return whether two models are one; None is the engine's own."""
    return further.is_own(other) if model is None else model == other


def _needs_tiles(
    further: FurtherModels,
    request: GenerationRequest,
    larger: HiresSize | None,
    size: tuple[int, int],
) -> bool:
    """Return whether VAEs have to work in tiles; a further model that is not needed goes first."""
    parts = further.own
    largest = (larger.width, larger.height) if larger else size
    # Tiles do not know of each other's far edge, which circular images depend on.
    if request.tiling or not needs_tiles(parts.checkpoint.vae, parts.device, *largest):
        return False
    if parts.stays and not names_models(request) and further.forget():
        return needs_tiles(parts.checkpoint.vae, parts.device, *largest)
    return True


def share_networks(first: PreparedRequest, job: PreparedRequest) -> PreparedRequest:
    """Return a job under the networks of another one's prompt, as the later rows of WebUI's batches are.

    Its own networks are reported as not applied.
    """
    second = job.second
    if second is not None and first.second is not None:
        second = second.led_by(first.second)
    return replace(job, first=job.first.led_by(first.first), second=second)


def _calls(sampler: Sampler, steps: int, options: Options) -> int:
    """Return what prompt schedules count as the calls of a pass."""
    doubled = sampler.second_order and not options.undoubled_timelines
    return steps * 2 if doubled else steps


def _size(checkpoint: Checkpoint, request: GenerationRequest) -> tuple[int, int]:
    native = (checkpoint.native_size, checkpoint.native_size)
    if request.start is not None:
        width, height = request.start.images[0].size
        native = max(width // 8 * 8, 8), max(height // 8 * 8, 8)
    return request.width or native[0], request.height or native[1]


def _enlargement(
    parts: EngineContext, hires: HiresPass, options: Options, width: int, height: int
) -> HiresSize:
    if hires.upscaler is not None:
        # It is loaded here, so that a file that cannot be used is refused before anything is made.
        parts.upscalers.find(hires.upscaler, options, field="hires.upscaler")
    return hires_size(hires, width, height)


def _image_upscaler(parts: EngineContext, request: GenerationRequest) -> PixelUpscaler | None:
    """Return what enlarges the images that a request starts from, if it starts from any."""
    if request.start is None:
        return None
    options = request.options
    field = Options.webui_name("image_upscaler")
    return parts.upscalers.find_pixel(options.image_upscaler, options, field=field)


def _with_prompts_of(hires: HiresPass, request: GenerationRequest) -> GenerationRequest:
    return replace(
        request,
        prompt=hires.prompt or request.prompt,
        negative_prompt=hires.negative_prompt or request.negative_prompt,
    )


def _with_default_networks(registry: Registry, request: GenerationRequest) -> GenerationRequest:
    """Append the tags of the networks that the options name, as WebUI's settings do."""
    request, options = append_default_hypernetwork(request), request.options
    if registry.find(LORA.name, options.lora) is None:
        return request
    prompt = append_default_lora(
        request.prompt, options.lora, options.default_multiplier, dialect=request.dialect
    )
    return replace(request, prompt=prompt)


def _check_expanded(request: GenerationRequest) -> None:
    """Refuse templates where a prompt is wanted, rather than draw their marks."""
    if request.dynamic:
        message = "dynamic is true, but here each request is one prompt"
        raise RequestError(
            f"{message}; expand it first (expand_request), or set dynamic to false", field="dynamic"
        )


def check_supported(options: Options) -> None:
    """Raise RequestError where options cannot be honored together."""
    if options.downcast_alphas and options.noise_schedule == "zero_terminal_snr":
        name = Options.webui_name("downcast_alphas")
        message = (
            f"option {name} cannot be true with zero terminal SNR: half precision has no number"
        )
        raise RequestError(f"{message} for its last noise level; leave one of them out", field=name)


def _drawn_seeds(request: GenerationRequest) -> tuple[Sequence[int], Sequence[int]]:
    """Seeds and variation seeds of all images, drawn where the request leaves them open."""
    images = request.batch_images * request.batch_count
    drawn = with_seeds(request)
    seed, variation = drawn.seed, drawn.variation_seed
    if request.variation_strength > 0:
        return [seed] * images, range(variation, variation + images)
    return range(seed, seed + images), ()


def _idle_schedules(job: PreparedRequest) -> list[Diagnostic]:
    """Return what of a request's schedule types does nothing, in words."""
    request, hires = job.request, job.request.hires
    asked, ending = find_scheduler(request.scheduler), split_sampler(request.sampler)[1]
    found: list[Diagnostic] = []
    if asked is not None and ending is not None and asked != ending:
        message = f"the sampler's name says {ending.label}, but the scheduler is {asked.label}"
        found.append(kinds.TWO_SCHEDULERS(message, None, "name one of them only"))
    passes = [(job.first, asked or ending)]
    if job.second is not None and hires is not None:
        passes.append((job.second, find_scheduler(hires.scheduler or AUTOMATIC)))
    for one, kind in passes:
        if kind is not None and not isinstance(one.sampler, SigmaSampler):
            message = f"{one.sampler.name} has a schedule of its own; {kind.label} does nothing"
            hint = "leave the scheduler at automatic"
            found.append(kinds.IDLE_SCHEDULER(f"{message} with it", None, hint))
    return found
