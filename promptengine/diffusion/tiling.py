"""Pictures whose opposite edges fit: convolutions that see the other edge where the picture ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

__all__ = ["tiled"]


@contextmanager
def tiled(*modules: nn.Module) -> Generator[None]:
    """Pad every convolution of some modules circularly.

    Attention still knows the edges from the rest of the picture, as in WebUI. Leaving the block
    restores each convolution's own padding.
    """
    convolutions = [
        layer for module in modules for layer in module.modules() if isinstance(layer, nn.Conv2d)
    ]
    before = [(layer, layer.padding_mode) for layer in convolutions]
    try:
        for layer in convolutions:
            layer.padding_mode = "circular"
        yield
    finally:
        for layer, mode in before:
            layer.padding_mode = mode  # type: ignore[assignment]
