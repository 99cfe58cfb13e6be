"""What some UNets read beside latents, timestep and text: sizes, scores, for inpainting an image.

What a model reads follows from its own family, so that two models in one run each get their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from promptengine.checkpoints.load import Checkpoint
from promptengine.families import FAMILIES, SizeNumber
from promptengine.request.options import Options
from promptengine.text.conditioning import Conditioning

__all__ = [
    "NO_EXTRAS",
    "ExtraModelInputs",
    "inpainting_channels",
    "negative_conditioning",
    "posterior_noise",
    "scored",
    "size_conditioning",
]


@dataclass(frozen=True, slots=True, eq=False)
class ExtraModelInputs:
    """The same at every step and for every text.

    Attributes:
        sizes: For SDXL ``[6]``, for its refiner ``[4]``, see :func:`size_conditioning`, else None.
        channels: For inpainting models ``[images, 5, height, width]``, see
            :func:`inpainting_channels`, else None.
    """

    sizes: Tensor | None = None
    channels: Tensor | None = None

    def joined_to(self, x: Tensor) -> Tensor:
        """Return the UNet's input: latents ``[images, 4, height, width]`` and the channels."""
        return x if self.channels is None else torch.cat([x, self.channels.to(x)], dim=1)

    def added(
        self, pooled: Sequence[Tensor | None], scores: Sequence[float | None]
    ) -> Mapping[str, Tensor] | None:
        """Return diffusers' ``added_cond_kwargs`` for a batch, or None where the UNet takes none.

        Args:
            pooled: The pooled vector ``[width]`` of each row.
            scores: The aesthetic score of each row, which stands behind the sizes; None for families
                without.
        """
        vectors = [vector for vector in pooled if vector is not None]
        if self.sizes is None or not vectors:
            return None
        texts = torch.stack(vectors)
        told = self.sizes.expand(len(texts), -1)
        known = [score for score in scores if score is not None]
        if known:
            told = torch.cat([told, torch.tensor(known, dtype=told.dtype)[:, None]], dim=1)
        return {"text_embeds": texts, "time_ids": told.to(texts.device)}


NO_EXTRAS = ExtraModelInputs()


def size_conditioning(
    checkpoint: Checkpoint, *, width: int, height: int, crop_top: int = 0, crop_left: int = 0
) -> Tensor | None:
    """Return the sizes that a UNet is told, float32, or None for families that are told none.

    SDXL's ``[6]`` are the original height and width, the crop's top and left edge, and the target's
    height and width (arXiv:2307.01952, 2.2); its refiner is told the first four. As in WebUI the
    original and the target are the image of the present pass, in pixels.
    """
    wanted = FAMILIES[checkpoint.family].sizes
    if not wanted:
        return None
    known: dict[SizeNumber, int] = {
        "height": height,
        "width": width,
        "crop_top": crop_top,
        "crop_left": crop_left,
    }
    return torch.tensor([known[name] for name in wanted], dtype=torch.float32)


def scored(
    checkpoint: Checkpoint, conditioning: Conditioning, options: Options, *, negative: bool = False
) -> Conditioning:
    """Return a text with the aesthetic score that the UNet is told, for families that are told one.

    Args:
        checkpoint: The model.
        conditioning: The encoded text.
        options: The request's; they hold the scores.
        negative: Whether it is the negative prompt.
    """
    if not FAMILIES[checkpoint.family].aesthetic_score:
        return conditioning
    score = options.negative_aesthetic_score if negative else options.aesthetic_score
    return replace(conditioning, aesthetic_score=score)


def negative_conditioning(
    checkpoint: Checkpoint, conditioning: Conditioning, texts: Sequence[str]
) -> Conditioning:
    """Return what the negative prompt says: for SDXL and its refiner all zeros where it is empty, as
    in WebUI.

    Args:
        checkpoint: The model.
        conditioning: The encoded negative prompt.
        texts: The texts of its schedule; a single one with words makes all of them count.
    """
    if not FAMILIES[checkpoint.family].zero_empty_negative or any(texts):
        return conditioning
    pooled = conditioning.pooled
    return replace(
        conditioning,
        embeddings=torch.zeros_like(conditioning.embeddings),
        pooled=None if pooled is None else torch.zeros_like(pooled),
    )


def posterior_noise(seed: int, images: int, shape: tuple[int, int, int]) -> Tensor:
    """Draw what WebUI encodes the images of a batch with: ``[images, channels, height, width]``.

    It takes torch's global generator, which drawing the first noise on the CPU has just seeded with
    the seed of the batch's last image. (With Philox noise WebUI leaves it unseeded, and the result
    to chance; one rule for both repeats.)

    Args:
        seed: Of the last image.
        images: Of the batch.
        shape: ``(channels, height, width)`` of one image's latents.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.cat([torch.randn(1, *shape, generator=generator) for _ in range(images)])


def inpainting_channels(
    checkpoint: Checkpoint,
    *,
    images: int,
    width: int,
    height: int,
    image: Tensor | None = None,
    mask: Tensor | None = None,
    mask_strength: float = 1.0,
    noise: Tensor | None = None,
) -> Tensor | None:
    """Return what an inpainting UNet reads beside latents, or None for other UNets.

    That is the mask, resized to the latents by nearest neighbors, and the latents of the image
    with gray in place of what the mask covers. Without an image (txt2img) it is a mask that covers
    everything and a gray image, as in WebUI.

    Args:
        checkpoint: The model.
        images: Of the batch.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        image: ``[1 or images, 3, height, width]``, -1 to 1.
        mask: ``[1, 1, height, width]``, 0 to 1, 1 where the image is to be repainted; rounded to
            0 or 1. None covers everything.
        mask_strength: How much of what is covered becomes gray, 0 to 1 ("inpainting conditioning
            mask strength").
        noise: Standard normal ``[1 or images, 4, height / 8, width / 8]`` for drawing from the VAE's
            posterior as WebUI does, see :func:`posterior_noise`; None takes the posterior's mode.

    Returns:
        ``[images, 5, height / 8, width / 8]``, float32, on the model's device.
    """
    if not checkpoint.inpainting:
        return None
    vae: Any = checkpoint.vae
    weight = next(vae.parameters())
    if mask is None:
        mask = torch.ones(1, 1, height, width)
    if image is None:
        image = torch.zeros(1, 3, height, width)
    mask = mask.to(weight).round()
    seen = image.to(weight) * (1 - mask * mask_strength)
    with torch.no_grad():
        # One by one, as WebUI does: a batch may come out different in the last digits.
        moments = [vae.encode(one[None], return_dict=False)[0] for one in seen]
    mean = torch.cat([moment.mean for moment in moments])
    if noise is not None:
        mean = mean + torch.cat([moment.std for moment in moments]) * noise.to(mean)
    latents = mean * checkpoint.scaling_factor
    cells = functional.interpolate(mask, size=latents.shape[-2:])
    rows = [part.expand(images, -1, -1, -1) for part in (cells, latents)]
    return torch.cat(rows, dim=1)
