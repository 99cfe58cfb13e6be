"""Opens image files so that none can take more memory or time than its size warrants.

A few bytes can stand for billions of pixels, or be cut into so many pieces that a decoder spends
minutes on them. Here both are counted before and while Pillow reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMATS", "MOST_PIXELS", "read_image"]

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Of images that a user may hand in; Pillow knows more, some of which start other programs."""

MOST_PIXELS: Final = 50_000_000
"""Of one image; the sensors of today's cameras and telephones have as many."""

_LEAST_READS: Final = 5_000
_BYTES_A_READ: Final = 1_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PACKED_CHUNKS: Final = (b"iCCP", b"zTXt", b"iTXt")
_MOST_PACKED_CHUNKS: Final = 16


class _TooManyPieces(ValueError):
    """The decoder asked for more pieces than a whole file of its size has."""


class _TooMuchPacked(ValueError):
    """More texts and profiles than an image has, each of which unpacks to a megabyte."""


class _Metered:
    """A file of which only so many pieces can be read."""

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        self._file = file
        self._left = _LEAST_READS + size // _BYTES_A_READ
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _TooManyPieces("it is cut into more pieces than any program writes")
        return self._file.read(size)


def read_image(
    source: Path | BinaryIO,
    *,
    most_pixels: int = MOST_PIXELS,
    formats: Sequence[str] = FORMATS,
    turn: bool = True,
) -> Image:
    """Read an image whole; of an animation its first frame.

    Args:
        source: A file, or an open one that can be sought in; it is left open.
        most_pixels: Larger ones are refused before a pixel is decoded.
        formats: What it may be written as, in Pillow's words; the suffix plays no part.
        turn: Turn it as its camera noted.

    Raises:
        ValueError: It is damaged, too large, or none of the formats; the text says which.
        OSError: The file cannot be opened.
    """
    if not isinstance(source, Path):
        return _read(source, most_pixels, formats, turn)
    with source.open("rb") as file:
        return _read(file, most_pixels, formats, turn)


def _read(file: BinaryIO, most_pixels: int, formats: Sequence[str], turn: bool) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the limit here is stricter.
            warnings.simplefilter("ignore")
            metered = cast("BinaryIO", _Metered(file))
            _check_chunks(metered)
            with Image.open(metered, formats=tuple(formats)) as opened:
                pixels = opened.width * opened.height
                if pixels <= most_pixels:
                    opened.load()
                    if turn:
                        ImageOps.exif_transpose(opened, in_place=True)
                    return opened
    except UnidentifiedImageError:
        raise ValueError(f"no image of a known format ({', '.join(formats)})") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more pixels than the {most_pixels} allowed") from None
    except (_TooManyPieces, _TooMuchPacked):
        raise
    # Damaged images make Pillow's decoders fail in any way: SyntaxError, struct.error, zlib.error
    # and more have been seen. None of it tells a user anything.
    except Exception as failure:
        raise ValueError("a damaged image") from failure
    message = f"{opened.width} × {opened.height} pixels, more than the {most_pixels} allowed"
    raise ValueError(message)


def _check_chunks(file: BinaryIO) -> None:
    """Refuse a PNG of many compressed chunks, which Pillow unpacks one and all, behind the pixels too."""
    if file.read(len(_PNG)) == _PNG:
        packed = 0
        while len(head := file.read(8)) == 8:
            packed += head[4:] in _PACKED_CHUNKS
            if packed > _MOST_PACKED_CHUNKS:
                message = f"it has more than {_MOST_PACKED_CHUNKS} compressed texts and profiles"
                raise _TooMuchPacked(message)
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    file.seek(0)
