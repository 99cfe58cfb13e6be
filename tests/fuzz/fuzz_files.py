"""Reads mutated files of every kind, and reports what takes too much or raises what no user should see.

``python -m tests.fuzz.fuzz_files --count 10000 --state DIR``. Each kind's files are read in a process
of its own, whose memory is limited. The same number always gives the same file, and the state is kept,
so that a run can be stopped and resumed; ``--only KIND --first N --count 1`` repeats one. Files that
failed stay in the state's folder.

A file may take a second of CPU time for each 10 MB begun, and three times its size and 200 MB of
memory. Anything raised must be of this package's errors.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import torch
from PIL import Image

from promptengine.checkpoints.build import read_weights
from promptengine.errors import PromptEngineError
from promptengine.families.config import parts_in_folder, parts_in_yaml, stated_parts
from promptengine.files.images import read_image
from promptengine.images.read import read_image_info
from promptengine.inspection import inspect_file, size_of_checkpoint
from promptengine.networks.hypernetwork.files import load_hypernetwork
from promptengine.networks.lora.delta import bias_delta, fault, weight_delta
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.kind import summarize_lora
from promptengine.registry.scan import RegistryEntry, description, metadata, read_header
from promptengine.super_resolution.files import load_upscaler
from promptengine.super_resolution.tiles import Tiling, enlarge
from promptengine.text.textual_inversion.files import load_embedding
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds_of

_ROOM = 700 << 20
"""Address space beside what the libraries take: more than any file here may use."""

_HANGS = 60.0
_SECONDS_A_PIECE = 1.0
_PIECE = 10_000_000


def _image(path: Path) -> None:
    read_image_info(path)
    try:
        read_image(path)
    except ValueError as failure:
        # Each caller wraps it in an error of its own.
        assert str(failure)


def _sides(path: Path) -> None:
    part = path.parent / "unet" / "config.json"
    part.parent.mkdir(exist_ok=True)
    content = path.read_bytes()
    for place in (part, path.with_name("adapter_config.json"), path.with_suffix(".json")):
        place.write_bytes(content)
    entry = RegistryEntry("lora", "a", "a", path.with_suffix(".safetensors"), 0, 0)
    metadata(entry), description(entry)
    parts_in_folder(path.parent)


def _yaml(path: Path) -> None:
    parts_in_yaml(path)
    stated_parts((), path.with_suffix(".safetensors"), metadata={})


def _weights(path: Path) -> None:
    header = read_header(path)
    summarize_lora(path)
    size_of_checkpoint(path)
    stated_parts(header.shapes, path, metadata=header.metadata)


def _change_weights(path: Path) -> None:
    weights = torch.ones(4, 4), torch.ones(4, 4, 3, 3), torch.ones(4)
    for module in load_lora(path).modules.values():
        for weight in weights:
            if module.algorithm and fault(module, weight) is None:
                weight_delta(module, weight)
                bias_delta(module, len(weight))


def _upscale(path: Path) -> None:
    network = load_upscaler(path)
    enlarge(network, Image.new("RGB", (9, 8)), Tiling(16, 2), lambda _done, _of: None)


_READERS: Mapping[str, tuple[str, tuple[Callable[[Path], object], ...]]] = {
    "png": (".png", (_image,)),
    "jpeg": (".jpg", (_image,)),
    "webp": (".webp", (_image,)),
    "gif": (".gif", (_image,)),
    "embedding png": (".png", (load_embedding,)),
    "infotext": (".txt", (read_image_info,)),
    "hypernetwork pt": (".pt", (load_hypernetwork, inspect_file)),
    "hypernetwork legacy": (".pt", (load_hypernetwork, inspect_file)),
    "embedding pt": (".pt", (load_embedding, inspect_file)),
    "checkpoint ckpt": (".ckpt", (read_weights, inspect_file, load_lora)),
    "upscaler pth": (".pth", (_upscale, inspect_file)),
    "safetensors": (
        ".safetensors",
        (
            *(inspect_file, load_hypernetwork, load_lora, load_embedding, read_weights, _weights),
            *(_change_weights, load_upscaler),
        ),
    ),
    "yaml": (".yaml", (_yaml,)),
    "json": (".json", (_sides,)),
}


@dataclass
class Tally:
    """What is known of one kind.

    Attributes:
        done: Files read; the next has this number.
        accepted: Of them without an error.
        seconds: CPU time of the slowest, and its number.
        bytes: Memory of the largest beyond what the process had, and its number.
        faults: What went wrong, by number.
    """

    done: int = 0
    accepted: int = 0
    seconds: tuple[float, int] = (0.0, 0)
    bytes: tuple[int, int] = (0, 0)
    faults: dict[int, str] = field(default_factory=dict[int, str])


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _checked(path: Path, read: Callable[[Path], object]) -> tuple[bool, str]:
    """Whether a reader took the file, and what it raised that it must not."""
    try:
        read(path)
    except PromptEngineError as failure:
        text = str(failure)
        if "\n" in text or len(text) > 1000 or "lloc" in text or "emory" in text:
            return False, f"{read.__name__}: bad message {text[:300]!r}"
        return False, ""
    except BaseException:  # noqa: BLE001 - what it is, is what is looked for
        return False, f"{read.__name__}: {traceback.format_exc(limit=-4)[-900:]}"
    return True, ""


@dataclass(frozen=True)
class _Corpus:
    """The files of a kind.

    Attributes:
        kind: Its name.
        seeds: Whole files, from which the others are made.
        keep: Where files that failed are kept.
    """

    kind: str
    seeds: list[bytes]
    keep: Path

    def file(self, number: int) -> bytes:
        """The file of a number, always the same."""
        random = Random(f"{self.kind} {number}")
        return mutated(self.kind, random.choice(self.seeds), random)

    def note(self, tally: Tally, number: int, fault: str) -> None:
        """Tell what went wrong, and keep the file."""
        tally.faults[number] = fault
        print(f"{self.kind} {number}: {fault}", flush=True)
        name = f"{self.kind.replace(' ', '-')}-{number}{_READERS[self.kind][0]}"
        (self.keep / name).write_bytes(self.file(number))


def _work(corpus: _Corpus, numbers: range, answers: Connection, folder: Path) -> None:
    """Read files one after the other, and answer of each how it went."""
    suffix, readers = _READERS[corpus.kind]
    path = folder / f"file{suffix}"
    for number in numbers:
        content = corpus.file(number)
        path.write_bytes(content)
        answers.send((number, None))
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS:")
        with _limited_memory():
            results = [_timed(path, read) for read in readers]
        used = _status("VmHWM:") - before
        seconds = max(seconds for _, seconds, _ in results)
        faults = [fault for _, _, fault in results if fault]
        if seconds > _SECONDS_A_PIECE * (1 + len(content) // _PIECE):
            faults.append(f"{seconds:.2f} s of CPU time for {len(content)} bytes")
        if used > 3 * len(content) + (200 << 20):
            faults.append(f"{used >> 20} MiB of memory for {len(content)} bytes")
        answers.send((number, (any(ok for ok, _, _ in results), seconds, used, faults)))


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Let what is read take so much more memory; what makes the files may take what it wants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize:") + _ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _timed(path: Path, read: Callable[[Path], object]) -> tuple[bool, float, str]:
    """Whether a reader took the file, its seconds of CPU time, and what it raised that it must not."""
    start = time.process_time()
    accepted, fault = _checked(path, read)
    return accepted, time.process_time() - start, fault


def _run(corpus: _Corpus, tally: Tally, last: int, until: float) -> None:
    """Read the files of one kind up to a number or a time; start anew after one that kills."""
    fork = multiprocessing.get_context("fork")
    while tally.done < last and time.monotonic() < until:
        here, there = fork.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            numbers = range(tally.done, last)
            worker = fork.Process(target=_work, args=(corpus, numbers, there, Path(folder)))
            worker.start()
            there.close()
            _listen(corpus, tally, here, until)
            worker.kill()
            worker.join()


def _listen(corpus: _Corpus, tally: Tally, here: Connection, until: float) -> None:
    number = tally.done
    while time.monotonic() < until:
        try:
            if not here.poll(_HANGS):
                raise EOFError
            number, answer = here.recv()
        except EOFError:
            if tally.done == number:
                corpus.note(tally, number, "it killed or hung the process")
                tally.done = number + 1
            return
        if answer is None:
            continue
        accepted, seconds, used, faults = answer
        tally.accepted += accepted
        tally.seconds = max(tally.seconds, (seconds, number))
        tally.bytes = max(tally.bytes, (used, number))
        for found in faults:
            corpus.note(tally, number, found)
        tally.done = number + 1


def main() -> int:
    """Run what the command line asks for; 1 where anything failed."""
    parser = argparse.ArgumentParser(description="Reads mutated files of every kind.")
    parser.add_argument("--count", type=int, default=1000, help="files of each kind")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--only", choices=sorted(_READERS), action="append")
    parser.add_argument("--state", type=Path, help="folder to resume from; default: none is kept")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    until = time.monotonic() + options.seconds
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.state or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        kinds = seeds_of(Path(scratch))
        for kind in options.only or _READERS:
            file = keep / f"{kind.replace(' ', '-')}.json"
            tally = Tally(done=options.first)
            if options.state and file.exists():
                tally = Tally(**json.loads(file.read_text()))
                tally.faults = {int(number): fault for number, fault in tally.faults.items()}
            tally.seconds, tally.bytes = tuple(tally.seconds), tuple(tally.bytes)
            corpus = _Corpus(kind, kinds[kind], keep)
            _run(corpus, tally, options.first + options.count, until)
            file.write_text(json.dumps(asdict(tally)))
            failed += len(tally.faults)
            print(
                f"{kind}: {tally.done - options.first} files, {tally.accepted} read, "
                f"{len(tally.faults)} faults, at most {tally.seconds[0]:.2f} s (file "
                f"{tally.seconds[1]}) and {tally.bytes[0] >> 20} MiB (file {tally.bytes[1]})",
                flush=True,
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
