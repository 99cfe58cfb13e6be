"""VAEs of their own: which one goes with a checkpoint, and how its file is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from promptengine.checkpoints.build import read_weights
from promptengine.checkpoints.resolve import resolve_path
from promptengine.errors import CheckpointError
from promptengine.families import VAE_PREFIX, vae_beside
from promptengine.files.size_limits import json_object, read_small
from promptengine.registry.registry import Registry
from promptengine.registry.scan import USER_METADATA

__all__ = ["find_vae", "read_vae", "vae_named"]

_PREFIXED: Final = VAE_PREFIX + "decoder."
_AUTOMATIC: Final = "Automatic"
_OWN: Final[Literal["None"]] = "None"
_IN_NAMES_BESIDE: Final = ".vae."
"""What the names of VAEs have that lie among checkpoints."""

_log = logging.getLogger(__name__)


def find_vae(
    choice: str | Path | None, checkpoint: Path, registry: Registry, *, overrides: bool = True
) -> Path | None:
    """Find the VAE a user means, by the words of WebUI's ``sd_vae``.

    ``Automatic`` takes what the checkpoint prefers: the one that its side-car names (``vae`` in ``NAME.json``),
    else the one beside it, else the one in ``models/VAE`` that has its name, else the first whose name
    begins with it; ``None`` (also the word) takes the checkpoint's own.

    Args:
        choice: ``Automatic``, ``None``, a path, or a name among the scanned VAEs.
        checkpoint: The checkpoint's file.
        registry: Where names are looked up.
        overrides: Whether a choice goes before what the checkpoint prefers: WebUI's
            ``sd_vae_overrides_per_model_preferences``.

    Returns:
        A file or diffusers folder, or None for the checkpoint's own.

    Raises:
        CheckpointError: No such VAE.
    """
    if (choice == _AUTOMATIC or not overrides) and not checkpoint.is_dir():
        told = _told(checkpoint, registry)
        if isinstance(told, str):
            return None
        found = told or _of_its_name(checkpoint, registry)
        if found is not None or choice == _AUTOMATIC:
            return found
    if choice is None or choice in (_OWN, _AUTOMATIC):
        return None
    return resolve_path(choice, "vae", registry)


def vae_named(name: str, registry: Registry) -> Path | None:
    """Return the VAE that the name of a file means, in the folders of VAEs or among the checkpoints.

    Args:
        name: As WebUI's settings and side-cars have it; never a path.
        registry: Where it is looked up.
    """
    entry = registry.find("vae", name)
    if entry is not None:
        return entry.path
    if _IN_NAMES_BESIDE not in name or Path(name).name != name:
        return None
    homes = dict.fromkeys(entry.path.parent for entry in registry.entries("checkpoint"))
    try:
        return next((home / name for home in homes if (home / name).is_file()), None)
    except (OSError, ValueError):
        return None


def _told(checkpoint: Path, registry: Registry) -> Path | Literal["None"] | None:
    """Return the VAE that a checkpoint's side-car names, the word for its own, or None where it says nothing."""
    path = checkpoint.with_suffix(USER_METADATA)
    try:
        document = json_object(read_small(path)) if path.is_file() else None
    except (OSError, ValueError):
        return None
    name = None if document is None else document.get("vae")
    if not isinstance(name, str) or name in ("", _AUTOMATIC):
        return None
    found = _OWN if name == _OWN else vae_named(name, registry)
    if found is None:
        told = "%s names the VAE %r, which is not here; it is chosen as if nothing were named"
        _log.warning(told, path, name[:100])
    return found


def _of_its_name(checkpoint: Path, registry: Registry) -> Path | None:
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
