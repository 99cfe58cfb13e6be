"""What loads the networks of one kind for one model and lets them act: the base of every kind's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

import torch
from torch import Tensor, nn

from promptengine.files.lru import SizedLRU
from promptengine.networks.hypernetwork.inject import HypernetworkStack
from promptengine.networks.lora.inject import NO_LORAS, LoraSchedule
from promptengine.prompt import Diagnostic
from promptengine.registry.registry import RegistryEntry
from promptengine.request.plan import NetworkUse
from promptengine.undo import Changes

__all__ = [
    "NETWORK_BYTES",
    "BundledWord",
    "LoadedUse",
    "NetworkEffect",
    "NetworkLoader",
    "NetworkModel",
    "TextChange",
    "no_networks",
    "no_text_change",
]

NETWORK_BYTES: Final = 1 << 30
"""What networks of one kind may take in memory: three to ten large hypernetworks in float32."""

_Network = TypeVar("_Network")


@dataclass(frozen=True, slots=True, eq=False)
class NetworkModel:
    """The parts of a model that networks may change.

    Attributes:
        unet: A diffusers ``UNet2DConditionModel``.
        text_encoders: Each a transformers ``CLIPTextModel``, in the model's order: SDXL's two, else one.
        home: Where its weights are between runs, if that is known.
    """

    unet: nn.Module
    text_encoders: tuple[nn.Module, ...]
    home: torch.device | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedUse(Generic[_Network]):
    """One use of a network that acts.

    Attributes:
        network: As :meth:`NetworkLoader.read` returned it.
        use: What the tag asks for.
        digest: SHA-256 of the file in hex.
    """

    network: _Network
    use: NetworkUse
    digest: str


BundledWord = tuple[Mapping[str, Tensor], str]
"""Vectors of a word, by their names in layouts of embeddings, and the name of the file that brings them."""


def no_networks(call: int) -> HypernetworkStack:
    """Return no hypernetworks."""
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class TextChange:
    """What networks do to text encoders at some call.

    Attributes:
        key: Tells it from others on the same model, so that texts are encoded once for each.
        apply: Changes them; what it writes is undone. None where they stay as they are.
    """

    key: Hashable = ()
    apply: Callable[[Changes], None] | None = None


def no_text_change(call: int) -> TextChange:
    """Leave text encoders as they are."""
    return TextChange()


@dataclass(frozen=True, slots=True, eq=False)
class NetworkEffect:
    """What the networks of one kind do together.

    Attributes:
        apply: Changes the model for the length of a ``with`` block, in no time worth speaking of: what it
            writes into the changes is undone at the block's end. None where the model stays as it is. All
            images of a batch have such an effect in common.
        key: Tells ``apply`` from others on the same model, so that texts are encoded once for each.
        at: The hypernetworks, with their multipliers, at a 0-based call of the denoiser.
        loras: The LoRAs of the UNet over the calls.
        text: What happens to the text encoders for a text that is first read at a 0-based call.
        words: The words that the networks bring along.
    """

    apply: Callable[[Changes], None] | None = None
    key: Hashable = ()
    at: Callable[[int], HypernetworkStack] = no_networks
    loras: LoraSchedule = NO_LORAS
    text: Callable[[int], TextChange] = no_text_change
    words: Mapping[str, BundledWord] = field(default_factory=dict[str, BundledWord])


class NetworkLoader(Generic[_Network]):
    """Loads the networks of one kind for one model, and lets them act on it.

    A kind derives its own from it: :meth:`read` and :meth:`apply` are enough.

    Args:
        model: What the networks are for.
        room: Bytes that networks may take in memory together; the longest unused goes first.
    """

    def __init__(self, model: NetworkModel, room: int = NETWORK_BYTES) -> None:
        self.model = model
        self._kept: SizedLRU[tuple[Path, int, int], tuple[_Network, int]] = SizedLRU(room, _size)

    def load(self, entry: RegistryEntry) -> _Network:
        """Return the network of a file, from memory if the file is unchanged.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or no network of this kind.
            IncompatibleNetworkError: It was made for another model.
        """

        def make() -> tuple[_Network, int]:
            network = self.read(entry)
            return network, self.nbytes(network, entry)

        # Never by the name inside the file: a training snapshot carries its parent's name.
        return self._kept.get((entry.path, entry.mtime_ns, entry.size), make)[0]

    def read(self, entry: RegistryEntry) -> _Network:
        """Read a file for the model.

        Raises:
            NetworkFormatError: The file is gone, damaged, unsafe or no network of this kind.
            IncompatibleNetworkError: It was made for another model.
        """
        raise NotImplementedError

    def nbytes(self, network: _Network, entry: RegistryEntry) -> int:
        """Return how much memory a network takes; by default as much as its file."""
        return entry.size

    def idle(self, network: _Network, use: NetworkUse) -> str:
        """Say why a use changes nothing; empty where it does."""
        zero = use.multiplier == 0 and not use.unet_multiplier
        return "multiplier is 0" if zero else ""

    def remarks(self, network: _Network, use: NetworkUse) -> Sequence[Diagnostic]:
        """Say what a user should know of a network that was loaded."""
        return ()

    def effect(self, uses: Sequence[LoadedUse[_Network]]) -> NetworkEffect:
        """Work out what some uses do together; called once for a prompt.

        Args:
            uses: Those that change something, in the order of their tags; perhaps none.
        """
        if not uses:
            return NetworkEffect()
        key = tuple(
            (
                one.digest,
                one.use.multiplier,
                one.use.unet_multiplier,
                one.use.extra,
                one.use.blocks,
            )
            for one in uses
        )
        return NetworkEffect(lambda changes: self.apply(uses, changes), key)

    def apply(self, uses: Sequence[LoadedUse[_Network]], changes: Changes) -> None:
        """Change the model; all that is written into ``changes`` is undone afterwards.

        Args:
            uses: Those that change something, in the order of their tags.
            changes: ``changes.set(parameter, "data", tensor)`` exchanges a weight.
        """
        raise NotImplementedError


def _size(kept: tuple[object, int]) -> int:
    return kept[1]
