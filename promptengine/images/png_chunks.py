"""The texts inside PNG, JPEG, WEBP and GIF files, found without decoding a pixel.

Walking from chunk to chunk takes no memory but for the texts, so that neither a decompression bomb
nor a made-up length does harm. All texts of a file share one budget of 16 MiB, to which compressed
ones count as they are and once more unpacked; what is read as an infotext has one of its own. The
number of chunks is limited by the file's size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from promptengine.errors import ImageError
from promptengine.images.exif import read_user_comment

__all__ = ["MOST_INFOTEXT", "MOST_TEXT_BYTES", "ImageTexts", "read_texts", "texts_of"]

MOST_TEXT_BYTES: Final = 16 << 20
"""Of all texts in a file together."""

MOST_INFOTEXT: Final = 256 << 10
"""Characters of a text that is read as an infotext or as NovelAI's: the largest known have 20,000."""

_READ_TEXTS: Final = ("parameters", "UserComment", "comment", "Comment", "Description")
_OWN_TEXT: Final = "promptengine"
_MOST_OWN: Final = 8 * MOST_INFOTEXT
_LEAST_STEPS: Final = 50_000
_BYTES_A_STEP: Final = 32

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_GIFS: Final = (b"GIF87a", b"GIF89a")
_PNG_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_START_OF_SCAN, _END_OF_IMAGE, _APP1, _COMMENT = 0xDA, 0xD9, 0xE1, 0xFE
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


@dataclass(frozen=True, slots=True)
class ImageTexts:
    """What an image's file says beside its pixels.

    Attributes:
        format: PNG, JPEG, WEBP or GIF.
        texts: By keyword; ``UserComment`` from EXIF, and ``comment`` of JPEG and GIF.
        size: Width and height of a PNG; None for other formats.
    """

    format: str
    texts: Mapping[str, str]
    size: tuple[int, int] | None = None


class _Damaged(Exception):
    """What is wrong with a file, in words that follow its path."""


class _Reader:
    """Reads and skips, and knows where the file ends."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._texts = 0
        self._steps = _LEAST_STEPS + size // _BYTES_A_STEP

    def take(self, count: int) -> bytes:
        self._steps -= 1
        if self._steps < 0:
            raise _Damaged("the image is cut into more pieces than any program writes")
        found = self._file.read(count)
        if len(found) < count:
            raise _Damaged("the image ends early; is it whole?")
        return found

    def text(self, count: int) -> bytes:
        """Bytes of text, of which there may not be too many."""
        self._spend(count)
        return self.take(count)

    def inflated(self, data: bytes) -> bytes:
        """Return a compressed text unpacked, which counts as text again."""
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(data, MOST_TEXT_BYTES - self._texts + 1)
        except zlib.error:
            raise _Damaged("a compressed text in the image is damaged") from None
        self._spend(len(found))
        return found

    def _spend(self, count: int) -> None:
        self._texts += count
        if self._texts > MOST_TEXT_BYTES:
            raise _Damaged("the image holds more than 16 MiB of text, which is too much")

    def skip(self, count: int) -> None:
        if self._file.tell() + count > self._size:
            raise _Damaged("the image ends early; is it whole?")
        self._file.seek(count, 1)

    def unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))


def read_texts(path: Path) -> ImageTexts | None:
    """Read the texts inside an image; None where the file is no image of these formats.

    Raises:
        ImageError: The image is damaged or cut off, or its text is too long.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return texts_of(file, path)


def texts_of(file: BinaryIO, name: Path) -> ImageTexts | None:
    """Return the same for an open file that can be sought in.

    Args:
        file: The image.
        name: What errors call it.

    Raises:
        ImageError: The image is damaged or cut off, or its text is too long.
    """
    size = file.seek(0, 2)
    file.seek(0)
    walk = _walker(file.read(12))
    if walk is None:
        return None
    file.seek(0)
    try:
        found = walk(_Reader(file, size))
        _check_lengths(found.texts)
        return found
    except _Damaged as damage:
        raise ImageError(str(damage), path=name) from None


def _check_lengths(texts: Mapping[str, str]) -> None:
    limits = {**dict.fromkeys(_READ_TEXTS, MOST_INFOTEXT), _OWN_TEXT: _MOST_OWN}
    for keyword, most in limits.items():
        if len(texts.get(keyword, "")) > most:
            raise _Damaged(
                f"its text {keyword!r} has {len(texts[keyword])} characters, more than the {most} "
                "that are read"
            )


def _walker(start: bytes) -> Callable[[_Reader], ImageTexts] | None:
    if start.startswith(_PNG):
        return _png
    if start.startswith(_JPEG):
        return _jpeg
    if start.startswith(_GIFS):
        return _gif
    return _webp if start[:4] == b"RIFF" and start[8:] == b"WEBP" else None


