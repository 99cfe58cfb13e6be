"""Loads LoRAs for a model and lets them act on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from promptengine.networks.loader import (
    NETWORK_BYTES,
    BundledWord,
    LoadedUse,
    NetworkEffect,
    NetworkLoader,
    NetworkModel,
    TextChange,
)
from promptengine.networks.lora.files import load_lora
from promptengine.networks.lora.inject import LoraSchedule, LoraStack
from promptengine.networks.lora.merge import Application, Fit, fit_lora, set_weights, targets
from promptengine.networks.lora.weights import LoraWeights
from promptengine.prompt import Diagnostic
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.registry.registry import RegistryEntry
from promptengine.request.plan import NetworkUse

__all__ = ["LoraLoader"]

_NAMED_MODULES: Final = 3


class LoraLoader(NetworkLoader[Fit]):
    """Loads LoRAs, fitted to a model, and keeps what its weights become under them.

    Args:
        model: What the LoRAs are for.
        room: Bytes that LoRAs may take together; the longest unused goes first.

    Attributes:
        weights: What weights become.
    """

    def __init__(self, model: NetworkModel, room: int = NETWORK_BYTES) -> None:
        super().__init__(model, room)
        self._targets = targets(model.unet, *model.text_encoders)
        self.weights = LoraWeights(home=model.home)

    def read(self, entry: RegistryEntry) -> Fit:
        """Read a file for the model."""
        return fit_lora(load_lora(entry.path), self._targets)

    def nbytes(self, network: Fit, entry: RegistryEntry) -> int:
        """Return how much memory a LoRA takes."""
        return network.lora.nbytes

    def idle(self, network: Fit, use: NetworkUse) -> str:
        """Say why a use changes nothing; empty where it does."""
        if _strongest(network, use).changes or network.lora.embeddings:
            return ""
        zero = use.multiplier == use.unet_multiplier == 0
        return "multiplier is 0" if zero else "it changes nothing"

    def remarks(self, network: Fit, use: NetworkUse) -> Sequence[Diagnostic]:
        """Say what of a file is not applied."""
        found: list[Diagnostic] = []
        if network.unmatched or network.lora.ignored:
            found.append(_leftovers(use, network))
        if network.lora.whole:
            found.append(_whole(use, network.lora.whole))
        return found

    def effect(self, uses: Sequence[LoadedUse[Fit]]) -> NetworkEffect:
        """Let LoRAs act on the weights that they change, each with its multipliers over the steps."""
        if not uses:
            return NetworkEffect()

        def unet(call: int) -> LoraStack:
            return tuple(
                replace(_application(one), text=0.0, unet=one.use.at(call)) for one in uses
            )

        def text(call: int) -> TextChange:
            key = tuple(
                (one.digest, one.use.text_at(call), one.use.extra, one.use.blocks) for one in uses
            )
            acting = [
                replace(_application(one), text=one.use.text_at(call), unet=0.0) for one in uses
            ]
            return TextChange(
                key, lambda changes: set_weights(self.weights.merged(acting, "text"), changes)
            )

        steady = not any(one.use.multipliers for one in uses)
        return NetworkEffect(text=text, loras=LoraSchedule(unet, steady), words=_words(uses))


def _words(uses: Sequence[LoadedUse[Fit]]) -> Mapping[str, BundledWord]:
    loras = [one.network.lora for one in uses]
    return {
        word: (parts, lora.path.stem) for lora in loras for word, parts in lora.embeddings.items()
    }


def _application(one: LoadedUse[Fit]) -> Application:
    ranks = one.use.extra if isinstance(one.use.extra, int) else None
    return Application(one.network, ranks=ranks, blocks=one.use.blocks)


def _strongest(network: Fit, use: NetworkUse) -> Application:
    """Return a use as it is where its effect is largest."""
    unet = use.multiplier if use.unet_multiplier is None else use.unet_multiplier
    return Application(network, text=use.multiplier, unet=unet, blocks=use.blocks)


def _leftovers(use: NetworkUse, fitted: Fit) -> Diagnostic:
    """Say what of a file the model has no place for."""
    misfits = (f"{name} ({why})" if why else name for name, why in fitted.unmatched.items())
    names = [*misfits, *fitted.lora.ignored]
    whole = len(fitted.lora.modules) + len(fitted.lora.ignored)
    message = f"{len(names)} of the {whole} parts of LoRA {use.name!r} have no place in this model"
    return kinds.UNMATCHED_PARTS(
        message, use.span, f"the rest is applied; ignored are {_listed(names)}"
    )


def _whole(use: NetworkUse, names: Sequence[str]) -> Diagnostic:
    message = (
        f"LoRA {use.name!r} also holds {len(names)} weights that were trained whole (modules_to_save, "
        "biases); they are not applied"
    )
    return kinds.WHOLE_WEIGHTS(message, use.span, f"the changes are; left out are {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_MODULES]) + (", …" if len(names) > _NAMED_MODULES else "")
