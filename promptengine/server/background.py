"""Work that begins when a job has ended, and whose result is asked for later."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

__all__ = ["AfterWork"]

T = TypeVar("T")

_KEPT: Final = 4096


class AfterWork(Generic[T]):
    """Does work one after another in a thread of its own. Threads may share it.

    Results of the last few thousand are remembered.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="after-work")
        self._lock = threading.Lock()
        self._expected: set[str] = set()
        self._results: OrderedDict[str, Future[T]] = OrderedDict()

    def expect(self, key: str) -> None:
        """Announce a work, so that who asks for its result waits for it.

        Args:
            key: What it is asked for by.
        """
        with self._lock:
            self._expected.add(key)
            self._results[key] = Future()
            while len(self._results) > _KEPT:
                self._expected.discard(self._results.popitem(last=False)[0])

    def drop(self, key: str) -> None:
        """Expect a work no longer that is not to be.

        Args:
            key: As announced.
        """
        with self._lock:
            self._expected.discard(key)
            self._results.pop(key, None)

    def begin(self, key: str, work: Callable[[], T]) -> None:
        """Do a work that is expected, once; what is not does not begin.

        Args:
            key: As announced.
            work: What to do.
        """
        with self._lock:
            if key not in self._expected:
                return
            self._expected.remove(key)
            future = self._results[key]
            try:
                self._pool.submit(_fulfill, future, work)
            except RuntimeError as error:
                # The server has stopped.
                future.set_exception(error)

    def result(self, key: str, wait_s: float) -> T | None:
        """Return what became of a work, when it is done; None for one that was never expected.

        Args:
            key: As announced.
            wait_s: Seconds to wait for it.

        Raises:
            TimeoutError: It takes longer.
            Exception: Whatever the work raised.
        """
        with self._lock:
            future = self._results.get(key)
        return None if future is None else future.result(wait_s)

    def close(self) -> None:
        """Finish what has begun; begin nothing more."""
        self._pool.shutdown(wait=True)


def _fulfill(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
        future.set_exception(error)
