"""Images to start from, ready for the encoder, and what becomes of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageOps

from promptengine.checkpoints.vae_codec import flatten_alpha
from promptengine.errors import RequestError
from promptengine.images.color_correction import match_colors
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

__all__ = [
    "FinishedImage",
    "Masks",
    "PreparedImage",
    "finish_image",
    "prepare_image",
    "prepare_masks",
]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """One mask as each stage needs it.

    Attributes:
        painted: In mode L, of the size that is painted: 255 where to paint.
        latent: Likewise, where the sampler paints; mostly the same.
        overlay: In mode L, of the size of the finished image: 0 where the original stays.
        box: The part of the original that is painted, where that is not all of it.
    """

    painted: Image.Image
    latent: Image.Image
    overlay: Image.Image
    box: Box | None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """An image to start from.

    Attributes:
        encoded: RGB, what the encoder gets.
        original: RGB, of the finished image's size; None without a mask.
        mask: In mode L, of the same size: 0 where the original is laid over the result; None without one.
        box: Where in the original the result belongs, where that is not all of it.
        upscaler: What enlarges it, and the result where it belongs into a larger image.
        colors: Whose colors color correction gives the result.
    """

    encoded: Image.Image
    original: Image.Image | None
    mask: Image.Image | None
    box: Box | None
    upscaler: PixelUpscaler
    colors: Image.Image


@dataclass(frozen=True, slots=True, eq=False)
class FinishedImage:
    """A painted image, and what WebUI's options ``return_mask`` and ``return_mask_composite`` return with it.

    Attributes:
        image: RGB.
        mask: RGB, black where the original stays; None where none is asked for.
        composite: RGBA, what was painted where that shows; likewise.
    """

    image: Image.Image
    mask: Image.Image | None = None
    composite: Image.Image | None = None


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
    mask = read_mask(inpainting.mask, hard=inpainting.rounded)
    mask = blur_mask(ImageOps.invert(mask) if inpainting.inverted else mask, *inpainting.blur)
    box = mask_box(mask, inpainting.padding, size) if inpainting.only_masked else None
    other = inpainting.latent_mask
    painted = _sized(mask, start, size, box)
    latent = painted if other is None else _sized(other.convert("L"), start, size, box)
    return Masks(painted, latent, double_mask(painted) if box is None else mask, box)


def _sized(
    mask: Image.Image, start: ImageStart, size: tuple[int, int], box: Box | None
) -> Image.Image:
    """Return a mask of the size that is painted, resized as the image is."""
    if box is not None:
        return resize_image(mask.crop(box), *size, "pad")
    return resize_image(mask, *size, "pad" if start.resize_mode == "latent" else start.resize_mode)


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
        colors = start.color_reference or image
        return PreparedImage(image, None, None, None, upscaler, colors)
    if image.size != masks.overlay.size:
        raise RequestError(_misfit(image, masks.overlay), field="mask")
    original = image
    if box is not None:
        image = resize_image(image.crop(box), *size, "pad", upscaler)
    begun = _begun(image, masks.latent, start.inpainting)
    colors = start.color_reference or begun
    return PreparedImage(begun, original, masks.overlay, box, upscaler, colors)


def _begun(image: Image.Image, mask: Image.Image, inpainting: Inpainting) -> Image.Image:
    """Return what stands under the mask at first; where latents are replaced, pixels are filled before."""
    return image if inpainting.content == "original" else fill_masked(image, mask)


def _misfit(image: Image.Image, mask: Image.Image) -> str:
    sizes = (
        f"the image has {image.width}x{image.height} pixels, the mask {mask.width}x{mask.height}"
    )
    return f"{sizes}; give both the same size, or have the image resized by another mode"


def finish_image(
    image: Image.Image, prepared: PreparedImage, options: Options, *, overlaid: bool | None = None
) -> FinishedImage:
    """Correct a painted image's colors, and lay what stays of the original over it.

    Args:
        image: RGB, as decoded.
        prepared: What it was started from.
        options: ``color_correction`` gives it the colors of ``prepared.colors``; ``overlay_original`` off
            lays nothing over it; ``return_mask`` and
            ``return_mask_composite`` have more returned.
        overlaid: Whether to do so; by default the options say.
    """
    if options.color_correction:
        image = match_colors(image, prepared.colors)
    original, mask = prepared.original, prepared.mask
    if original is None or mask is None:
        return FinishedImage(image)
    painted = image
    if options.overlay_original if overlaid is None else overlaid:
        painted = _in_place(image, prepared, original.size)
        image = painted.convert("RGBA")
        image.alpha_composite(overlay(original, mask))
        image = image.convert("RGB")
    return FinishedImage(
        image,
        mask.convert("RGB") if options.return_mask else None,
        _painted_part(painted, mask) if options.return_mask_composite else None,
    )


def _in_place(image: Image.Image, prepared: PreparedImage, size: tuple[int, int]) -> Image.Image:
    """Return a painted image where it belongs in one of the original's size."""
    if prepared.box is None:
        return image
    left, top, right, bottom = prepared.box
    whole = Image.new("RGBA", size)
    whole.paste(
        resize_image(image, right - left, bottom - top, "crop", prepared.upscaler), (left, top)
    )
    return whole


def _painted_part(painted: Image.Image, mask: Image.Image) -> Image.Image:
    """Return what a mask shows of a painted image, transparent elsewhere."""
    shown = resize_image(mask, *painted.size, "pad")
    premultiplied = painted.convert("RGBA").convert("RGBa")
    return Image.composite(premultiplied, Image.new("RGBa", painted.size), shown).convert("RGBA")
