"""What ``promptengine img2img`` starts from, and the second pass of ``txt2img``, off the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from promptengine.errors import ImageError
from promptengine.files.images import read_image
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting

__all__ = ["hires_of", "open_image", "start_of"]


def hires_of(options: argparse.Namespace, usual: HiresPass | None = None) -> HiresPass | None:
    """The second pass, if there is one or any of its options is given.

    Args:
        options: Of the command line.
        usual: The pass that there is, with what options leave open.

    Raises:
        RequestError: A value out of its range.
    """
    named = {own.name: getattr(options, f"hires_{own.name}") for own in fields(HiresPass)}
    given = _given(named)
    return replace(usual or HiresPass(), **given) if given else usual


def start_of(options: argparse.Namespace) -> ImageStart:
    """The image to start from, and its mask.

    Raises:
        ImageError: A file is no image.
        RequestError: A value out of its range.
    """
    inpainting, blur = None, options.mask_blur
    if options.mask is not None:
        treatment = {
            "inverted": options.mask_invert,
            "blur": None if blur is None else (blur, blur),
            "content": options.mask_content,
            "only_masked": options.only_masked,
            "padding": options.mask_padding,
        }
        inpainting = Inpainting(mask=open_image(options.mask), **_given(treatment))
    treatment = {
        "denoising_strength": options.denoising,
        "resize_mode": options.resize_mode,
        "inpainting": inpainting,
    }
    return ImageStart(images=(open_image(options.image),), **_given(treatment))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left to the defaults."""
    return {name: value for name, value in values.items() if value is not None}


def open_image(path: Path) -> Image.Image:
    """Read an image, turned as its camera noted.

    Raises:
        ImageError: It cannot be read, or is too large to be one.
    """
    try:
        return read_image(path)
    except FileNotFoundError:
        raise ImageError("no such file", path=path) from None
    except (OSError, ValueError) as failure:
        raise ImageError(f"not a readable image ({failure})", path=path) from None
