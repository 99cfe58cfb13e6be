"""Reads biases and adds them to the text conditioning: to the bias of the text encoder's last norm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from promptengine import IncompatibleNetworkError, NetworkFormatError, RegistryEntry
from promptengine.files.weights import read_safetensors
from promptengine.networks.loader import LoadedUse, NetworkLoader
from promptengine.undo import Changes

__all__ = ["BiasLoader"]


class BiasLoader(NetworkLoader[Tensor]):
    """Loads biases for one model."""

    def read(self, entry: RegistryEntry) -> Tensor:
        """Read a file, cast to the device and dtype of the text encoder.

        Raises:
            NetworkFormatError: It holds no bias.
            IncompatibleNetworkError: It was made for text of another width.
        """
        tensors, _ = read_safetensors(entry.path)
        bias = tensors.get("bias")
        if bias is None or bias.ndim != 1:
            raise NetworkFormatError("holds no vector 'bias'", path=entry.path)
        target = self._target()
        if bias.shape != target.shape:
            raise IncompatibleNetworkError(
                f"bias {entry.name!r} does not fit: it holds {len(bias)} numbers, and this model's text has "
                f"width {len(target)}",
                found=(len(bias),),
                needed=(len(target),),
            )
        # A copy, since the file may change while the network is kept.
        return bias.to(target, copy=True)

    def apply(self, uses: Sequence[LoadedUse[Tensor]], changes: Changes) -> None:
        """Add the biases for the length of a block."""
        target = self._target()
        shifted = target.data
        for one in uses:
            shifted = shifted + one.use.multiplier * one.network
        changes.set(target, "data", shifted)

    def _target(self) -> nn.Parameter:
        encoder = self.model.text_encoders[0]
        norms = (module for name, module in encoder.named_modules() if "final_layer_norm" in name)
        bias = next(norms).bias
        assert isinstance(bias, nn.Parameter)
        return bias
