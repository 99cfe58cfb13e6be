"""What an engine is opened with: which checkpoint, on which device, in which precision."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from promptengine.errors import ModelNotFoundError, RequestError
from promptengine.kinds import find_kind
from promptengine.registry.registry import Kind, Registry

__all__ = ["Precision", "resolve_checkpoint", "resolve_device", "resolve_dtype", "resolve_path"]

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
