"""What ``promptengine img2img`` starts from, and the second pass of ``txt2img``, off the command line."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from promptengine.errors import PictureError
from promptengine.request import HiresPass, ImageStart, Inpainting

__all__ = ["hires_of", "open_image", "start_of"]


def hires_of(options: argparse.Namespace) -> HiresPass | None:
    """The second pass, if any of its options is given.

    Raises:
        RequestError: A value out of its range.
    """
    named = {own.name: getattr(options, f"hires_{own.name}") for own in fields(HiresPass)}
    given = {name: value for name, value in named.items() if value is not None}
    return HiresPass(**given) if given else None


def start_of(options: argparse.Namespace) -> ImageStart:
    """The picture to start from, and its mask.

    Raises:
        PictureError: A file is no picture.
        RequestError: A value out of its range.
    """
    inpainting = None
    if options.mask is not None:
        inpainting = Inpainting(
            mask=open_image(options.mask),
            inverted=options.mask_invert,
            blur=(options.mask_blur, options.mask_blur),
            content=options.mask_content,
            only_masked=options.only_masked,
            padding=options.mask_padding,
        )
    return ImageStart(
        images=(open_image(options.image),),
        denoising_strength=options.denoising,
        resize_mode=options.resize_mode,
        inpainting=inpainting,
    )


def open_image(path: Path) -> Image.Image:
    """Read a picture, turned as its camera noted.

    Raises:
        PictureError: It cannot be read, or is too large to be one.
    """
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise PictureError("no such file", path=path) from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as failure:
        raise PictureError(f"not a readable picture ({failure})", path=path) from None
