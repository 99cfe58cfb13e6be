"""What hypernetworks do that other kinds of networks do not; see :data:`promptengine.kinds.HYPERNETWORK`."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from promptengine.errors import NetworkFormatError
from promptengine.files.lru import SizedLRU
from promptengine.kinds import InspectedFile
from promptengine.networks.attention import attention_widths, attentions, require_fit
from promptengine.networks.hypernetwork.files import FORMAT, load_hypernetwork
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.networks.hypernetwork.projection import HypernetworkUse
from promptengine.networks.loader import (
    NETWORK_BYTES,
    LoadedUse,
    NetworkEffect,
    NetworkLoader,
    NetworkModel,
)
from promptengine.registry.registry import RegistryEntry
from promptengine.request.plan import NetworkUse
from promptengine.validation import cut

__all__ = ["HypernetworkLoader", "describe_hypernetwork", "hypernetwork_digest", "is_own_format"]


class HypernetworkLoader(NetworkLoader[Hypernetwork]):
    """Loads hypernetworks, cast to the model's device and dtype once.

    Args:
        model: What the networks are for.
        room: Bytes that networks may take together; the longest unused goes first.
    """

    def __init__(self, model: NetworkModel, room: int = NETWORK_BYTES) -> None:
        super().__init__(model, room)
        weight = next(model.unet.parameters())
        self._place = weight.device, weight.dtype
        self._widths = attention_widths(model.unet)
        self._sites = {
            (part, cast("int", projection.in_features), attention.block)
            for attention in attentions(model.unet)
            for part, projection in attention.projections.items()
        }
        self._adopted: SizedLRU[str, Hypernetwork] = SizedLRU(room, _nbytes)

    def read(self, entry: RegistryEntry) -> Hypernetwork:
        """Read a file for the model."""
        device, dtype = self._place
        return load_hypernetwork(entry.path).cast_to(device=device, dtype=dtype)

    def load(self, entry: RegistryEntry) -> Hypernetwork:
        """Return the network of a file, from memory if the file is unchanged."""
        network = super().load(entry)
        require_fit(self._widths, network, name=entry.name)
        return network

    def nbytes(self, network: Hypernetwork, entry: RegistryEntry) -> int:
        """Return how much memory a network takes."""
        return _nbytes(network)

    def idle(self, network: Hypernetwork, use: NetworkUse) -> str:
        """Say why a use changes nothing; empty where it does."""
        if reason := super().idle(network, use):
            return reason
        blocks = use.blocks
        acts = blocks is None or any(
            blocks.factor(block) != 0 and network.part(width, part) is not None
            for part, width, block in self._sites
        )
        return "" if acts else "its block weights are 0 wherever it acts"

    def effect(self, uses: Sequence[LoadedUse[Hypernetwork]]) -> NetworkEffect:
        """Stack the networks of some uses."""
        return NetworkEffect(at=lambda call: tuple(_at(one, call) for one in uses))

    def adopt(self, network: Hypernetwork) -> tuple[Hypernetwork, str]:
        """Return a copy of a network in memory, ready for the model, and the digest of what it is now.

        Args:
            network: Its owner may go on changing it.

        Raises:
            IncompatibleNetworkError: It does not fit the model.
        """
        require_fit(self._widths, network)
        device, dtype = self._place
        digest = hypernetwork_digest(network)

        def make() -> Hypernetwork:
            own = copy.deepcopy(network).to(device=device, dtype=dtype)
            return own.eval().requires_grad_(False)

        return self._adopted.get(digest, make), digest


def _at(one: LoadedUse[Hypernetwork], call: int) -> HypernetworkUse:
    pair = one.network, one.use.at(call)
    return pair if one.use.blocks is None else (*pair, one.use.blocks)


def hypernetwork_digest(network: Hypernetwork) -> str:
    """Return a SHA-256 in hex of what a network computes: its settings and its weights."""
    content = hashlib.sha256(repr(network.settings).encode())
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _nbytes(network: Hypernetwork) -> int:
    return sum(tensor.nbytes for tensor in network.parameters())


def is_own_format(file: InspectedFile) -> bool:
    """Return whether a file says in its metadata that it is a hypernetwork."""
    return file.metadata.get("format") == FORMAT


def describe_hypernetwork(file: InspectedFile) -> Mapping[str, Any]:
    """Return the fields of a :class:`promptengine.FileReport` that tell of a hypernetwork."""
    try:
        network = load_hypernetwork(file.path)
    except NetworkFormatError as failure:
        return {"notes": [f"it cannot be used: {failure}"]}
    notes: list[str] = []
    if network.name != file.path.stem:
        notes.append(
            f"the name inside, {cut(network.name)!r}, is not the file's; prompts use the file's"
        )
    known = {
        "name": network.name,
        "step": network.step,
        "sd_checkpoint": network.sd_checkpoint,
        "sd_checkpoint_name": network.sd_checkpoint_name,
        **dataclasses.asdict(network.settings),
        **network.extra,
    }
    return {
        "layers": tuple(_layer_lines(network)),
        "metadata": {name: cut(str(value)) for name, value in known.items() if value is not None},
        "notes": notes,
    }


def _layer_lines(network: Hypernetwork) -> Iterator[str]:
    for width in network.widths:
        pair = network.pair(width)
        names = [
            f"Linear {module.in_features}→{module.out_features}"
            if isinstance(module, nn.Linear)
            else type(module).__name__
            for module in (pair.key.linear if pair else ())
        ]
        yield f"{width}: {', '.join(names)}"
