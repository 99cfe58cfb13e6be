"""Garbage collection stands aside while a text is read."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["gc_paused"]

P = ParamSpec("P")
R = TypeVar("R")


def gc_paused(read: Callable[P, R]) -> Callable[P, R]:
    """Make a function run without the cyclic garbage collector.

    Reading makes many small objects and no cycle among them. The collector would look through all
    of them time and again and find nothing: half of the time of a prompt of a megabyte, and the
    larger part the longer it is. It is on again afterwards if it was on before; where threads read
    at once, the first to end turns it on, which costs the others time and nothing else.
    """

    @wraps(read)
    def paused(*args: P.args, **kwargs: P.kwargs) -> R:
        if not gc.isenabled():
            return read(*args, **kwargs)
        gc.disable()
        try:
            return read(*args, **kwargs)
        finally:
            gc.enable()

    return paused
