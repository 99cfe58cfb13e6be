"""Changes files: their bytes, and the pieces that their formats are made of."""

from __future__ import annotations

import io
import itertools
import json
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

__all__ = ["mutated"]

_NUMBERS = (0, 1, 2, 7, 64, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF)
_NAMES = (
    *(
        "torch._utils\n_rebuild_tensor_v2",
        "torch._utils\n_rebuild_parameter",
        "torch\nFloatStorage",
    ),
    *("_codecs\nencode", "__builtin__\nbytearray", "__builtin__\nset", "collections\nOrderedDict"),
    *(
        "collections\nCounter",
        "torch\nSize",
        "torch\nTensor",
        "torch._utils\n_rebuild_sparse_tensor",
    ),
    *("numpy\ndtype", "numpy.core.multiarray\nscalar", "posix\nsystem", "torch\ndevice"),
    *("torch.nn.modules.container\nParameterDict", "torch.storage\nUntypedStorage"),
    *("torch._utils\n_rebuild_meta_tensor_no_storage", "torch._tensor\n_rebuild_from_type_v2"),
)
_OPS: tuple[bytes, ...] = (
    *(f"c{name}\n".encode() for name in _NAMES),
    *(
        b"R",
        b"b",
        b"\x81",
        b"Q",
        b"}",
        b"]",
        b")",
        b"(",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"e",
    ),
    *(
        b"s",
        b"u",
        b"N",
        b"\x88",
        b"\x8f",
        b"h\x00",
        b"h\x01",
        b"h\x02",
        b"q\x00",
        b"q\x01",
        b"0",
        b"2",
    ),
    *(b"K\x05", b"M\xff\xff", b"J\xff\xff\xff\x7f", b"\x8a\x05\x00\x00\x00\x00\x10"),
    *(b"\x8a\xff" + b"\x7f" * 255, b"G" + b"\x7f\xf0" + bytes(6), b"X\x03\x00\x00\x00hex"),
    *(b"X\x07\x00\x00\x00storage", b"X\x06\x00\x00\x00latin1", b"X\xff\xff\xff\xff", b"U\x03abc"),
    *(b")" + b"\x85" * 3000, b"(" * 500, b"]" * 2000, b"X\x10\x27\x00\x00" + b"a" * 10_000),
    *(b"c_codecs\nencode\n(X\x03\x00\x00\x00abcX\x03\x00\x00\x00hextR",),
    *(b"c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R",),
    *(b"(" + b"]q\x07" + b"h\x07" * 500 + b"t", b"]q\x08" + b"(h\x08h\x08e"),
)
_SNIPPETS: tuple[bytes, ...] = (
    *(
        b"Steps: 1, Sampler: x, CFG scale: 3, ",
        b"Negative prompt: ",
        b"\n",
        b'"',
        b"\\",
        b"{",
        b"[",
    ),
    *(
        b"}",
        b"]",
        b",",
        b":",
        b"a: ",
        b"- ",
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"? ",
        b"!!python/object:os.x",
    ),
    *(b"!!binary ", b"!!timestamp ", b"1:1:1", b"0x" + b"f" * 300, b"9" * 5000, b"1e999", b"-.inf"),
    *(b"null", b"true", b'"a": ', b"NaN", b"\xed\xa0\x80", b"\xff", b"\0", b"\t", b"\x1c", b"\x85"),
    *(b"Hashes: {", b"\\ud800", b"[" * 3000, b'{"a":' * 3000, b"a,b: c, " * 500, b"  " * 500),
)


_LARGEST: Final = 4 << 20
"""Bytes of a file."""


def mutated(kind: str, seed: bytes, random: Random) -> bytes:
    """A file changed in one to four places, most often in a way that keeps its outer form."""
    content = seed
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        change = _by_pieces(kind, content) if random.random() < 0.7 else None
        try:
            content = (change or _bytes)(content, random)
        except (
            ValueError,
            LookupError,
            OverflowError,
            AttributeError,
            TypeError,
            RuntimeError,
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            StopIteration,
        ):
            # What is no file of its kind any more is changed as bytes.
            content = _bytes(content, random)
        content = content[:_LARGEST]
    return content


