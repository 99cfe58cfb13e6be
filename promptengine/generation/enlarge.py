"""Between two passes: what the first one made, enlarged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from promptengine.checkpoints.vae_codec import decode_image, encode_image
from promptengine.generation.conditioning import EngineContext
from promptengine.generation.prepare import PreparedRequest
from promptengine.images.latent_upscale import HiresSize
from promptengine.images.resize import resize_image
from promptengine.images.upscaler_cache import NetworkUpscaler
from promptengine.images.upscalers import LatentUpscaler, PixelUpscaler
from promptengine.sampling.noise import stream

__all__ = ["Encoder", "enlarge_latents"]


Encoder = Callable[[EngineContext], Tensor]
"""Makes latents of what was enlarged, with the model that goes on with them."""


def enlarge_latents(
    parts: EngineContext,
    job: PreparedRequest,
    x: Tensor,
    larger: HiresSize,
    seeds: Sequence[int],
) -> Encoder:
    """Enlarge what the second pass starts from: the first one's latents, or its images.

    Args:
        parts: The model of the first pass.
        job: Whose latents they are.
        x: As the first pass left them ``[images, channels, height, width]``.
        larger: What to enlarge them to.
        seeds: Of the images.

    Returns:
        What makes latents ``[images, channels, height, width]``, float32, without noise, with the model of
        the second pass.
    """
    hires, tiling = job.request.hires, job.request.tiling
    found = parts.upscalers.find((hires and hires.upscaler) or "Latent", job.request.options)
    if isinstance(found, LatentUpscaler):
        latents = larger.trimmed(found.enlarge(x, larger.cells))
        return lambda _: latents
    images: list[Image.Image] = []
    upscaler, runs = _counted(found)
    for one in x:
        with parts.vae_at_work():
            image = decode_image(parts.checkpoint, one, tiling=tiling)
        images.append(resize_image(image, larger.width, larger.height, upscaler=upscaler))

    def encode(later: EngineContext) -> Tensor:
        # The last image's seed stands for the whole batch, as in WebUI, which loads networks after it is set.
        draw = stream(seeds[-1], skipped=_init_draws(upscaler, len(runs)))
        with later.vae_at_work():
            posteriors = [encode_image(later.checkpoint, image, tiling=tiling) for image in images]
        latents = [posterior.sample(draw(posterior.mean.shape)) for posterior in posteriors]
        return larger.trimmed(torch.cat(latents))

    return encode


def _counted(upscaler: PixelUpscaler) -> tuple[PixelUpscaler, list[None]]:
    """Return an upscaler, and a list that gets as many items as it is run times."""
    enlarge, runs = upscaler.enlarge, list[None]()
    if enlarge is None:
        return upscaler, runs

    def counted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        runs.append(None)
        return enlarge(image, size)

    return replace(upscaler, enlarge=counted), runs


def _init_draws(upscaler: PixelUpscaler, runs: int) -> int:
    """Return how many random numbers WebUI has drawn for the initial weights of networks, once they have run."""
    if not isinstance(upscaler, NetworkUpscaler):
        return 0
    return upscaler.init_draws * (min(runs, 1) if upscaler.kept else runs)
