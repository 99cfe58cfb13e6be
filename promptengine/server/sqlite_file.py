"""A SQLite file as the server keeps some: threads share it, and damage to it ends nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

__all__ = ["SIDE_FILES", "SqliteFile", "connected", "is_damage"]

T = TypeVar("T")

SIDE_FILES: Final = ("-wal", "-shm")
"""What SQLite puts behind a file's name for those that it writes beside it."""


class SqliteFile:
    """One connection, which is opened when it is first needed. Threads may share it.

    Args:
        connect: Opens the file; see :func:`connected`.
        renew: Takes a damaged file, which is closed, out of the way, so that ``connect`` makes a new one. It
            gets the error that told of the damage.

    Attributes:
        lock: Held while something is done with the file; a thread may take it more than once.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        renew: Callable[[sqlite3.Error], None],
    ) -> None:
        self._connect = connect
        self._renew = renew
        self._opened: sqlite3.Connection | None = None
        self.lock = threading.RLock()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._opened is not None

    def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in a transaction, and once more with a new file where this one turns out damaged.

        Args:
            work: Gets the connection; what it changes counts once it has returned.

        Raises:
            sqlite3.Error: The file cannot be used now, or the new one is damaged as well.
            Exception: Whatever else ``connect``, ``renew`` and ``work`` raise.
        """
        with self.lock:
            try:
                return self._done(work)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self.close()
                self._renew(error)
                return self._done(work)

    def close(self) -> None:
        """Let go of the file until something is to be done again."""
        with self.lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._opened is None:
            self._opened = self._connect()
        with self._opened:
            return work(self._opened)


def connected(
    place: str | Path, prepare: Callable[[sqlite3.Connection], None], *, wait_s: float
) -> sqlite3.Connection:
    """Return a connection that is ready; where it cannot be made so, nothing stays open.

    Args:
        place: Of the file, which is made where there is none, or ``:memory:``.
        prepare: Makes the tables of a new file, and refuses one of somebody else.
        wait_s: Seconds to wait for others who hold the file.

    Raises:
        sqlite3.Error: It cannot be opened, or what ``prepare`` raises.
    """
    db = sqlite3.connect(str(place), timeout=wait_s, check_same_thread=False)
    try:
        prepare(db)
    except sqlite3.Error:
        db.close()
        raise
    return db


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error says that a file is no database of ours, or none any more."""
    if not isinstance(error, sqlite3.OperationalError):
        return isinstance(error, sqlite3.DatabaseError)
    return str(error).startswith(("no such table", "no such column", "malformed"))
