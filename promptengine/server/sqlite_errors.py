"""What SQLite's errors say of a file."""

from __future__ import annotations

import sqlite3

__all__ = ["is_damage"]


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error says that a file is no database of ours, or none any more."""
    if not isinstance(error, sqlite3.OperationalError):
        return isinstance(error, sqlite3.DatabaseError)
    return str(error).startswith(("no such table", "no such column", "malformed"))
