"""A generation that its caller ends early and keeps what it has made."""

from __future__ import annotations

__all__ = ["Interrupt"]


class Interrupt:
    """Ends a generation early, from any thread; what it has made so far is its result.

    It acts between two steps, as WebUI's buttons do: the batch at hand ends, its images are decoded from
    where they stand, and a second pass is not begun. Finished batches are kept.
    """

    __slots__ = ("_skipping", "_stopped")

    def __init__(self) -> None:
        self._stopped = self._skipping = False

    @property
    def stopped(self) -> bool:
        """Whether no further batch is to be made."""
        return self._stopped

    @property
    def skipping(self) -> bool:
        """Whether the batch at hand is to end, and others are to follow."""
        return self._skipping

    @property
    def ends_batch(self) -> bool:
        """Whether the batch at hand is to end."""
        return self._stopped or self._skipping

    def stop(self) -> None:
        """End the batch at hand, and begin no other."""
        self._stopped = True

    def skip(self) -> None:
        """End the batch at hand, and go on with the next one, if there is one."""
        self._skipping = True

    def begin_batch(self) -> bool:
        """Forget what ended the batch before; return whether another one may begin."""
        self._skipping = False
        return not self._stopped
