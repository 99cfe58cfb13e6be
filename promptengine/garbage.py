"""Garbage collection stands aside where there is no garbage.

That is while a text is read or libraries are loaded, and at the end of a process.
"""

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
    and the larger part the longer it is; a tenth of the time that torch and diffusers take to load. It is on again
    afterwards if it was on before; where threads read at once, the first to end turns it on, which costs the others
    time and nothing else.
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

    Memory goes back to the system as a whole. ``__del__`` of what is left is not called, which Python never
    promises; what :mod:`atexit` and :func:`weakref.finalize` are asked for is done, and streams are flushed.
    For programs, not for libraries: whoever embeds the package decides about the end of the process.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
