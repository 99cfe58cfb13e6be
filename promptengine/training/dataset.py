"""Images of a folder as a training sees them: sized, with caption and weights, in a fixed order."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptengine.errors import TrainingError
from promptengine.files.hashing import sha256
from promptengine.files.images import read_image
from promptengine.images.resample import fit_image
from promptengine.training.captions import caption_of
from promptengine.training.config import TrainingConfig
from promptengine.training.rng import generator

__all__ = ["Batch", "TrainingImage", "batches", "find_images", "fingerprint", "read_training_image"]

_SUFFIXES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_GRID: Final = 8
_SMALLEST: Final = 64
_NAMED: Final = 20
"""Bad images that an error names; the rest is counted."""
_REASON: Final = 120
_INVISIBLE: Final = "nothing of it is visible, so its alpha leaves no loss"


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """An image of the data folder, not yet read.

    Attributes:
        path: The file.
        caption: Its caption, before any template.
    """

    path: Path
    caption: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes through the UNet at once.

    Attributes:
        index: How many batches came before, from the start of the run.
        epoch: How often all images were seen before.
        indices: Indices of images of one size.
    """

    index: int
    epoch: int
    indices: tuple[int, ...]


class _Unreadable(TrainingError):
    """A file that is no image, or a damaged one."""


def find_images(
    config: TrainingConfig, *, on_warning: Callable[[str], None] | None = None
) -> list[TrainingImage]:
    """List the images of the data folder (its sub-folders apart) by name, with captions.

    Images that cannot be read are left out, as in WebUI, unless ``config.strict_data`` holds.

    Args:
        config: Where they are, and what is asked of them.
        on_warning: Called with one line that names those left out; by default it is a Python warning.

    Raises:
        TrainingError: No such folder, no image in it, or some that cannot be used: all are named, each
            with the reason.
    """
    if not config.data.is_dir():
        raise TrainingError(f"{config.data}: no such folder of images")
    paths = sorted(
        path
        for path in config.data.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise TrainingError(f"{config.data}: holds no images ({kinds})")
    found: list[TrainingImage] = []
    unreadable: list[str] = []
    unusable: list[str] = []
    for path in paths:
        problems = unusable
        try:
            caption = caption_of(path, word_pattern=config.word_pattern, word_join=config.word_join)
            _require_usable(path, config)
            found.append(TrainingImage(path, caption))
            continue
        except _Unreadable as error:
            problems, problem = unreadable, error
        except (TrainingError, OSError) as error:
            problem = error
        problems.append(str(problem).removeprefix(f"{config.data}{os.sep}"))
    told = f"{config.data}: {{}} of {len(paths)} images {{}}: {{}}"
    if unusable or (unreadable and (config.strict_data or not found)):
        bad = [*unusable, *unreadable]
        message = told.format(len(bad), "cannot be used", _listed(bad))
        raise TrainingError(f"{message}; mend them or take them out")
    if unreadable:
        message = told.format(
            len(unreadable), "cannot be read and are left out", _listed(unreadable)
        )
        (on_warning or _warn)(message)
    return found


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _NAMED
    return "; ".join(problems[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _require_usable(path: Path, config: TrainingConfig) -> None:
    """Read an image as training will, but for what takes time."""
    image = _opened(path)
    if not config.resize:
        _cut_size(path, image)
    if config.alpha_weights and image.getextrema()[-1] == (0, 0):
        raise TrainingError(f"{path}: {_INVISIBLE}")


def fingerprint(images: Sequence[TrainingImage]) -> str:
    """Return a digest of names, contents and captions, by which changed data are known."""
    digest = hashlib.sha256()
    for image in images:
        for text in (image.path.name, sha256(image.path), image.caption):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def read_training_image(
    path: Path, size: tuple[int, int] | None, *, alpha: bool
) -> tuple[Tensor, Tensor | None]:
    """Read an image.

    Args:
        path: The file; turned as its EXIF data say.
        size: Width and height that it is scaled to, proportions kept, what protrudes cut off; None
            cuts it to multiples of 8 pixels.
        alpha: Return the alpha channel as well.

    Returns:
        Pixels ``[3, height, width]`` from -1 to 1, and the mean opacity ``[height / 8, width / 8]``
        of each latent (None without ``alpha``, or where the image has no such channel).

    Raises:
        TrainingError: No readable image, one that is too small, or one that alpha hides in whole.
    """
    image = _opened(path)
    if size is None:
        size = _cut_size(path, image)
        left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
        image = image.crop((left, top, left + size[0], top + size[1]))
    # Scaled together, transparent pixels would darken their neighbors.
    color = fit_image(image.convert("RGB"), size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(color)).permute(2, 0, 1).float() / 127.5 - 1
    if not alpha:
        return pixels, None
    mask = fit_image(image.getchannel("A"), size, Image.Resampling.BOX)
    opacity = torch.from_numpy(np.array(mask)).float()[None] / 255
    weights = torch.nn.functional.avg_pool2d(opacity, _GRID)[0]
    if not bool(weights.any()):
        raise TrainingError(f"{path}: {_INVISIBLE}")
    return pixels, weights


def _opened(path: Path) -> Image.Image:
    try:
        return read_image(path).convert("RGBA")
    except (OSError, ValueError) as failure:
        reason = " ".join(str(failure).split())[:_REASON]
        raise _Unreadable(f"{path}: not a readable image ({reason})") from None


def _cut_size(path: Path, image: Image.Image) -> tuple[int, int]:
    """Width and height, cut to multiples of 8 pixels."""
    size = (image.width - image.width % _GRID, image.height - image.height % _GRID)
    if min(size) < _SMALLEST:
        message = f"{path}: {image.width}×{image.height} is too small; 64 pixels are the least"
        raise TrainingError(message)
    return size


def batches(
    buckets: Sequence[Sequence[int]], batch_size: int, *, seed: int, start: int
) -> Iterator[Batch]:
    """Yield batches without end, in the order that the seed gives them.

    In every epoch each image comes once. A bucket that its batches do not divide ends in a
    shorter one.

    Args:
        buckets: Indices of the images of each size.
        batch_size: The most images of a batch.
        seed: Each epoch's order derives from it.
        start: How many batches to pass over.
    """
    in_epoch = sum(-(-len(bucket) // batch_size) for bucket in buckets)
    index = start
    while True:
        epoch, passed = divmod(index, in_epoch)
        random = generator(seed, "epoch", epoch)
        order: list[tuple[int, ...]] = []
        for bucket in buckets:
            shuffled = [bucket[i] for i in torch.randperm(len(bucket), generator=random).tolist()]
            cuts = range(0, len(shuffled), batch_size)
            order += [tuple(shuffled[cut : cut + batch_size]) for cut in cuts]
        for place in torch.randperm(len(order), generator=random).tolist()[passed:]:
            yield Batch(index, epoch, order[place])
            index += 1