def _png(reader: _Reader) -> ImageTexts:
    """Chunks of length, name, data and checksum (PNG, third edition, section 5.3)."""
    reader.take(len(_PNG))
    texts: dict[str, str] = {}
    size: tuple[int, int] | None = None
    while True:
        (length,), kind = reader.unpack(">I"), reader.take(4)
        if kind == b"IEND":
            return ImageTexts("PNG", texts, size)
        if kind == b"IHDR" and size is None and length >= 8:
            width, height = reader.unpack(">II")
            size = (width, height)
            reader.skip(length - 8 + 4)
        elif kind in _PNG_TEXTS:
            data = reader.text(length)
            (checksum,) = reader.unpack(">I")
            if zlib.crc32(data, zlib.crc32(kind)) != checksum:
                raise _Damaged("a text in the image is damaged: its checksum is wrong")
            keyword, text = _png_text(reader, kind, data)
            texts.setdefault(keyword, text)
        else:
            reader.skip(length + 4)


def _png_text(reader: _Reader, kind: bytes, data: bytes) -> tuple[str, str]:
    """Keyword and text of a chunk (section 11.3.3)."""
    keyword, _, rest = data.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, rest.decode("latin-1")
    if kind == b"zTXt":
        return name, reader.inflated(rest[1:]).decode("latin-1")
    compressed = rest[:1] == b"\1"
    _, _, rest = rest[2:].partition(b"\0")
    _, _, body = rest.partition(b"\0")
    return name, (reader.inflated(body) if compressed else body).decode("utf-8", "replace")


def _jpeg(reader: _Reader) -> ImageTexts:
    """Segments of a marker and a length up to the first scan (ITU-T T.81, annex B)."""
    reader.take(len(_JPEG))
    texts: dict[str, str] = {}
    while True:
        (marker,) = reader.unpack(">B")
        if marker != 0xFF:
            raise _Damaged("the image is damaged: a segment is not where it should be")
        while marker == 0xFF:
            (marker,) = reader.unpack(">B")
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return ImageTexts("JPEG", texts)
        if marker in _ALONE:
            continue
        (length,) = reader.unpack(">H")
        if length < 2:
            raise _Damaged("the image is damaged: a segment has no length")
        if marker not in (_APP1, _COMMENT):
            reader.skip(length - 2)
            continue
        data = reader.text(length - 2)
        if marker == _COMMENT:
            texts.setdefault("comment", data.decode("utf-8", "replace"))
        elif data.startswith(b"Exif\0") and (text := read_user_comment(data)) is not None:
            texts.setdefault("UserComment", text)


def _webp(reader: _Reader) -> ImageTexts:
    """RIFF chunks, each of an even length (RFC 9649, section 2.3)."""
    reader.take(4)
    (whole,) = reader.unpack("<I")
    reader.take(4)
    left = whole - 4
    texts: dict[str, str] = {}
    while left >= 8:
        name, (length,) = reader.take(4), reader.unpack("<I")
        padded = length + length % 2
        left -= 8 + padded
        if name == b"EXIF":
            text = read_user_comment(reader.text(length))
            if text is not None:
                texts.setdefault("UserComment", text)
            padded -= length
        reader.skip(padded)
    return ImageTexts("WEBP", texts)


def _gif(reader: _Reader) -> ImageTexts:
    """Blocks, each a chain of pieces of at most 255 bytes (GIF89a, sections 15 to 27)."""
    reader.take(6)
    _, _, flags, _, _ = reader.unpack("<HHBBB")
    _skip_colors(reader, flags)
    comments: list[bytes] = []
    while True:
        (block,) = reader.unpack(">B")
        if block == _TRAILER:
            break
        if block == _EXTENSION:
            (label,) = reader.unpack(">B")
            comments += _gif_pieces(reader, keep=label == _COMMENT)
        elif block == _IMAGE:
            *_, flags = reader.unpack("<HHHHB")
            _skip_colors(reader, flags)
            reader.skip(1)
            _gif_pieces(reader, keep=False)
        else:
            raise _Damaged("the image is damaged: a block is of no known kind")
    text = b"".join(comments).decode("utf-8", "replace")
    return ImageTexts("GIF", {"comment": text} if text else {})


def _skip_colors(reader: _Reader, flags: int) -> None:
    if flags & 0x80:
        reader.skip(3 << (flags % 8 + 1))


def _gif_pieces(reader: _Reader, *, keep: bool) -> list[bytes]:
    pieces: list[bytes] = []
    while (length := reader.unpack(">B")[0]) > 0:
        if keep:
            pieces.append(reader.text(length))
        else:
            reader.skip(length)
    return pieces
