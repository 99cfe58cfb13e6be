"""Reads the table of a zip that ``torch.save`` wrote, so strictly that no two readers differ on it.

What is checked here is then read by torch with another zip reader. So a file with a second table, a
comment, members over one another, or two members of one name is refused rather than interpreted.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

__all__ = ["read_archive"]

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_SIGNATURES: Final = (b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06")
_LOCAL_HEADER_BYTES: Final = 30
_LEAST_MEMBERS: Final = 5_000
_BYTES_A_MEMBER: Final = 2_000
_MOST_SMALL_BYTES: Final = 4096
_MOST_PROGRAM_BYTES: Final = 16 << 20
_PROGRAM: Final = "data.pkl"


def read_archive(file: BinaryIO, size: int) -> tuple[bytes, dict[str, int]]:
    """Read the pickle in a zip, and the bytes of its storages by key.

    Args:
        file: The zip.
        size: Its bytes.

    Raises:
        BadZipFile: It is damaged, cut short, or not as torch writes one.
        ValueError: It is whole, and torch cannot read it.
    """
    count, start = _table(file, size)
    most = _LEAST_MEMBERS + size // _BYTES_A_MEMBER
    if count > most:
        raise ValueError(f"{count} members, more than the {most} that a file of its size may have")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) != count or archive.start_dir != start or archive.comment:
            raise zipfile.BadZipFile("its table of members is not where it should be")
        if any(_inner(member) == "constants.pkl" for member in members):
            raise ValueError("a TorchScript program, not weights")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            # Mapped, the compressed bytes would be taken for weights.
            raise ValueError("its members are compressed; zip them again without compression")
        _check_places(members, start)
        programs = [member for member in members if _inner(member) == _PROGRAM]
        if len(programs) != 1 or programs[0].file_size > _MOST_PROGRAM_BYTES:
            raise zipfile.BadZipFile("not one pickle of weights in it")
        program = archive.read(programs[0])
    storages = {
        inner.removeprefix("data/"): member.file_size
        for member in members
        if (inner := _inner(member)).startswith("data/")
    }
    return program, storages


def _inner(member: zipfile.ZipInfo) -> str:
    """Return the path below the folder that holds all of it."""
    return member.filename.partition("/")[2]


def _check_places(members: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that share bytes or a name, and large ones that torch reads whole."""
    # Torch finds members without regard to case.
    if len({member.filename.lower() for member in members}) < len(members):
        raise zipfile.BadZipFile("two members of one name")
    if len({member.filename.partition("/")[0] for member in members}) > 1:
        raise zipfile.BadZipFile("members of two folders")
    free = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        header = _LOCAL_HEADER_BYTES + len(member.orig_filename)
        if member.header_offset < free or member.file_size != member.compress_size:
            raise zipfile.BadZipFile("members over one another")
        free = member.header_offset + header + member.file_size
        small = not _inner(member).startswith("data/") and _inner(member) != _PROGRAM
        if small and member.file_size > _MOST_SMALL_BYTES:
            raise ValueError(f"a member {member.filename!r} that no file of weights has")
    if free > end:
        raise zipfile.BadZipFile("members beyond the end")


def _table(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return how many members the table at the end lists, and where it begins (APPNOTE 4.3.14 to 4.3.16)."""
    place = size - _END.size
    signature, *_, count, length, start, _ = _unpacked(file, _END, place)
    if signature != _SIGNATURES[0]:
        raise zipfile.BadZipFile("no table of members at its end")
    before = place - _LOCATOR.size
    if before >= 0 and _unpacked(file, _LOCATOR, before)[0] == _SIGNATURES[1]:
        place = _unpacked(file, _LOCATOR, before)[2]
        signature, *_, count, length, start = _unpacked(file, _END64, place)
        if signature != _SIGNATURES[2] or place + _END64.size != before:
            raise zipfile.BadZipFile("no table of members at its end")
    if start + length != place:
        raise zipfile.BadZipFile("its table of members is not where it should be")
    return count, start


def _unpacked(file: BinaryIO, form: struct.Struct, place: int) -> tuple[Any, ...]:
    file.seek(max(place, 0))
    found = file.read(form.size)
    if place < 0 or len(found) < form.size:
        raise zipfile.BadZipFile("cut short")
    return form.unpack(found)
