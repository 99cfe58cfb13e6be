"""Images whose opposite edges fit: convolutions that see the other edge where the image ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from promptengine.undo import UndoLog

__all__ = ["circular_padding"]


@contextmanager
def circular_padding(*modules: nn.Module, journal: UndoLog | None = None) -> Generator[None]:
    """Pad every convolution of some modules circularly.

    Attention still knows the edges from the rest of the image, as in WebUI. Leaving the block
    restores each convolution's own padding.

    Args:
        modules: Any.
        journal: Of the run that this is a part of; by default the block stands alone.
    """
    with (journal or UndoLog()).block() as changes:
        for module in modules:
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    changes.set(layer, "padding_mode", "circular")
        yield
