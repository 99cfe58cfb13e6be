"""What a run leaves on the disk so that it can go on: snapshots with the optimizer's state.

A snapshot is a network file and, beside it, ``….optim.safetensors`` with the optimizer's tensors
and, as JSON in its metadata, all else that the next step needs: ``network`` (the SHA-256 of the
network file) and the fields of :class:`RunState`. The second names the first by its
SHA-256 and is written after it, so a pair that fits together is complete, whenever the run was
killed. Random numbers need no state: they derive from the seed and the step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from promptengine.errors import NetworkFormatError
from promptengine.files.atomic import atomic_write
from promptengine.files.hashing import sha256
from promptengine.files.weights import read_safetensors
from promptengine.networks.hypernetwork.files import STATE_KEY, load_hypernetwork, save_hypernetwork
from promptengine.networks.hypernetwork.module import Hypernetwork

__all__ = [
    "RunState",
    "Snapshot",
    "discard",
    "newest_snapshot",
    "restore",
    "save_named",
    "save_snapshot",
    "thin_out",
    "write_json",
]

_OPTIM: Final = ".optim.safetensors"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands, apart from weights and optimizer.

    Attributes:
        step: Steps done.
        batches: Batches drawn, which is where the next epoch's order goes on.
        smoothed_loss: Mean loss, recent steps counting more.
        initial_loss: What the network cost before the first step; what an explosion is measured by.
        best_step: Step of the snapshot with the lowest smoothed loss, 0 before the first one.
        best_loss: That loss.
        settings: What decides the result, in the types of JSON.
    """

    step: int
    batches: int
    smoothed_loss: float
    initial_loss: float
    best_step: int
    best_loss: float
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete snapshot.

    Attributes:
        path: The network.
        optim: The optimizer's state.
        state: The rest.
    """

    path: Path
    optim: Path
    state: RunState


def save_named(network: Hypernetwork, path: Path, step: int) -> None:
    """Write a network whose name inside is its file's; see ``save_hypernetwork``."""
    network.name, network.step = path.stem, step
    save_hypernetwork(network, path)


def save_snapshot(
    network: Hypernetwork,
    optimizer: torch.optim.Optimizer,
    state: RunState,
    path: Path,
) -> Snapshot:
    """Write a network and then the state beside it.

    Raises:
        OSError: The folder cannot be written.
    """
    save_named(network, path, state.step)
    names = [name for name, _ in network.named_parameters()]
    tensors = {
        f"{names[index]}.{entry}": tensor.detach().cpu().contiguous()
        for index, entries in optimizer.state_dict()["state"].items()
        for entry, tensor in entries.items()
    }
    optim = path.with_name(path.stem + _OPTIM)
    content = json.dumps({"network": sha256(path), **asdict(state)})
    with atomic_write(optim) as temporary:
        save_file(tensors, temporary, {STATE_KEY: content})
    return Snapshot(path, optim, state)


def newest_snapshot(folder: Path, name: str, suffix: str) -> Snapshot | None:
    """Find the newest complete snapshot of a run; incomplete and damaged ones are passed over."""
    return next(_snapshots(folder, name, suffix), None)


def restore(snapshot: Snapshot, network: Hypernetwork, optimizer: torch.optim.Optimizer) -> None:
    """Give a network, built alike, and its optimizer what they held when the snapshot was taken.

    Raises:
        NetworkFormatError: A file of it is damaged.
    """
    network.load_state_dict(load_hypernetwork(snapshot.path).state_dict())
    tensors, _ = read_safetensors(snapshot.optim)
    indices = {name: index for index, (name, _) in enumerate(network.named_parameters())}
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition(".")
        # Cloned, since the optimizer writes into them and these are mapped from the file.
        entries.setdefault(indices[name], {})[entry] = tensor.clone()
    optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})


def thin_out(newest: Snapshot, name: str, *, keep: int) -> None:
    """Remove all older snapshots but the best and the last ``keep``, ``newest`` included.

    Those of later steps, which an interrupted run may have left incomplete, do not count.
    """
    folder, suffix, state = newest.path.parent, newest.path.suffix, newest.state
    steps = sorted(step for step in _steps(folder, name, suffix) if step <= state.step)
    for step in steps[:-keep]:
        if step != state.best_step:
            _remove(folder, name, suffix, step)


def discard(folder: Path, name: str, suffix: str) -> None:
    """Remove all snapshots of a run."""
    for step in list(_steps(folder, name, suffix)):
        _remove(folder, name, suffix, step)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people to read, whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _snapshots(folder: Path, name: str, suffix: str) -> Iterator[Snapshot]:
    """Yield the complete snapshots, the newest first."""
    for step in sorted(_steps(folder, name, suffix), reverse=True):
        path = folder / f"{name}-{step}{suffix}"
        optim = folder / f"{name}-{step}{_OPTIM}"
        try:
            content = json.loads(read_safetensors(optim)[1].get(STATE_KEY, "{}"))
            if content.pop("network", None) == sha256(path):
                yield Snapshot(path, optim, RunState(**content))
        except (NetworkFormatError, OSError, ValueError, TypeError):
            continue


def _steps(folder: Path, name: str, suffix: str) -> Iterator[int]:
    pattern = re.compile(rf"{re.escape(name)}-(\d+){re.escape(suffix)}")
    for path in folder.iterdir() if folder.is_dir() else ():
        found = pattern.fullmatch(path.name)
        if found:
            yield int(found[1])


def _remove(folder: Path, name: str, suffix: str, step: int) -> None:
    # The state first: without it the snapshot no longer counts as complete.
    (folder / f"{name}-{step}{_OPTIM}").unlink(missing_ok=True)
    (folder / f"{name}-{step}{suffix}").unlink(missing_ok=True)
