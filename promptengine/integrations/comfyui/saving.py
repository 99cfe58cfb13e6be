"""Images in ComfyUI's output folder, with the texts that belong into them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from promptengine.errors import PromptEngineError, RequestError
from promptengine.files.atomic import write_new
from promptengine.images.png_chunks import MOST_TEXT_BYTES
from promptengine.images.save import KEYWORD, OWN_KEYWORD, encode_image
from promptengine.infotext.read import Infotext
from promptengine.integrations.comfyui.host import host_module

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SavedImage", "graph_texts", "save_images", "writes_metadata"]

_MOST_TRIES: Final = 10_000
_MOST_PREFIX: Final = 1000

SavedImage = dict[str, str]
"""What ComfyUI's page shows an image by: ``filename``, ``subfolder`` and ``type``."""


def writes_metadata() -> bool:
    """Return whether ComfyUI lets images say how they were made."""
    return not host_module("comfy.cli_args").args.disable_metadata


def graph_texts(prompt: object, extra: object) -> dict[str, str]:
    """Return the texts that ComfyUI puts into its images, by their keywords.

    Args:
        prompt: Its hidden input ``PROMPT``; None for none.
        extra: Its hidden input ``EXTRA_PNGINFO``: anything that the page sends along. What is sent under
            the keywords of infotexts is left out.

    Raises:
        RequestError: They are longer than what is read from an image again.
    """
    sent = extra if isinstance(extra, Mapping) else {}
    documents = {**({} if prompt is None else {"prompt": prompt}), **sent}
    texts = {
        str(key): json.dumps(value)
        for key, value in documents.items()
        if key not in (KEYWORD, OWN_KEYWORD)
    }
    if sum(map(len, texts.values())) > MOST_TEXT_BYTES // 2:
        message = f"the graph has more than {MOST_TEXT_BYTES >> 21} MiB of text"
        raise RequestError(f"{message}; take images and the like out of it", field="extra_pnginfo")
    return texts


def save_images(
    images: Tensor,
    infotexts: Sequence[Infotext | str],
    prefix: str,
    texts: Mapping[str, str],
) -> list[SavedImage]:
    """Write images as ComfyUI names them, never over a file that is there.

    Args:
        images: ComfyUI's IMAGE ``[images, height, width, 3]``, 0 to 1.
        infotexts: Of each.
        prefix: What names begin with, folders below the output folder included; ComfyUI fills in
            ``%date%`` and the like, and ``%batch_num%`` is the number of the image.
        texts: What else each image says.

    Raises:
        RequestError: The prefix leads out of the output folder, or cannot be a file's name.
        PromptEngineError: The images are of another shape, or cannot be written.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        message = f"images must be [images, height, width, 3] (got {list(images.shape)})"
        raise PromptEngineError(message)
    _check_prefix(prefix)
    paths = host_module("folder_paths")
    _, height, width, _ = images.shape
    saved: list[SavedImage] = []
    try:
        folder, name, counter, subfolder, _ = paths.get_save_image_path(
            prefix, paths.get_output_directory(), width, height
        )
        for number, (pixels, infotext) in enumerate(zip(images, infotexts, strict=True)):
            data = encode_image(_image(pixels), "png", infotext, texts=texts)
            numbered = name.replace("%batch_num%", str(number))
            file, counter = _write(Path(folder), numbered, counter, data)
            saved.append({"filename": file, "subfolder": subfolder, "type": "output"})
    except OSError as error:
        message = f"the images cannot be written as {prefix!r}: {error.strerror or error}"
        raise PromptEngineError(message) from None
    return saved


def _write(folder: Path, name: str, counter: int, data: bytes) -> tuple[str, int]:
    """Write a file under the next number that is free; return its name and the number after."""
    for number in range(counter, counter + _MOST_TRIES):
        file = f"{name}_{number:05}_.png"
        if write_new(folder / file, data):
            return file, number + 1
    message = f"{folder} has {_MOST_TRIES} files {name}_… already; use another filename_prefix"
    raise PromptEngineError(message)


def _image(pixels: Tensor) -> Image:
    from PIL.Image import fromarray

    levels = pixels.detach().cpu().float().clamp(0, 1).nan_to_num(0) * 255
    return fromarray(levels.to(torch.uint8).numpy())


def _check_prefix(prefix: str) -> None:
    """Refuse what ComfyUI refuses, in words, and what no file can be called."""
    path = os.path.normpath(prefix)
    if len(prefix) > _MOST_PREFIX or not prefix.isprintable():
        message = f"filename_prefix must be at most {_MOST_PREFIX} printable characters"
        raise RequestError(f"{message} (got {prefix[:80]!r})", field="filename_prefix")
    leaves = Path(path).parts[:1] == ("..",)
    if os.path.isabs(path) or Path(path).drive or Path(path).root or leaves:  # noqa: PTH117
        message = f"filename_prefix {prefix[:200]!r} leads out of ComfyUI's output folder"
        raise RequestError(f"{message}; it must stay below it", field="filename_prefix")
