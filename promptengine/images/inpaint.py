"""Images to start from, ready for the encoder, and what becomes of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from promptengine.checkpoints.vae_codec import flatten_alpha
from promptengine.errors import RequestError
from promptengine.images.masks import (
    Box,
    blur_mask,
    double_mask,
    fill_masked,
    mask_box,
    overlay,
    read_mask,
)
from promptengine.images.resize import resize_image
from promptengine.images.upscalers import PixelUpscaler, find_pixel_upscaler
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.options import Options

__all__ = ["Masks", "PreparedImage", "composite_original", "prepare_image", "prepare_masks"]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """One mask as each stage needs it.

    Attributes:
        painted: In mode L, of the size that is painted: 255 where to paint.
        overlay: In mode L, of the size of the finished image: 0 where the original stays.
        box: The part of the original that is painted, where that is not all of it.
    """

    painted: Image.Image
    overlay: Image.Image
    box: Box | None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """An image to start from.

    Attributes:
        encoded: RGB, what the encoder gets.
        overlay: RGBA, what of the original is laid over the result; None without a mask.
        box: Where in the original the result belongs, where that is not all of it.
        upscaler: What enlarges it, and the result where it belongs into a larger image.
    """

    encoded: Image.Image
    overlay: Image.Image | None
    box: Box | None
    upscaler: PixelUpscaler


def prepare_masks(start: ImageStart, size: tuple[int, int]) -> Masks | None:
    """Work the mask out.

    Args:
        start: What to start from.
        size: Width and height to paint, in pixels.

    Returns:
        None where there is no mask.

    Raises:
        RequestError: Only the masked area is to be painted, and there is none.
    """
    inpainting = start.inpainting
    if inpainting is None:
        return None
    mask = read_mask(inpainting.mask, hard=inpainting.hard)
    mask = blur_mask(ImageOps.invert(mask) if inpainting.inverted else mask, *inpainting.blur)
    if inpainting.only_masked:
        box = mask_box(mask, inpainting.padding, size)
        return Masks(resize_image(mask.crop(box), *size, "pad"), mask, box)
    mode = "pad" if start.resize_mode == "latent" else start.resize_mode
    painted = resize_image(mask, *size, mode)
    return Masks(painted, double_mask(painted), None)


def prepare_image(
    image: Image.Image,
    start: ImageStart,
    masks: Masks | None,
    size: tuple[int, int],
    options: Options,
    *,
    upscaler: PixelUpscaler | None = None,
) -> PreparedImage:
    """Make one image ready for the encoder.

    Args:
        image: In any mode and size.
        start: How it is to be treated.
        masks: As :func:`prepare_masks` gives them.
        size: Width and height to paint, in pixels.
        options: The background's color is read from them, and the upscaler where none is given.
        upscaler: What enlarges the image; by default the one of the options, which must need no file.

    Raises:
        RequestError: Image and mask do not go together, or an option cannot be used.
    """
    image = flatten_alpha(image, options.background_color)
    upscaler = upscaler or find_pixel_upscaler(options.image_upscaler)
    box = None if masks is None else masks.box
    if box is None:
        image = resize_image(image, *size, start.resize_mode, upscaler)
    if masks is None or start.inpainting is None:
        return PreparedImage(image, None, None, upscaler)
    if image.size != masks.overlay.size:
        raise RequestError(_misfit(image, masks.overlay), field="mask")
    stays = overlay(image, masks.overlay)
    if box is not None:
        image = resize_image(image.crop(box), *size, "pad", upscaler)
    return PreparedImage(_begun(image, masks.painted, start.inpainting), stays, box, upscaler)


def _begun(image: Image.Image, mask: Image.Image, inpainting: Inpainting) -> Image.Image:
    """Return what stands under the mask at first; where latents are replaced, pixels are filled before."""
    return image if inpainting.content == "original" else fill_masked(image, mask)


def _misfit(image: Image.Image, mask: Image.Image) -> str:
    sizes = (
        f"the image has {image.width}x{image.height} pixels, the mask {mask.width}x{mask.height}"
    )
    return f"{sizes}; give both the same size, or have the image resized by another mode"


def composite_original(
    image: Image.Image, prepared: PreparedImage, options: Options
) -> Image.Image:
    """Lay what stays of the original over a painted prepared.

    Args:
        image: RGB, as decoded.
        image: What it was started from.
        options: ``overlay_original`` off leaves the image as it is.
    """
    if prepared.overlay is None or not options.overlay_original:
        return image
    if prepared.box is not None:
        left, top, right, bottom = prepared.box
        whole = Image.new("RGBA", prepared.overlay.size)
        enlarged = resize_image(image, right - left, bottom - top, "crop", prepared.upscaler)
        whole.paste(enlarged, (left, top))
        image = whole
    image = image.convert("RGBA")
    image.alpha_composite(prepared.overlay)
    return image.convert("RGB")
