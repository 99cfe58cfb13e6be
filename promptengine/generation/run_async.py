"""Long work in a thread of its own, awaited by an event loop that can cancel it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["run_cancellable"]

_T = TypeVar("_T")


async def run_cancellable(work: Callable[[threading.Event], _T]) -> _T:
    """Run work in a thread; a task that is cancelled waits until the work has stopped.

    Args:
        work: Stops soon after the event it is given is set.

    Raises:
        asyncio.CancelledError: The task was cancelled, however the work ended.
    """
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
            stop.set()
    if cancelled:
        running.exception()
        raise asyncio.CancelledError
    return running.result()
