"""Keeps what was used last, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["SizedLRU"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class SizedLRU(Generic[_Key, _Value]):
    """Values by key, the longest unused ones forgotten where room is short.

    Args:
        room: Bytes that all values may take together. A value that is larger is never kept.
        size_of: How many bytes a value takes.
    """

    def __init__(self, room: int, size_of: Callable[[_Value], int]) -> None:
        self._room = room
        self._size_of = size_of
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()
        self._taken = 0

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return the value of a key, made now if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._kept[key] = make()
        self._taken += self._size_of(value)
        while self._taken > self._room:
            _, forgotten = self._kept.popitem(last=False)
            self._taken -= self._size_of(forgotten)
        return value
