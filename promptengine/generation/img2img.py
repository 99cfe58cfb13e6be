"""The latents that img2img starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptengine.checkpoints.vae_codec import Posterior, encode_image, image_to_tensor
from promptengine.errors import RequestError
from promptengine.generation.conditioning import EngineContext
from promptengine.generation.model_inputs import inpainting_channels, posterior_noise
from promptengine.generation.sampling_pass import Blend, SoftBlend
from promptengine.images.inpaint import (
    Masks,
    PreparedImage,
    prepare_image,
    prepare_masks,
)
from promptengine.images.latent_upscale import upscale_latents
from promptengine.images.masks import latent_mask
from promptengine.images.resize import resize_image
from promptengine.images.upscalers import PixelUpscaler
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import Options
from promptengine.request.request import GenerationRequest
from promptengine.sampling.noise import ImageNoise, stream

__all__ = ["InitLatents", "encode_init_images"]


@dataclass(frozen=True, slots=True, eq=False)
class InitLatents:
    """What every batch of a request starts from.

    Attributes:
        latents: ``[images, 4, height / 8, width / 8]``, float32, scaled as the UNet has them.
        blend: What of them stays, or None where all may change.
        prepared: Of each image.
        channels: What an inpainting model reads beside them, see
            :func:`promptengine.generation.model_inputs.inpainting_channels`; None for other models.
    """

    latents: Tensor
    blend: Blend | None
    prepared: tuple[PreparedImage, ...]
    channels: Tensor | None


def encode_init_images(
    parts: EngineContext,
    request: GenerationRequest,
    size: tuple[int, int],
    seeds: Sequence[int],
    encoder_noise: Tensor | None = None,
    *,
    upscaler: PixelUpscaler | None = None,
) -> InitLatents | None:
    """Encode the images that a request starts from.

    Args:
        parts: Whose VAE to use.
        request: Where there is no ``start``, there is nothing to encode.
        size: Width and height to paint, in pixels.
        seeds: Of all images; the first batch's are used.
        encoder_noise: See :meth:`promptengine.generation.engine.Engine.generate`.
        upscaler: What enlarges images; by default the one of the options, which must need no file.

    Raises:
        RequestError: Image, mask and sizes do not go together, or an option cannot be used.
    """
    start, count = request.start, request.batch_images
    if start is None:
        return None
    if start.noise_seed is not None:
        seeds = (
            [start.noise_seed] * count
            if request.variation_strength > 0
            else range(start.noise_seed, start.noise_seed + count)
        )
    seeds = seeds[:count]
    masks = prepare_masks(start, size)
    prepared = [
        prepare_image(image, start, masks, size, request.options, upscaler=upscaler)
        for image in start.images
    ]
    checkpoint, tiling = parts.checkpoint, request.tiling
    with parts.vae_at_work():
        posteriors = [encode_image(checkpoint, one.encoded, tiling=tiling) for one in prepared]
    if len(prepared) < count:
        prepared, posteriors = prepared * count, posteriors * count
    noise = _encoder_noise(posteriors, seeds, start.encoder_seed, encoder_noise)
    drawn = [one.sample(eps) for one, eps in zip(posteriors, noise, strict=True)]
    latents = torch.cat(drawn)
    if start.resize_mode == "latent":
        latents = upscale_latents(latents, (size[1] // 8, size[0] // 8))
    latents, blend = _masked(latents, start, masks, request, seeds)
    channels = _channels(
        parts, request.options, size=size, prepared=prepared, masks=masks, seeds=seeds
    )
    return InitLatents(latents, blend, tuple(prepared), channels)


def _channels(
    parts: EngineContext,
    options: Options,
    *,
    size: tuple[int, int],
    prepared: Sequence[PreparedImage],
    masks: Masks | None,
    seeds: Sequence[int],
) -> Tensor | None:
    """Return what an inpainting model is shown: the image but for what is to be painted."""
    checkpoint = parts.checkpoint
    if not checkpoint.inpainting:
        return None
    width, height = size
    # Where latents are enlarged and not the image, it still has to be seen at their size.
    seen = torch.cat(
        [image_to_tensor(resize_image(one.encoded, width, height)) for one in prepared]
    )
    shape = (checkpoint.latent_channels, height // 8, width // 8)
    painted = None if masks is None else latent_mask(masks.painted, width, height, hard=False)
    with parts.vae_at_work():
        return inpainting_channels(
            checkpoint,
            images=len(prepared),
            width=width,
            height=height,
            image=seen,
            mask=None if painted is None else painted[None],
            mask_strength=options.mask_strength,
            noise=posterior_noise(seeds[-1], len(prepared), shape),
        )


def _encoder_noise(
    posteriors: Sequence[Posterior],
    seeds: Sequence[int],
    common_seed: int | None,
    given: Tensor | None,
) -> list[Tensor]:
    shapes = [tuple(posterior.mean.shape) for posterior in posteriors]
    if given is None and common_seed is not None:
        return list(map(stream(common_seed), shapes))
    if given is None:
        return [stream(seed)(shape) for seed, shape in zip(seeds, shapes, strict=True)]
    found = [tuple(one.shape) for one in given.split(1)]
    if found != shapes:
        message = f"encoder noise is {tuple(given.shape)}, but the images need {shapes}"
        raise RequestError(message, field="encoder_noise")
    return list(given.split(1))


def _masked(
    latents: Tensor,
    start: ImageStart,
    masks: Masks | None,
    request: GenerationRequest,
    seeds: Sequence[int],
) -> tuple[Tensor, Blend | None]:
    """Latents with what stands under the mask at first, and what of them stays."""
    inpainting = start.inpainting
    if inpainting is None or masks is None:
        return latents, None
    height, width = latents.shape[-2:]
    mask = latent_mask(masks.latent, width, height, hard=inpainting.rounded).to(latents)
    if inpainting.content in ("latent noise", "latent nothing"):
        latents = latents * (1 - mask)
    if inpainting.content == "latent noise":
        shape = (latents.shape[1], height, width)
        source = request.options.noise_source
        latents = latents + mask * ImageNoise.seeded(seeds, shape, latents.device, source).first()
    return latents, _blend(latents, mask, inpainting)


def _blend(latents: Tensor, mask: Tensor, inpainting: Inpainting) -> Blend:
    if not inpainting.soft:
        return Blend(latents, mask)
    return SoftBlend(
        latents,
        mask,
        bias=inpainting.soft_bias,
        strength=inpainting.soft_strength,
        boost=inpainting.soft_boost,
    )