def _by_pieces(kind: str, content: bytes) -> Callable[[bytes, Random], bytes] | None:
    for start, change in _FORMS.items():
        if content.startswith(start):
            return change
    return _header if kind == "safetensors" else _text if kind in _TEXTS else None


def _bytes(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) + 1)
    end = min(len(content), place + random.choice((1, 1, 2, 4, 8, 60)))
    number = random.choice(_NUMBERS)
    piece = random.choice(
        (
            random.randbytes(end - place),
            struct.pack("<I", number)[: random.choice((1, 2, 4))],
            struct.pack(">I", number)[-random.choice((1, 2, 4)) :],
            b"",
            content[place:end] * random.choice((2, 2, 100)),
        )
    )
    if random.random() < 0.05:
        return content[:place]
    return content[:place] + piece + content[end:]


def _listed(pieces: list[bytes], random: Random, others: Sequence[bytes] = ()) -> list[bytes]:
    """A list with one piece dropped, repeated, moved, changed, or put in anew."""
    place = random.randrange(len(pieces))
    action = random.randrange(6)
    if action == 0:
        del pieces[place]
    elif action == 1:
        times = _affordable(pieces[place], random.choice((2, 2, 3, 50, 3000)))
        pieces[place : place + 1] = [pieces[place]] * times
    elif action == 2:
        pieces.insert(random.randrange(len(pieces)), pieces.pop(place))
    elif action == 3 or not others:
        pieces[place] = _bytes(pieces[place], random)
    else:
        piece = random.choice(others)
        times = _affordable(piece, random.choice((1, 1, 1, 2, 20, 2000)))
        pieces[place:place] = [piece] * times
    return pieces


def _affordable(piece: bytes, times: int) -> int:
    """So many times, or fewer where the file would be cut off anyway."""
    return min(times, 2 + _LARGEST // max(len(piece), 1))


def _png(content: bytes, random: Random) -> bytes:
    place, pieces = 8, list[bytes]()
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        pieces.append(content[place + 4 : place + 8 + length])
        place += 12 + length
    bomb = zlib.compress(bytes(random.choice((1000, 1 << 20, 5 << 20))))
    size = struct.pack(">II", random.choice(_NUMBERS), random.choice(_NUMBERS))
    others = (
        *(
            b"zTXtparameters\0\0" + bomb,
            b"iTXta\0\1\0\0\0" + bomb,
            b"tEXtcomment\0" + b"a: b, " * 999,
        ),
        *(b"iCCPa\0\0" + bomb, b"IDAT" + bomb, b"IHDR" + size + b"\x08\2\0\0\0", b"abCd"),
        *(
            b"acTL\xff\xff\xff\xff\0\0\0\0",
            b"eXIfMM\0*\0\0\0\x08\xff\xff",
            b"tEXtsd-ti-embedding\0W10=",
        ),
    )
    pieces = _listed(pieces, random, others)
    chunks = (
        struct.pack(">I", len(piece) - 4) + piece + struct.pack(">I", zlib.crc32(piece))
        for piece in pieces
        if len(piece) >= 4
    )
    return content[:8] + b"".join(chunks)


def _jpeg(content: bytes, random: Random) -> bytes:
    place, pieces = 2, list[bytes]()
    while content[place] == 0xFF and content[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, place + 2)
        pieces.append(content[place : place + 2 + length])
        place += 2 + length
    sizes = struct.pack(">HH", 0xFFFF, 0xFFFF)
    others = (
        *(
            b"\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(65_519),
            b"\xff\xfe\0\2",
            b"\xff",
        ),
        *(
            b"\xff\xc0\0\x11\x08" + sizes + b"\x03\x01\x22\0\x02\x11\1\3\x11\1",
            b"\xff\xe2\0\x10MPF\0" + bytes(10),
        ),
    )
    return content[:2] + b"".join(_listed(pieces, random, others)) + content[place:]


def _webp(content: bytes, random: Random) -> bytes:
    place, pieces = 12, list[bytes]()
    while place + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, place + 4)
        pieces.append(content[place : place + 8 + length + length % 2])
        place += 8 + length + length % 2
    others = (
        *(b"VP8X\x0a\0\0\0\x3e\0\0\0" + b"\xff" * 6, b"EXIF\x0c\0\0\0MM\0*\0\0\0\x08\xff\xff\0\0"),
        *(b"ANIM\x06\0\0\0" + bytes(6), b"ANMF\x18\0\0\0" + bytes(24), b"XMP \0\0\0\0"),
    )
    body = b"WEBP" + b"".join(_listed(pieces, random, others))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _pickle(content: bytes, random: Random) -> bytes:
    """One of the pickles at the beginning, by opcodes."""
    stream, start = io.BytesIO(content), 0
    for _ in range(random.choice((1, 1, 2, 3, 4, 4, 4, 5))):
        start = stream.tell()
        places = [place for _, _, place in pickletools.genops(stream) if place is not None]
    end = stream.tell()
    places.append(end)
    ops = [content[first:last] for first, last in itertools.pairwise(places)]
    return content[:start] + b"".join(_listed(ops, random, _OPS)) + content[end:]


