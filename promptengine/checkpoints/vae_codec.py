"""Between images and latents: the VAE with eight-bit images on its other side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

from promptengine.accel.tiling import circular_padding
from promptengine.checkpoints.load import Checkpoint
from promptengine.errors import RequestError

__all__ = [
    "Posterior",
    "decode_image",
    "decode_latents",
    "encode_image",
    "flatten_alpha",
    "image_to_tensor",
]


def decode_latents(checkpoint: Checkpoint, latents: Tensor) -> Tensor:
    """Decode latents to pixels.

    Args:
        checkpoint: Whose VAE to use.
        latents: ``[batch, 4, height / 8, width / 8]``, scaled as the UNet has them.

    Returns:
        ``[batch, 3, height, width]``, float32, about -1 to 1, not clamped.
    """
    vae: Any = checkpoint.vae
    scaled = latents.float() / checkpoint.scaling_factor
    # A checkpoint's own VAE is float32; a pipeline's may be anything.
    return vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()


def decode_image(checkpoint: Checkpoint, latents: Tensor, *, tiling: bool) -> Image.Image:
    """Decode one image's latents ``[4, height / 8, width / 8]`` to an image."""
    with circular_padding(*[checkpoint.vae] * tiling, journal=checkpoint.journal):
        pixels = decode_latents(checkpoint, latents[None])[0]
    # WebUI truncates; rounding would differ by one level in half of all pixels.
    levels = (((pixels + 1) / 2).clamp(0, 1).nan_to_num(0) * 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGB")


class Posterior:
    """What the VAE's encoder says about an image: a normal distribution over latents.

    Attributes:
        mean: ``[1, 4, height / 8, width / 8]``, not yet scaled for the UNet.
        std: Shaped alike.
    """

    def __init__(self, mean: Tensor, std: Tensor, scaling_factor: float) -> None:
        self.mean, self.std = mean, std
        self._scaling_factor = scaling_factor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents as the UNet has them, from standard normal numbers shaped like ``mean``."""
        return (self.mean + self.std * noise.to(self.mean)) * self._scaling_factor


def encode_image(checkpoint: Checkpoint, image: Image.Image, *, tiling: bool = False) -> Posterior:
    """Encode an RGB image."""
    vae: Any = checkpoint.vae
    weight = next(vae.parameters())
    with circular_padding(*[vae] * tiling, journal=checkpoint.journal):
        told = vae.encode(image_to_tensor(image).to(weight), return_dict=False)[0]
    return Posterior(told.mean, told.std, checkpoint.scaling_factor)


def image_to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as ``[1, 3, height, width]``, float32, -1 to 1."""
    pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None] / 255
    return 2 * pixels - 1


def flatten_alpha(image: Image.Image, background: str) -> Image.Image:
    """Return an image in RGB, what is transparent laid on a color.

    Args:
        image: In any mode.
        background: As CSS writes colors, such as ``#ffffff``.

    Raises:
        RequestError: No such color.
    """
    if not image.has_transparency_data:
        return image.convert("RGB")
    try:
        color = ImageColor.getcolor(background, "RGBA")
    except ValueError:
        message = f"img2img_background_color {background!r} is no color; write one like #ffffff"
        raise RequestError(message, field="img2img_background_color") from None
    canvas = Image.new("RGBA", image.size, color)
    image = image.convert("RGBA")
    canvas.paste(image, mask=image)
    return canvas.convert("RGB")
