"""Small files that ask for gigabytes or minutes: each is refused, quickly and within its bounds.

They are read in a process of their own, whose memory and CPU time are limited; that process is this
file run as a program.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CASES = Path(__file__).parents[1] / "cases" / "files"
ROOM = 600 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 4) -> bytes:
    head = struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * width if width < 99 else 9))
    body = (chunk(b"IHDR", head), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def zipped(program: bytes, **members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        for name, data in {"version": b"3\n", "byteorder": b"little", **members}.items():
            archive.writestr(f"archive/{name}", data)
    return packed.getvalue()


def text(content: str) -> bytes:
    encoded = content.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\1tQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"K\0%b%b\x89ccollections\nOrderedDict\n)RtR"
)


def tensor(sizes: bytes, strides: bytes) -> bytes:
    return zipped(TENSOR % (sizes, strides), **{"data/0": bytes(4)})


def header(entries: dict[str, object], body: bytes = b"") -> bytes:
    content = json.dumps(entries).encode()
    return struct.pack("<Q", len(content)) + content + body


LAUGHS = b"]q\0" + b"".join(b"]q%c(" % n + b"h%c" % (n - 1) * 9 + b"e" for n in range(1, 60))
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
MEGABYTES = zlib.compress(bytes(15 << 20))
KEYS = b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(1, 9))

PICKLES: dict[str, tuple[bytes, str]] = {
    "a list doubled again and again": (zipped(LAUGHS), "repeats its texts|more than 64 deep"),
    "numbers that repeat": (
        tensor(b"\x8a\x05\0\0\0\0\x7fK\1\x86", b"K\0K\0\x86"),
        "claim more numbers",
    ),
    "a long text encoded": (
        zipped(b"c_codecs\nencode\n(" + text("a" * 9999) + text("latin1") + b"tR"),
        "encodes 9999 characters",
    ),
    "an enormous number": (zipped(b"\x8a\xff" + b"\x7f" * 255), "whole number of 2039 bits"),
    "a tuple as key": (zipped(b"})Ns"), "uses a tuple as a key"),
    "too many calls": (
        zipped(b"ccollections\nOrderedDict\nq\0(" + b"h\0)R" * 40_000 + b"l"),
        "takes more than [0-9]+ steps",
    ),
    "values that nothing holds": (zipped(b"]" * 40_000), "more than 10000 values"),
    "values below marks": (zipped((b"]" * 900 + b"(") * 40), "more than 10000 values"),
    "a long name": (zipped(b"c" + b"os" * 5000 + b"\nsystem\n)R"), "asks to run"),
    "a set of itself": (zipped(b"]q\0h\0a"), "puts a container into itself"),
    "a method replaced": (
        zipped(b"ccollections\nOrderedDict\n)R}" + text("items") + b"Nsb"),
        "more than its metadata",
    ),
    "a tensor without numbers": (
        zipped(b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(tR"),
        "_rebuild_meta_tensor_no_storage",
    ),
}

FILES: dict[str, tuple[str, bytes, str]] = {
    **{f"pickle: {name}": (".pt", content, said) for name, (content, said) in PICKLES.items()},
    **{
        f"case: {path.name}": (path.suffix, path.read_bytes(), said)
        for name, said in {
            "bytearray.pt": "asks to run 'builtins.bytearray'",
            "hex-17.pt": "encodes .* as 'hex'",
            "punycode-4000.pt": "encodes .* as 'punycode'",
            "tuple-50000.pt": "more than 64 deep",
            "widths-4000.pt": "claims 4000 widths",
        }.items()
        for path in [CASES / name]
    },
    "legacy storages beyond the file": (
        ".pt",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"J\xff\xff\xff\x7fNtQ.\x80\x02].",
        "asks for 8589934588 bytes of numbers",
    ),
    "texts that unpack": (
        ".png",
        png(*(chunk(b"zTXt", b"a%d\0\0" % n + MEGABYTES) for n in range(400))),
        "more than 16 MiB of text|compressed texts and profiles",
    ),
    "profiles that unpack": (
        ".png",
        png(chunk(b"iCCP", b"a\0\0" + MEGABYTES) * 400),
        "compressed texts and profiles",
    ),
    "profiles behind the pixels": (
        ".png",
        png()[:-12] + chunk(b"iCCP", b"a\0\0" + MEGABYTES) * 400 + png()[-12:],
        "compressed texts and profiles",
    ),
    "pixels beyond measure": (".png", png(width=60_000), "more pixels than|pixels, more than"),
    "pieces beyond measure": (".png", png(chunk(b"abCd", b"") * 300_000), "more pieces than"),
    "tensors beyond measure": (
        ".safetensors",
        header({str(n): EMPTY for n in range(60_000)}),
        "has [0-9]+ pieces",
    ),
    "a header beyond measure": (
        ".safetensors",
        struct.pack("<Q", 17 << 20) + b"{" + b" " * (17 << 20),
        "a header of",
    ),
    "aliases": (".yaml", b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases"),
    "a long configuration": (".yaml", b"- a\n" * 8_000, "more than 16 KiB"),
    "a deep configuration": (".yaml", b"[" * 10_000, "nested more than 32 deep"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """What each file gave: the errors of all readers, CPU seconds and bytes of memory."""
    if sys.platform != "linux":
        pytest.skip("memory is measured as Linux does it")
    folder = tmp_path_factory.mktemp("bombs")
    for number, (suffix, content, _) in enumerate(FILES.values()):
        (folder / f"{number}{suffix}").write_bytes(content)
    run = [sys.executable, "-m", "tests.files.test_bombs", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return dict(zip(FILES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_no_file_takes_more_than_it_may(answers: dict[str, list[object]], name: str) -> None:
    import re

    errors, seconds, used = answers[name]
    size = len(FILES[name][1])
    assert isinstance(errors, list) and isinstance(seconds, float) and isinstance(used, int)
    assert errors and all(error.startswith("promptengine: ") for error in errors), errors
    assert re.search(FILES[name][2], "\n".join(errors)), errors
    assert all(len(error) < 1000 for error in errors)
    assert seconds < 1 + size // 10_000_000
    assert used < 3 * size + (200 << 20)


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file[0] == ".pt"])
def test_no_such_pickle_is_called_safe(tmp_path: Path, name: str) -> None:
    from promptengine.inspection import inspect_file

    path = tmp_path / "a.pt"
    path.write_bytes(FILES[name][1])
    report = inspect_file(path)
    usable = name.startswith("case: widths")
    assert report.safe is usable
    assert any(
        "it cannot be used" in note if usable else "refused" in note or "claim" in note
        for note in report.notes
    )


def readers(path: Path) -> list[Callable[[Path], object]]:
    """All that reads files of a suffix."""
    from promptengine.checkpoints.build import read_weights
    from promptengine.cli.image_options import open_image
    from promptengine.families.config import parts_in_yaml
    from promptengine.images.read import read_image_info
    from promptengine.networks.hypernetwork.files import load_hypernetwork
    from promptengine.networks.lora.files import load_lora
    from promptengine.text.textual_inversion.files import load_embedding

    weights = [load_hypernetwork, load_embedding, load_lora, read_weights]
    images = [load_embedding, read_image_info, open_image]
    return {".png": images, ".yaml": [parts_in_yaml]}.get(path.suffix, weights)


def measured(path: Path) -> tuple[list[str], float, int]:
    """The errors that a file gives, and what it takes: CPU seconds and bytes."""
    import time

    from promptengine.errors import PromptEngineError

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    errors: list[str] = []
    reading = readers(path)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, longest = status("VmRSS:"), 0.0
    for read in reading:
        start = time.process_time()
        try:
            read(path)
        except PromptEngineError as failure:
            errors.append(f"promptengine: {failure}")
        except Exception as failure:  # noqa: BLE001 - the test tells which
            errors.append(repr(failure))
        longest = max(longest, time.process_time() - start)
    return errors, longest, status("VmHWM:") - before


def main() -> None:
    """Read all files of a folder under a limit, and print what they took."""
    import resource

    import torch

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    files = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    # The libraries are loaded before the limit counts.
    measured(files[0])
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = taken * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
    print(json.dumps([measured(path) for path in files]))


if __name__ == "__main__":
    main()
