"""Who is to hear of a change."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["Listeners"]

_log = logging.getLogger(__name__)


class Listeners:
    """Functions that are called after a change, on whatever thread made it. Threads may share it."""

    def __init__(self) -> None:
        # Adding to a list and copying it are one step each for other threads.
        self._functions: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._functions)

    def add(self, listener: Callable[[], None]) -> None:
        """Have a function called from now on."""
        self._functions.append(listener)

    def remove(self, listener: Callable[[], None]) -> None:
        """Have a function called no longer."""
        self._functions.remove(listener)

    def tell(self) -> None:
        """Call them all."""
        for listener in tuple(self._functions):
            try:
                listener()
            except RuntimeError:
                # The event loop of whoever listened has been closed since.
                _log.debug("a listener is gone")
