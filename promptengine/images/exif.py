r"""The one EXIF entry that matters here: ``UserComment``, where WebUI keeps an image's text.

EXIF is a TIFF of directories (TIFF 6.0, section 2; Exif 2.32, section 4.6): the first one's entry
``0x8769`` points to the second one, whose entry ``0x9286`` is the comment. The comment begins with
eight bytes that name its encoding, of which ``UNICODE\0`` means UTF-16.

What is written is what WebUI's own library, piexif, writes: the type ``UNDEFINED`` and big-endian
UTF-16. Pillow would store the type ``BYTE``, at which readers built on piexif stop with an error.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["make_exif", "read_user_comment"]

_PREFIX: Final = b"Exif\0\0"
_EXIF_DIRECTORY, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_BYTE_TYPES: Final = frozenset({1, 2, _UNDEFINED})
_ORDERS: Final = {b"II": "<", b"MM": ">"}
_UNICODE: Final = b"UNICODE\0"
_CODES: Final = (b"ASCII\0\0\0", b"\0" * 8)
_CODE_BYTES: Final = 8
_INLINE_BYTES: Final = 4


def make_exif(text: str) -> bytes:
    """Return an EXIF block that holds a text and nothing else.

    Lone surrogates, which UTF-16 cannot hold, become U+FFFD.
    """
    comment = _UNICODE + text.encode("utf-16-be", "surrogatepass").decode(
        "utf-16-be", "replace"
    ).encode("utf-16-be")
    head = struct.pack(">2sHI", b"MM", 42, 8)
    first = struct.pack(">HHHIII", 1, _EXIF_DIRECTORY, _LONG, 1, 26, 0)
    second = struct.pack(">HHHIII", 1, _USER_COMMENT, _UNDEFINED, len(comment), 44, 0)
    return _PREFIX + head + first + second + comment


def read_user_comment(block: bytes) -> str | None:
    """Return the comment of an EXIF block, or None where it has none that can be read."""
    tiff = block.removeprefix(_PREFIX)
    order = _ORDERS.get(tiff[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        pointer = _entry(tiff, order, first, _EXIF_DIRECTORY)
        if pointer is None:
            return None
        comment = _entry(tiff, order, struct.unpack(f"{order}I", pointer)[0], _USER_COMMENT)
    except struct.error:
        return None
    return None if comment is None else _decoded(comment, order)


def _entry(tiff: bytes, order: str, directory: int, wanted: int) -> bytes | None:
    """Return the value of an entry in a directory; struct.error where the directory is cut off."""
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for number in range(count):
        place = directory + 2 + 12 * number
        tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, place)
        if tag != wanted:
            continue
        start = place + 8
        if kind == _LONG:
            return tiff[start : start + 4]
        if kind not in _BYTE_TYPES:
            return None
        if length > _INLINE_BYTES:
            (start,) = struct.unpack_from(f"{order}I", tiff, start)
        value = tiff[start : start + length]
        return value if len(value) == length else None
    return None


def _decoded(comment: bytes, order: str) -> str:
    if not comment.startswith(_UNICODE):
        body = comment[_CODE_BYTES:] if comment.startswith(_CODES) else comment
        return body.decode("utf-8", "replace").rstrip("\0")
    body = comment[_CODE_BYTES:]
    # Most programs write big-endian whatever the block's order; those that do not are told by
    # where the zeros of plain letters stand. In WebUI's own order nothing is guessed.
    if order == "<" and body[1::2].count(0) > body[::2].count(0):
        return body.decode("utf-16-le", "replace").removeprefix("\ufeff")
    return body.decode("utf-16-be", "replace")
