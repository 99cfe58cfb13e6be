"""A job carried out, batch by batch: sampled, enlarged and sampled again, decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from promptengine.diffusion.checkpoint import Checkpoint
from promptengine.diffusion.denoiser import GuidedUnet, skips_resized_like_webui
from promptengine.diffusion.extras import (
    Extras,
    inpainting_channels,
    posterior_noise,
    size_conditioning,
)
from promptengine.diffusion.noise import ImageNoise, Seeding, stream
from promptengine.diffusion.passes import Blend, first_latents, run_pass
from promptengine.diffusion.picture.latents import LATENT_UPSCALERS, Enlargement, upscaled
from promptengine.diffusion.picture.pixels import decoded, encode
from promptengine.diffusion.picture.resize import find_upscaler, resized
from promptengine.diffusion.picture.start import finished
from promptengine.diffusion.preparing import Job, Parts, PreparedPass
from promptengine.diffusion.samplers.shape import OnStep
from promptengine.diffusion.sampling import SigmaSampler
from promptengine.diffusion.tiling import tiled
from promptengine.diffusion.walk import noised, walked
from promptengine.networks.inject import injected
from promptengine.request import GenerationRequest

__all__ = ["decode_batch", "sample_batch"]


def sample_batch(parts: Parts, job: Job, batch: int, on_step: OnStep) -> Tensor:
    """Sample the latents of one batch, counted from 0.

    Returns:
        ``[images, 4, height / 8, width / 8]``, float32.
    """
    count = job.request.images_at_once
    images = slice(batch * count, (batch + 1) * count)
    channels = parts.checkpoint.latent_channels
    seeding = _seeding(job.request, job.seeds[images], job.variation_seeds[images])
    noise = ImageNoise(seeding, (channels, job.height // 8, job.width // 8), parts.device)
    if job.start is None:
        options = job.request.options
        x = first_latents(job.first.sampler, job.first.schedule, noise, options)
        x = _run(parts, job, job.first, x, noise=noise, on_step=on_step)
    else:
        first = noise.first() * job.request.options.initial_noise_multiplier
        x = _run_from(
            parts,
            job,
            job.first,
            job.start.latents,
            first=first,
            noise=noise,
            on_step=on_step,
            blend=job.start.blend,
        )
    if job.second is None or job.larger is None:
        return x
    x = _enlarged(parts.checkpoint, job, x, job.larger, seeding.seeds)
    height, width = x.shape[-2:]
    noise = ImageNoise(seeding, (channels, height, width), parts.device)

    def on_later_step(step: int, denoised: Tensor) -> None:
        on_step(job.first_steps + step, denoised)

    return _run_from(
        parts, job, job.second, x, first=noise.first(), noise=noise, on_step=on_later_step
    )


def _run_from(
    parts: Parts,
    job: Job,
    prepared: PreparedPass,
    start: Tensor,
    *,
    first: Tensor,
    noise: ImageNoise,
    on_step: OnStep,
    blend: Blend | None = None,
) -> Tensor:
    """Run a pass from latents without noise; ``first`` is the noise they get."""
    walk, sampler = prepared.walk, prepared.sampler
    if walk is None or walk.total == 0:
        return start
    extra = job.request.options.extra_noise
    x = noised(
        sampler, prepared.schedule, walk, table=job.table, start=start, noise=first, extra=extra
    )
    part = walked(sampler, prepared.schedule, walk)
    if isinstance(sampler, SigmaSampler) or len(part) > 1:
        x = _run(parts, job, prepared, x, noise=noise, on_step=on_step, part=part, blend=blend)
    return x if blend is None else blend(x)


def _run(
    parts: Parts,
    job: Job,
    prepared: PreparedPass,
    x: Tensor,
    *,
    noise: ImageNoise,
    on_step: OnStep,
    part: Tensor | None = None,
    blend: Blend | None = None,
) -> Tensor:
    request, unet = job.request, parts.checkpoint.unet
    with (
        prepared.stack.merged(),
        injected(unet, prepared.stack.uses),
        skips_resized_like_webui(unet),
        tiled(*[unet] * request.tiling),
    ):
        return run_pass(
            prepared.sampler,
            _guided(parts.checkpoint, job, prepared, noise),
            job.table,
            x,
            prepared.schedule,
            noise=noise,
            options=request.options,
            on_step=on_step,
            part=part,
            blend=blend,
        )


def _guided(
    checkpoint: Checkpoint, job: Job, prepared: PreparedPass, noise: ImageNoise
) -> GuidedUnet:
    """The UNet, with what it reads beside text, sized as the pass is."""
    seeds, (_, rows, columns) = noise.seeding.seeds, noise.shape
    width, height = columns * 8, rows * 8
    if job.start is None:
        channels = inpainting_channels(
            checkpoint,
            images=len(seeds),
            width=width,
            height=height,
            noise=posterior_noise(seeds[-1], len(seeds), noise.shape),
        )
    else:
        channels = job.start.channels
    sizes = size_conditioning(checkpoint, width=width, height=height)
    return GuidedUnet(
        checkpoint.unet,
        prepared.guidance,
        job.request.options,
        Extras(sizes, channels),
        checkpoint.prediction,
    )


def _enlarged(
    checkpoint: Checkpoint, job: Job, x: Tensor, larger: Enlargement, seeds: Sequence[int]
) -> Tensor:
    """What the second pass starts from: the first one's latents, or its pictures, enlarged."""
    upscaler = "Latent"
    if job.request.hires is not None:
        upscaler = job.request.hires.upscaler or upscaler
    if upscaler in LATENT_UPSCALERS:
        return larger.trimmed(upscaled(x, larger.cells, upscaler))
    tiling, filter_ = job.request.tiling, find_upscaler(upscaler)
    # The last image's seed stands for the whole batch, as in WebUI.
    draw = stream(seeds[-1])
    latents: list[Tensor] = []
    for one in x:
        image = decoded(checkpoint, one, tiling=tiling)
        image = resized(image, larger.width, larger.height, upscaler=filter_)
        posterior = encode(checkpoint, image, tiling=tiling)
        latents.append(posterior.sample(draw(posterior.mean.shape)))
    return larger.trimmed(torch.cat(latents))


def decode_batch(checkpoint: Checkpoint, job: Job, latents: Tensor) -> list[Image.Image]:
    """Decode a batch to RGB pictures, what stays of the originals laid over them."""
    images = [decoded(checkpoint, one, tiling=job.request.tiling) for one in latents]
    if job.start is None:
        return images
    pairs = zip(images, job.start.pictures, strict=True)
    return [finished(image, picture, job.request.options) for image, picture in pairs]


def _seeding(
    request: GenerationRequest, seeds: Sequence[int], variation_seeds: Sequence[int]
) -> Seeding:
    width, height = request.seed_resize_from or (0, 0)
    return Seeding(
        seeds=tuple(seeds),
        variation_seeds=tuple(variation_seeds),
        strength=request.variation_strength,
        resize_from=(height // 8, width // 8) if request.seed_resize_from else None,
        delta=request.options.noise_seed_delta,
        source=request.options.noise_source,
    )
