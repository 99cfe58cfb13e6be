"""Garbage collection stands aside where there is no garbage: while a text is read or libraries are loaded, and at the end."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["gc_paused", "skip_last_collection"]

P = ParamSpec("P")
R = TypeVar("R")


def gc_paused(read: Callable[P, R]) -> Callable[P, R]:
    """Make a function run without the cyclic garbage collector.

    Reading makes many small objects and no cycle among them, and so does importing. The collector would
    look through all of them time and again and find nothing: half of the time of a prompt of a megabyte,
    and the larger part the longer it is; a tenth of the time that torch and diffusers take to load. It is on again afterwards if it was on before; where threads read
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


def skip_last_collection() -> None:
    """Let this process end without looking through all that is left, which takes a second once torch is loaded.

    Memory goes back to the system as a whole. What is not part of a cycle is still let go of in order, and what
    has to be done at the end and was asked for by :mod:`atexit` or :func:`weakref.finalize` is done.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
