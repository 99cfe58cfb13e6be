"""Jobs carried out, batch by batch: sampled, enlarged and sampled again, decoded.

Jobs that agree in everything but prompts, networks, seeds and CFG scale are sampled as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from promptengine.accel.step_cache import cache_steps
from promptengine.accel.tiling import circular_padding
from promptengine.checkpoints.vae_codec import decode_image
from promptengine.generation.cfg_denoiser import CFGDenoiser, skips_resized_like_webui
from promptengine.generation.conditioning import EngineContext
from promptengine.generation.enlarge import enlarge_latents
from promptengine.generation.further_models import ModelInUse
from promptengine.generation.img2img import InitLatents
from promptengine.generation.model_inputs import (
    ExtraModelInputs,
    inpainting_channels,
    posterior_noise,
    size_conditioning,
)
from promptengine.generation.model_switch import ModelSwitch
from promptengine.generation.passes import PreparedPass
from promptengine.generation.prepare import PreparedRequest
from promptengine.generation.sampling_pass import Blend, first_latents, run_pass
from promptengine.generation.timing import StageTimer
from promptengine.images.inpaint import FinishedImage, PreparedImage, finish_image
from promptengine.images.soft_inpaint import changed_mask, spread_mask
from promptengine.networks.hypernetwork.fuse import ProjectionFuser
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.lora.inject import inject_loras
from promptengine.networks.regional_attention import RegionalAttention, attend_regions
from promptengine.networks.token_merging import merge_tokens
from promptengine.request.image_start import Inpainting
from promptengine.request.samplers import SigmaSampler
from promptengine.sampling.algorithms.base import OnStep
from promptengine.sampling.img2img_steps import add_noise, sigmas_for
from promptengine.sampling.noise import ImageNoise, Seeding
from promptengine.sampling.sigmas import DiscreteSchedule
from promptengine.undo import UndoLog

__all__ = ["decode_batch", "sample_batch"]


def sample_batch(
    models: ModelInUse,
    jobs: Sequence[PreparedRequest],
    batch: int,
    on_step: OnStep,
    on_tile: Callable[[Tensor], None] = lambda x: None,
) -> list[Tensor]:
    """Sample the latents of one batch, counted from 0.

    Args:
        models: At the engine's own model; afterwards at the one that latents are to be decoded by.
        jobs: One, or several whose :attr:`~promptengine.generation.prepare.PreparedRequest.shared` is equal.
        batch: Which of their batches.
        on_step: Called after every step.
        on_tile: Called with the latents of the first pass after every tile of an upscaler; may raise to
            stop.

    Returns:
        For each job ``[images, 4, height / 8, width / 8]``, float32.
    """
    lead = jobs[0]
    first = _Pass.of(models, jobs, batch)
    if lead.start is None:
        prepared, options = lead.first, lead.request.options
        x = first_latents(prepared.sampler, prepared.schedule, first.noise, options)
        x = _run(first, x, on_step)
    else:
        noise = first.noise.first() * lead.request.options.initial_noise_multiplier
        start, blend = lead.start.latents, lead.start.blend
        x = _run_from(first, start, first=noise, on_step=on_step, blend=blend)
    if lead.second is None or lead.larger is None:
        return list(x.split(first.counts))
    first_pass, larger = x, lead.larger
    with models.parts.upscalers.watching(lambda _done, _total: on_tile(first_pass)):
        encoders = [
            enlarge_latents(models.parts, job, one, larger, seeding.seeds)
            for job, one, seeding in zip(jobs, x.split(first.counts), first.seedings, strict=True)
        ]
    models.change_to(lead.second.model)
    x = torch.cat([encode(models.parts) for encode in encoders])
    height, width = x.shape[-2:]
    second = _Pass.of(models, jobs, batch, enlarged=(height, width))

    def on_later_step(step: int, denoised: Tensor) -> None:
        on_step(lead.first_steps + step, denoised)

    x = _run_from(second, x, first=second.noise.first(), on_step=on_later_step)
    return list(x.split(second.counts))


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """One pass of some jobs together.

    Attributes:
        models: At the model that begins it.
        jobs: The jobs; what they share is read from the first.
        prepared: Their passes.
        refined: Their passes as the refiner makes them; None where there is none.
        seedings: What random numbers the images of each job get.
        noise: The same of all images.
        stage: Which pass.
        batch: Of which batch, from 0.
    """

    models: ModelInUse
    jobs: Sequence[PreparedRequest]
    prepared: Sequence[PreparedPass]
    refined: Sequence[PreparedPass] | None
    seedings: Sequence[Seeding]
    noise: ImageNoise
    stage: Literal["first", "hires"]
    batch: int

    @classmethod
    def of(
        cls,
        models: ModelInUse,
        jobs: Sequence[PreparedRequest],
        batch: int,
        *,
        enlarged: tuple[int, int] | None = None,
    ) -> _Pass:
        """Return the first pass of a batch, or the second where latents of ``enlarged`` size come in."""
        lead = jobs[0]
        height, width = enlarged or (lead.height // 8, lead.width // 8)
        seedings = [_seeding(job, batch) for job in jobs]
        together = replace(
            seedings[0],
            seeds=tuple(seed for one in seedings for seed in one.seeds),
            variation_seeds=tuple(seed for one in seedings for seed in one.variation_seeds),
        )
        parts = models.parts
        refining = [job.refining for job in jobs if job.refining]
        refined = [one.first if enlarged is None else one.second for one in refining]
        return cls(
            models=models,
            jobs=jobs,
            prepared=[job.first if enlarged is None else job.second or job.first for job in jobs],
            refined=[one for one in refined if one] or None,
            seedings=seedings,
            noise=ImageNoise(
                together, (parts.checkpoint.latent_channels, height, width), parts.device
            ),
            stage="first" if enlarged is None else "hires",
            batch=batch,
        )

    @property
    def counts(self) -> list[int]:
        """How many images belong to each job."""
        return [job.request.batch_images for job in self.jobs]


def _run_from(
    this: _Pass, start: Tensor, *, first: Tensor, on_step: OnStep, blend: Blend | None = None
) -> Tensor:
    """Run a pass from latents without noise; ``first`` is the noise they get."""
    prepared, job = this.prepared[0], this.jobs[0]
    walk, sampler = prepared.walk, prepared.sampler
    if walk is None or walk.total == 0:
        return start
    extra = job.request.options.extra_noise
    x = add_noise(
        sampler,
        prepared.schedule,
        walk,
        table=prepared.table,
        start=start,
        noise=first,
        extra=extra,
    )
    part = sigmas_for(sampler, prepared.schedule, walk)
    if isinstance(sampler, SigmaSampler) or len(part) > 1:
        x = _run(this, x, on_step, part=part, blend=blend)
    return x if blend is None else blend(x)


def _run(
    this: _Pass,
    x: Tensor,
    on_step: OnStep,
    *,
    part: Tensor | None = None,
    blend: Blend | None = None,
) -> Tensor:
    """Run a pass, at first with the model at hand; a refiner's blocks take the place of that one's."""
    job, prepared = this.jobs[0], this.prepared[0]
    options, refined, models = job.request.options, this.refined, this.models
    with ExitStack() as blocks:
        model = blocks.enter_context(_applied(this, _at_hand(this)))
        models.begin(this.stage, this.batch, model)

        def change(model: CFGDenoiser) -> DiscreteSchedule:
            assert refined is not None
            blocks.close()
            models.change_to(refined[0].model)
            model.become(blocks.enter_context(_applied(this, refined)))
            models.begin(this.stage, this.batch, model)
            return refined[0].table

        switch = None
        if refined is not None:
            switch = ModelSwitch(job.request.refiner_switch_at, options.refiner_by_steps, change)
        return run_pass(
            prepared.sampler,
            model,
            prepared.table,
            x,
            prepared.schedule,
            noise=this.noise,
            options=options,
            on_step=on_step,
            part=part,
            blend=blend,
            switch=switch,
        )


def _at_hand(this: _Pass) -> Sequence[PreparedPass]:
    """Return the passes for the model at hand; a further one may have gone and come again meanwhile."""
    if this.prepared[0].model is None:
        return this.prepared
    parts = this.models.parts
    return [one.asked.on(parts, StageTimer(), model=one.model) for one in this.prepared]


@contextmanager
def _applied(this: _Pass, passes: Sequence[PreparedPass]) -> Generator[CFGDenoiser]:
    """Let the networks of passes act on the model at hand within a ``with`` block."""
    parts, lead = this.models.parts, this.jobs[0]
    unet, journal = parts.checkpoint.unet, parts.checkpoint.journal
    _, rows, columns = this.noise.shape
    with (
        passes[0].stack.merged(journal),
        inject_loras(
            unet,
            [one.guidance.loras for one in passes],
            parts.networks.lora_weights,
            journal=journal,
        ) as loras,
        inject_hypernetworks(unet, folder=_folder(parts), journal=journal) as injection,
        merge_tokens(unet, passes[0].asked.merging, (rows, columns), journal=journal),
        cache_steps(
            unet,
            lead.request.cache_interval,
            passes[0].calls(lead.request.steps),
            journal=journal,
        ) as step_cache,
        skips_resized_like_webui(unet, journal=journal),
        circular_padding(*[unet] * lead.request.tiling, journal=journal),
        _regions_in(unet, passes, journal) as regional,
    ):
        model = _guided(this, parts, passes)
        model.injection, model.loras, model.regional = injection, loras, regional
        model.step_cache = step_cache
        # It comes once networks are merged into it, and what surrounds its layers is there.
        with parts.residence.unet_at_work(unet, journal=journal):
            yield model


def _folder(parts: EngineContext) -> ProjectionFuser:
    """Return what folds hypernetworks; what it keeps holds weights, which may not outlast their stay."""
    room = parts.residence.fold_bytes
    return parts.networks.folder if room is None else ProjectionFuser(room)


def _regions_in(
    unet: nn.Module, passes: Sequence[PreparedPass], journal: UndoLog
) -> AbstractContextManager[RegionalAttention | None]:
    """Let regions act where a prompt has any; elsewhere the UNet stays as it is."""
    if all(one.guidance.regions is None for one in passes):
        return nullcontext()
    return attend_regions(unet, journal=journal)


def _guided(
    this: _Pass,
    parts: EngineContext,
    passes: Sequence[PreparedPass],
) -> CFGDenoiser:
    """Return the UNet, with what it reads beside text, sized as the pass is."""
    _, rows, columns = this.noise.shape
    width, height = columns * 8, rows * 8
    checkpoint, start = parts.checkpoint, this.jobs[0].start
    if not checkpoint.inpainting:
        channels = None
    elif start is not None:
        channels = start.channels
    else:
        noises = [
            posterior_noise(one.seeds[-1], len(one.seeds), this.noise.shape)
            for one in this.seedings
        ]
        noise, images = torch.cat(noises), sum(this.counts)
        with parts.vae_at_work():
            channels = inpainting_channels(
                checkpoint, images=images, width=width, height=height, noise=noise
            )
    pairs, lead = zip(passes, this.counts, strict=True), passes[0]
    return CFGDenoiser(
        checkpoint.unet,
        [
            replace(prepared.guidance, unit=prepared.sampler.guidance_unit)
            for prepared, count in pairs
            for _ in range(count)
        ],
        this.jobs[0].request.options,
        ExtraModelInputs(size_conditioning(checkpoint, width=width, height=height), channels),
        checkpoint.prediction,
        planned=lead.calls(this.jobs[0].request.steps),
    )


def _seeding(job: PreparedRequest, batch: int) -> Seeding:
    request = job.request
    images = slice(batch * request.batch_images, (batch + 1) * request.batch_images)
    width, height = request.seed_resize_from or (0, 0)
    return Seeding(
        seeds=tuple(job.seeds[images]),
        variation_seeds=tuple(job.variation_seeds[images]),
        strength=request.variation_strength,
        resize_from=(height // 8, width // 8) if request.seed_resize_from else None,
        delta=request.options.noise_seed_delta,
        source=request.options.noise_source,
    )


def decode_batch(
    parts: EngineContext, job: PreparedRequest, latents: Tensor
) -> list[FinishedImage]:
    """Decode a batch to RGB images, what stays of the originals laid over them."""
    with parts.vae_at_work():
        tiling = job.request.tiling
        images = [decode_image(parts.checkpoint, one, tiling=tiling) for one in latents]
    if job.start is None:
        return [FinishedImage(image) for image in images]
    inpainting = None if job.request.start is None else job.request.start.inpainting
    prepared, overlaid = job.start.prepared, None
    if inpainting is not None and inpainting.soft:
        # WebUI's soft inpainting does not ask whether overlays are wanted.
        prepared, overlaid = _softly_masked(job, job.start, inpainting, latents), True
    return [
        finish_image(image, one, job.request.options, overlaid=overlaid)
        for image, one in zip(images, prepared, strict=True)
    ]


def _softly_masked(
    job: PreparedRequest, start: InitLatents, inpainting: Inpainting, latents: Tensor
) -> list[PreparedImage]:
    """Return what images were started from, each with the mask that its result gives."""
    assert start.blend is not None
    found: list[PreparedImage] = []
    for prepared, x, begun in zip(start.prepared, latents, start.blend.start, strict=True):
        assert prepared.original is not None
        changed = changed_mask(x, begun, start.blend.mask, inpainting)
        size = job.width, job.height
        mask = spread_mask(changed, size, box=prepared.box, whole=prepared.original.size)
        found.append(replace(prepared, mask=mask))
    return found
