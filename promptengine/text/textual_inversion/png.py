"""Embeddings inside images, as WebUI's training writes its previews.

The image carries a JSON object: WebUI's layout of an embedding, with a tensor written as
``{"TORCHTENSOR": nested lists}``. It stands in one of two places, or in both:

- **As text:** base64 in the PNG text chunk ``sd-ti-embedding``.
- **In pixels,** for hosts that strip text: compressed by zlib, each byte cut into two halves. The
  low four bits of the colors of a block left of the image hold the lower halves, those of a block
  right of it the upper ones, row by row and channel by channel, and a black column stands between
  each block and the image. Both blocks are masked with the same sequence: the linear congruential
  generator of *Numerical Recipes* from 0, modulo 255. What follows the compressed data is filling.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from promptengine.files.images import read_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["is_image", "read_embedding_image"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNK: Final = "sd-ti-embedding"
_TENSOR: Final = "TORCHTENSOR"
_MOST_PIXELS: Final = 32 << 20
_LONGEST_JSON: Final = 16 << 20
_LOW_BITS: Final = 0x0F
_ZLIB_METHOD: Final = 8
_FACTOR, _STEP, _MODULUS = 1664525, 1013904223, 1 << 32


def is_image(path: Path) -> bool:
    """Tell from its first bytes whether a file is a PNG or WebP image; False where there are none
    to be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_PNG) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def read_embedding_image(path: Path) -> dict[object, object] | None:
    """Read the embedding in an image, the text chunk before the pixels.

    Returns:
        WebUI's layout, see :func:`promptengine.text.textual_inversion.embedding.embedding_from`, or None where
        the image holds no embedding.

    Raises:
        ValueError: The image or what it carries is damaged, or larger than any embedding.
    """
    image = read_image(path, most_pixels=_MOST_PIXELS, formats=("PNG", "WEBP"), turn=False)
    text = image.info.get(_TEXT_CHUNK)
    document = _in_text(text) if isinstance(text, str) else _in_pixels(image)
    return None if document is None else _parsed(document)


def _in_text(text: str) -> bytes:
    if len(text) > 2 * _LONGEST_JSON:
        raise ValueError("its text is longer than any embedding's")
    try:
        return base64.b64decode(text)
    except ValueError as failure:
        raise ValueError("the embedding in its text is damaged") from failure


def _in_pixels(image: Image) -> bytes | None:
    import numpy as np

    pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    # A host may have put the image on black.
    lit = np.asarray(pixels.all(axis=2))
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        return None
    cropped = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    low: NDArray[np.uint8] = cropped & np.uint8(_LOW_BITS)
    black = np.flatnonzero(~low.any(axis=(0, 2)))
    if len(black) < 2:
        return None
    lower, upper = _unmasked(low[:, : black[0]]), _unmasked(low[:, black[-1] + 1 :])
    if len(lower) != len(upper) or len(lower) < 2:
        return None
    data = (upper << 4 | lower).tobytes()
    if data[0] & _LOW_BITS != _ZLIB_METHOD or int.from_bytes(data[:2], "big") % 31:
        # Two black columns and no header of zlib between them: an image of something dark.
        return None
    unpacker = zlib.decompressobj()
    try:
        document = unpacker.decompress(data, _LONGEST_JSON)
    except zlib.error:
        raise ValueError("the data in its pixels are damaged") from None
    if not unpacker.eof:
        raise ValueError("the data in its pixels are cut short, or larger than any embedding")
    return document


def _unmasked(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the mask off a block and lay it out in one row."""
    import numpy as np

    flat = block.reshape(-1)
    states = np.array([_STEP], dtype=np.uint32)
    factor, step = _FACTOR, _STEP
    # n states give the next n at once: n steps of the generator are one step of another.
    while len(states) < len(flat):
        states = np.concatenate([states, states * np.uint32(factor) + np.uint32(step)])
        factor, step = factor * factor % _MODULUS, (factor * step + step) % _MODULUS
    return flat ^ (states[: len(flat)] % 255 & _LOW_BITS).astype(np.uint8)


def _parsed(document: bytes) -> dict[object, object]:
    try:
        content: Any = json.loads(document)
    except RecursionError as failure:
        raise ValueError("the embedding in it is nested too deeply") from failure
    except ValueError as failure:
        raise ValueError("the embedding in it is damaged") from failure
    if not isinstance(content, dict):
        raise ValueError("what it carries is no embedding")
    fields = cast("dict[object, object]", content)
    words = fields.get("string_to_param")
    if isinstance(words, dict):
        stored = cast("dict[object, object]", words)
        return fields | {"string_to_param": {w: _tensor(value) for w, value in stored.items()}}
    return {key: _tensor(value) for key, value in fields.items()}


def _tensor(value: object) -> object:
    """Return the tensor where a value is one as JSON, else the value."""
    import torch

    if not isinstance(value, Mapping) or _TENSOR not in value:
        return value
    try:
        return torch.tensor(cast("Mapping[str, Any]", value)[_TENSOR], dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, OverflowError) as failure:
        raise ValueError("the vectors in it are no table of numbers") from failure
