"""Weights that come to a device for a while, and what copies them there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

__all__ = ["InTurn", "Mover", "SideStream", "Visit", "tensors_of"]

_LAYERS_AT_ONCE: Final = 2


class Mover(Protocol):
    """Copies weights to a device."""

    def copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return copies on the device, to be used on its current stream."""
        ...

    def used(self) -> None:
        """Note that all that uses the last copies was asked of the device."""
        ...


@dataclass(frozen=True, slots=True)
class InTurn:
    """Copies and computes one after the other.

    Attributes:
        device: Where to.
    """

    device: torch.device

    def copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return copies on the device."""
        return [tensor.to(self.device) for tensor in tensors]

    def used(self) -> None:
        """Do nothing: memory that is given back is taken again in the order of the work."""


class SideStream:
    """Copies on a stream of its own, while the device computes with the copies before.

    It waits until no more than one layer beside the next is still at work, so that two are there at most.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._at_work: deque[Any] = deque()

    def copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return copies on the device."""
        while len(self._at_work) >= _LAYERS_AT_ONCE:
            self._at_work.popleft().synchronize()
        with torch.cuda.stream(self._stream):
            copies = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for copy in copies:
            # Their memory belongs to the side stream, which may not take it again before they were read.
            copy.record_stream(current)
        return copies

    def used(self) -> None:
        """Note where the work with the last copies ends."""
        self._at_work.append(torch.cuda.current_stream(self._device).record_event())


class Visit:
    """Weights that come to a device and leave it.

    Args:
        tensors: The weights; while they are there their ``data`` are copies.
        mover: Makes these.
    """

    def __init__(self, tensors: Sequence[Tensor], mover: Mover) -> None:
        self._tensors, self._mover = tensors, mover
        self._homes: list[Tensor] | None = None

    @property
    def there(self) -> bool:
        """Whether they are on the device."""
        return self._homes is not None

    def come(self) -> None:
        """Come, unless they are there."""
        if self._homes is None:
            homes = [tensor.data for tensor in self._tensors]
            copies = self._mover.copies(homes)
            self._homes = homes
            for tensor, copy in zip(self._tensors, copies, strict=True):
                tensor.data = copy

    def leave(self) -> None:
        """Leave, if they are there; done again it does no harm."""
        if self._homes is not None:
            for tensor, home in zip(self._tensors, self._homes, strict=True):
                tensor.data = home
            self._homes = None

    def working(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Answer for a layer that comes for this call."""
        self.come()
        try:
            return forward(*args, **kwargs)
        finally:
            self.leave()
            self._mover.used()


def tensors_of(*parts: nn.Module) -> Iterator[Tensor]:
    """Yield the weights and buffers of parts of a model."""
    for part in parts:
        yield from part.parameters()
        yield from part.buffers()
