"""What a request may hold that lives in memory alone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["HypernetworkLike"]


@runtime_checkable
class HypernetworkLike(Protocol):
    """What a request may hold of :class:`promptengine.Hypernetwork`, which this part does not load."""

    name: str
    step: int

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths it has networks for."""
        ...
