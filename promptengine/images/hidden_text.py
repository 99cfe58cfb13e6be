"""Texts in the lowest bits of an image's pixels, as NovelAI and an extension of WebUI's hide them.

The bits of the alpha channel, or of red, green and blue in turn, are read down each column from the left.
They begin with a signature of fifteen letters, which says whether the text is packed, and 32 bits that
count those of the text. Only whole PNG and WEBP keep such bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from promptengine.files.images import read_image
from promptengine.images.png_chunks import MOST_INFOTEXT, ImageTexts
from promptengine.images.save import KEYWORD
from promptengine.infotext.documents import read_document
from promptengine.infotext.programs.values import mapping, text_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["hidden_texts"]

_MOST_PIXELS: Final = 1 << 24
"""Of an image that is decoded for it: 4096 x 4096."""

_FORMATS: Final = ("PNG", "WEBP")
_SIGNATURE_BYTES: Final = 15
_LENGTH_BYTES: Final = 4
_SIGNATURES: Final[Mapping[str, tuple[tuple[bytes, bool], ...]]] = {
    "A": ((b"stealth_pnginfo", False), (b"stealth_pngcomp", True)),
    "RGB": ((b"stealth_rgbinfo", False), (b"stealth_rgbcomp", True)),
}
"""By channels: what begins a text, and whether it is packed."""

_GZIP: Final = 31


def hidden_texts(file: BinaryIO, found: ImageTexts) -> Mapping[str, str] | None:
    """Return the texts in an image's pixels by keyword, as a file would have them; None where there are none.

    Args:
        file: The image, which can be sought in.
        found: What its file says, which tells the format.
    """
    if found.format not in _FORMATS:
        return None
    try:
        image = read_image(file, most_pixels=_MOST_PIXELS, formats=(found.format,), turn=False)
    except (OSError, ValueError):
        return None
    for channels, signatures in _SIGNATURES.items():
        if not set(channels) <= set(image.getbands()):
            continue
        for signature, packed in signatures:
            content = _content(image, channels, signature)
            if content is not None:
                return _texts(content, packed=packed)
    return None


def _content(image: Image, channels: str, signature: bytes) -> bytes | None:
    """Return the bytes behind a signature, or None where it is not there or they are cut off."""
    head = _bytes_of(image, channels, _SIGNATURE_BYTES + _LENGTH_BYTES)
    if not head.startswith(signature) or len(head) < _SIGNATURE_BYTES + _LENGTH_BYTES:
        return None
    count = int.from_bytes(head[_SIGNATURE_BYTES:], "big") // 8
    if not 0 < count <= 4 * MOST_INFOTEXT:
        return None
    content = _bytes_of(image, channels, len(head) + count)[len(head) :]
    return content if len(content) == count else None


def _bytes_of(image: Image, channels: str, count: int) -> bytes:
    """Return the first bytes that the lowest bits of some channels make; fewer where the image ends."""
    import numpy as np

    columns = min(image.width, -(-count * 8 // (image.height * len(channels))))
    strip = image.crop((0, 0, columns, image.height))
    bands = [np.asarray(strip.getchannel(one), np.uint8) for one in channels]
    # Down the columns, and at each place one bit of each channel.
    bits: NDArray[np.uint8] = np.stack(bands, -1).transpose(1, 0, 2).reshape(-1) & 1
    whole: Any = np.packbits(bits[: bits.size // 8 * 8])
    return bytes(whole[:count])


def _texts(content: bytes, *, packed: bool) -> Mapping[str, str] | None:
    """Return the texts that are hidden: those of a JSON object of NovelAI's, or WebUI's parameters."""
    if packed:
        try:
            content = zlib.decompressobj(_GZIP).decompress(content, 4 * MOST_INFOTEXT + 1)
        except zlib.error:
            return None
    if len(content) > 4 * MOST_INFOTEXT:
        return None
    text = content.decode("utf-8", "replace")
    if len(text) > MOST_INFOTEXT:
        return None
    held = mapping(read_document(text))
    if "Comment" in held:
        return {key: value for key in held if (value := text_of(held[key])) is not None}
    return {KEYWORD: text}
