"""What ``promptengine img2img`` starts from, and the second pass of ``txt2img``, off the command line."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from PIL import Image

from promptengine.cli.field_options import given_fields
from promptengine.errors import ImageError
from promptengine.files.images import read_image
from promptengine.request.hires_pass import HiresPass
from promptengine.request.image_start import ImageStart, Inpainting
from promptengine.request.regions import Region

__all__ = ["hires_of", "open_image", "regions_of", "start_of"]


def hires_of(options: argparse.Namespace, usual: HiresPass | None = None) -> HiresPass | None:
    """Return the second pass, if there is one or any of its options is given.

    Args:
        options: Of the command line.
        usual: The pass that there is, with what options leave open.

    Raises:
        RequestError: A value out of its range.
    """
    given = given_fields(options, HiresPass)
    return replace(usual or HiresPass(), **given) if given else usual


def start_of(options: argparse.Namespace) -> ImageStart:
    """Return the image to start from, and its mask.

    Raises:
        ImageError: A file is no image.
        RequestError: A value out of its range.
    """
    treatment = given_fields(options, Inpainting)
    mask = treatment.pop("mask", None)
    inpainting = None if mask is None else Inpainting(mask=open_image(mask), **treatment)
    given = given_fields(options, ImageStart)
    return ImageStart(images=(open_image(options.image),), inpainting=inpainting, **given)


def regions_of(options: argparse.Namespace) -> tuple[Region, ...]:
    """Return the regions that ``--region MASK TEXT`` gives.

    Raises:
        ImageError: A file is no image.
        RequestError: A mask cannot be used.
    """
    given: list[tuple[str, str]] = options.region or []
    return tuple(Region(mask=open_image(Path(mask)), prompt=text) for mask, text in given)


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
