"""What an engine is opened with: which checkpoint, on which device, in which precision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from promptengine.errors import ModelNotFoundError, RequestError
from promptengine.kinds import find_kind
from promptengine.registry.registry import Kind, Registry, RegistryEntry

__all__ = [
    "Precision",
    "checkpoint_named",
    "resolve_checkpoint",
    "resolve_device",
    "resolve_dtype",
    "resolve_further",
    "resolve_path",
]

_HASH: Final = re.compile(r"[0-9a-f]{10,64}")
_HASHED_TITLE: Final = re.compile(r"(.*) \[([0-9a-f]{8,64})\]")
_SHOWN_CHARACTERS: Final = 100
_LISTED: Final = 10

Precision = Literal["auto", "float32", "float16", "bfloat16"]


def resolve_checkpoint(checkpoint: str | Path | None, registry: Registry) -> Path:
    """Return the file or folder meant: a path that exists, or a name among the scanned ones.

    Raises:
        ModelNotFoundError: There is none, or none of that name.
    """
    known = registry.entries("checkpoint")
    if checkpoint is None:
        if known:
            return known[0].path
        message = "no checkpoint found; put one into models/Stable-diffusion or name a file"
        raise ModelNotFoundError(message, kind="checkpoint")
    return resolve_path(checkpoint, "checkpoint", registry)


def checkpoint_named(
    name: str, registry: Registry, current: Path | None = None, *, by_hash: bool = True
) -> Path | None:
    """Return the checkpoint that a title, a name, a file's name or a hash means; never a path of the caller's.

    Args:
        name: As it was written; case does not matter where nothing else differs.
        registry: Where checkpoints are found.
        current: One outside the folders that may be named too.
        by_hash: Whether files are read for their hashes where no name fits.
    """
    match = _HASHED_TITLE.fullmatch(name)
    bare, digest = (match[1], match[2]) if match else (name, name.lower())
    if current is not None and bare in (current.name, current.stem, str(current)):
        return current
    entry = registry.find("checkpoint", bare) or _any_case(bare, registry)
    if entry is None and by_hash and _HASH.fullmatch(digest):
        entry = next((e for e in registry.entries("checkpoint") if _has(e, digest, registry)), None)
    return None if entry is None else entry.path


def resolve_further(name: str, registry: Registry, current: Path, *, field: str) -> Path:
    """Return the checkpoint that a request names beside the one it is made with.

    Args:
        name: As :func:`checkpoint_named` takes it.
        registry: Where checkpoints are found.
        current: The one that the request is made with, which may be named too.
        field: Of the request, to be named in the error.

    Raises:
        RequestError: There is none of that name.
    """
    path = checkpoint_named(name, registry, current)
    if path is not None:
        return path
    known = [entry.name for entry in registry.entries("checkpoint")]
    near = registry.near("checkpoint", name, 1)
    if near:
        remedy = f"did you mean {near[0]!r}?"
    elif known:
        remedy = f"there are {', '.join(known[:_LISTED])}" + ", …" * (len(known) > _LISTED)
    else:
        remedy = "the models folder holds none"
    message = f"{field} is {name[:_SHOWN_CHARACTERS]!r}, which is no checkpoint here; {remedy}"
    raise RequestError(message, field=field)


def _any_case(name: str, registry: Registry) -> RegistryEntry | None:
    wanted = name.casefold()
    for entry in registry.entries("checkpoint"):
        file = f"{entry.relative}{entry.path.suffix}"
        if wanted in (entry.name.casefold(), file.casefold(), str(entry.path).casefold()):
            return entry
    return None


def _has(entry: RegistryEntry, digest: str, registry: Registry) -> bool:
    return not entry.path.is_dir() and registry.digest(entry).startswith(digest)


def resolve_path(choice: str | Path, kind: Kind, registry: Registry) -> Path:
    """Return a path that exists, or the file of a name among the scanned ones of a kind.

    Raises:
        ModelNotFoundError: Neither.
    """
    path = Path(choice)
    if path.exists():
        return path
    entry = registry.find(kind, str(choice))
    if entry is not None:
        return entry.path
    near = registry.near(kind, path.stem)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    noun = find_kind(kind).noun
    raise ModelNotFoundError(
        f"no such file, and no {noun} of that name{hint}",
        kind=kind,
        name=str(choice),
        near=near,
        path=path,
    )


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        RequestError: It cannot be used here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        detail = str(error).splitlines()[0]
        raise RequestError(f"device {name!r} cannot be used: {detail}", field="device") from None
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a name; ``auto`` is float16 on CUDA and float32 elsewhere, as in WebUI.

    Raises:
        RequestError: It is none of :data:`Precision`.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in get_args(Precision):
        choices = ", ".join(get_args(Precision))
        raise RequestError(f"dtype {name!r} is none of {choices}", field="dtype")
    return getattr(torch, name)