def _zip(content: bytes, random: Random) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except EOFError:
        # An earlier change let its table claim more than it holds.
        return _bytes(content, random)
    place = random.randrange(len(members))
    pickled = next(n for n, (name, _) in enumerate(members) if name.endswith("data.pkl"))
    action = random.randrange(10)
    if action == 0:
        del members[place]
    elif action == 1:
        members.insert(place, members[random.randrange(len(members))])
    elif action == 2:
        members[place] = (members[place][0], _bytes(members[place][1], random))
    elif action == 3:
        members += [(f"archive/data/x{n}", b"") for n in range(random.choice((1, 100, 9000)))]
    else:
        members[pickled] = (members[pickled][0], _pickle(members[pickled][1], random))
    method = zipfile.ZIP_DEFLATED if random.random() < 0.03 else zipfile.ZIP_STORED
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return packed.getvalue()


def _header(content: bytes, random: Random) -> bytes:
    start = 8 + int.from_bytes(content[:8], "little")
    header, body = content[8:start], content[start:]
    if random.random() < 0.3:
        header = _text(header, random)
    else:
        document = json.loads(header)
        name = random.choice(list(document))
        entry = document[name]
        field = random.choice(list(entry) or ["shape"])
        wild = (*_NUMBERS, -1, 1.5, "", "I64", "F8_E4M3", [], [1] * 300, {}, None, "a" * 70_000)
        if isinstance(entry.get(field), list) and entry[field] and random.random() < 0.5:
            entry[field][random.randrange(len(entry[field]))] = random.choice(wild)
        elif random.random() < 0.3:
            document[random.choice((name + ".x", "lora_unet_" + "a" * 999, "768.key.z"))] = entry
        elif random.random() < 0.3:
            document |= {f"{name}{n}": entry for n in range(random.choice((2, 100, 5000)))}
        else:
            entry[field] = random.choice(wild)
        header = json.dumps(document).encode()
    if random.random() < 0.1:
        body = _bytes(body, random)
    return struct.pack("<Q", len(header)) + header + body


def _text(content: bytes, random: Random) -> bytes:
    if random.random() < 0.4:
        place = random.randrange(len(content) + 1)
        times = random.choice((1, 1, 1, 5, 2000))
        return content[:place] + random.choice(_SNIPPETS) * times + content[place:]
    pieces = content.splitlines(keepends=True) if b"\n" in content else content.split(b",")
    joined = b"".join if b"\n" in content else b",".join
    return joined(_listed(pieces, random, _SNIPPETS))


_FORMS: Mapping[bytes, Callable[[bytes, Random], bytes]] = {
    b"\x89PNG": _png,
    b"\xff\xd8": _jpeg,
    b"RIFF": _webp,
    b"PK": _zip,
    b"\x80\x02": _pickle,
}
_TEXTS = ("infotext", "yaml", "json")
