"""VAEs of their own: which one goes with a checkpoint, and how its file is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from torch import Tensor

from promptengine.checkpoints.build import read_weights
from promptengine.checkpoints.resolve import resolve_path
from promptengine.errors import CheckpointError
from promptengine.families import VAE_PREFIX, vae_beside
from promptengine.registry.registry import Registry

__all__ = ["find_vae", "read_vae"]

_PREFIXED: Final = VAE_PREFIX + "decoder."


def find_vae(choice: str | Path | None, checkpoint: Path, registry: Registry) -> Path | None:
    """Find the VAE a user means, by the words of WebUI's ``sd_vae``.

    ``Automatic`` takes the one beside the checkpoint, else the one in ``models/VAE`` that has the
    checkpoint's name, else the first whose name begins with it; ``None`` (also the word) takes the
    checkpoint's own.

    Args:
        choice: ``Automatic``, ``None``, a path, or a name among the scanned VAEs.
        checkpoint: The checkpoint's file.
        registry: Where names are looked up.

    Returns:
        A file or diffusers folder, or None for the checkpoint's own.

    Raises:
        CheckpointError: No such VAE.
    """
    if choice is None or choice == "None":
        return None
    if choice == "Automatic":
        return None if checkpoint.is_dir() else _automatic(checkpoint, registry)
    return resolve_path(choice, "vae", registry)


def _automatic(checkpoint: Path, registry: Registry) -> Path | None:
    beside = vae_beside(checkpoint)
    if beside is not None:
        return beside
    paths = [entry.path for entry in registry.entries("vae")]
    same = [path for path in paths if _name(path) == checkpoint.stem]
    return next(iter([*same, *(p for p in paths if p.name.startswith(checkpoint.stem))]), None)


def _name(path: Path) -> str:
    return path.stem.removesuffix(".vae")


def read_vae(path: Path) -> dict[str, Tensor]:
    """Read a VAE's weights, of a file of its own or of a whole checkpoint.

    Returns:
        Names in the original layout, as a checkpoint has them, to tensors.

    Raises:
        CheckpointError: The file cannot be read or holds no VAE in the original layout.
    """
    weights, _ = read_weights(path)
    if _any(weights, _PREFIXED):
        return {name: t for name, t in weights.items() if name.startswith(VAE_PREFIX)}
    if _any(weights, "decoder.up_blocks."):
        message = "a VAE in diffusers' form; name the folder it lies in, with its config.json"
        raise CheckpointError(message, path=path)
    if not _any(weights, "decoder."):
        raise CheckpointError("holds no VAE", path=path)
    return {VAE_PREFIX + name: tensor for name, tensor in weights.items()}


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
