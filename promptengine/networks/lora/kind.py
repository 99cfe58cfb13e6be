"""What LoRAs do that other kinds of networks do not, without torch; see :data:`promptengine.kinds.LORA`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from promptengine.files.size_limits import MOST_HEADER_BYTES, json_object
from promptengine.kinds import LORA, FileSummary, InspectedFile
from promptengine.networks.lora.types import LoraSummary, summarize
from promptengine.registry.registry import Registry, RegistryEntry
from promptengine.registry.scan import read_header
from promptengine.validation import cut

__all__ = [
    "describe_lora",
    "own_names",
    "summarize_lora",
    "summarize_loras",
    "webui_hash",
    "written_digests",
]

_SAFETENSORS: Final = ".safetensors"
_HASH: Final = re.compile(r"[0-9a-fA-F]{12,}")
_DIGITS: Final = 12
_BLOCK_BYTES: Final = 1 << 20


def own_names(path: Path) -> tuple[str, ...]:
    """Return what a file calls itself, its ``ss_output_name``, or nothing."""
    if path.suffix.lower() != _SAFETENSORS:
        return ()
    alias = read_header(path).metadata.get("ss_output_name")
    return (alias,) if alias else ()


def webui_hash(registry: Registry, entry: RegistryEntry) -> str:
    """Return the 12 hexadecimal digits by which WebUI's ``Lora hashes`` know a LoRA.

    They begin ``sshs_model_hash`` of its metadata, else the SHA-256 of what follows the header of
    a safetensors file, which does not change when metadata are edited, else that of the file.

    Raises:
        NetworkFormatError: It cannot be read, for instance because it is gone.
    """
    header = read_header(entry.path) if entry.path.suffix.lower() == _SAFETENSORS else None
    stored = "" if header is None else header.metadata.get("sshs_model_hash", "")
    if _HASH.fullmatch(stored):
        return stored[:_DIGITS]
    return registry.digest(entry, start=0 if header is None else header.size)[:_DIGITS]


def written_digests(path: Path) -> Iterator[str]:
    """Yield the hash that a LoRA's trainer wrote into it, or that of the tensors alone.

    The file begins with the length of a JSON header, 8 bytes little-endian.
    """
    if path.suffix.lower() != _SAFETENSORS:
        return
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            return
        match json_object(file.read(length)):
            case {"__metadata__": {"sshs_model_hash": str(written)}} if written:
                yield written.lower()
                return
            case _:
                pass
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    yield digest.hexdigest()


def summarize_lora(path: Path) -> LoraSummary:
    """Tell what a LoRA in safetensors holds from its header alone; nothing of any other file."""
    header = read_header(path)
    return summarize(header.shapes, header.metadata)


def summarize_loras(registry: Registry) -> Mapping[Path, FileSummary]:
    """Return what the LoRAs of some folders change and were made for."""
    return {entry.path: _summary(entry.path) for entry in registry.entries(LORA.name)}


def _summary(path: Path) -> FileSummary:
    summary = summarize_lora(path)
    model = () if summary.base_model is None else (f"for {summary.base_model}",)
    facts = {
        "layers": list(summary.lines()),
        "base_model": summary.base_model,
        "misfit": summary.misfit,
    }
    return FileSummary("; ".join((*summary.lines(), *model)), facts, summary.misfit)


def describe_lora(file: InspectedFile) -> Mapping[str, Any]:
    """Return the fields of a :class:`promptengine.FileReport` that tell of a LoRA."""
    summary = summarize(file.shapes, file.metadata)
    notes: list[str] = []
    if summary.misfit is not None:
        notes.append(f"it cannot be used: {summary.misfit}")
    if summary.whole:
        notes.append(
            f"{summary.whole} of its weights were trained whole (modules_to_save, biases); they are not "
            "applied"
        )
    if summary.unknown and summary.misfit is None:
        name, why = next(iter(summary.unknown.items()))
        notes.append(
            f"{len(summary.unknown)} of its modules are changes of no known kind, the first "
            f"{cut(name)!r}{f': {why}' if why else ''}"
        )
    if summary.words:
        notes.append(f"it brings embeddings along for {', '.join(map(repr, summary.words))}")
    if summary.foreign and summary.misfit is None:
        notes.append(
            f"{len(summary.foreign)} of its modules are in no Stable Diffusion 1 model, the first "
            f"{cut(summary.foreign[0])!r}"
        )
    return {"layers": summary.lines(), "base_model": summary.base_model, "notes": notes}
