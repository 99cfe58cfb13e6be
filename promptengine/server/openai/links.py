"""Images that clients asked for as URLs: kept in memory for an hour, each under a name that nobody guesses."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from promptengine.server.openai.errors import PREFIX

__all__ = ["LINKS", "ImageLinks"]

LINKS: Final = f"{PREFIX}/images/files/"
"""What the paths of links begin with. They ask for no password: whoever knows one was given it."""

_LIFE_S: Final = 3600.0
_NAME_BYTES: Final = 32


class ImageLinks:
    """Files by secret names, for an hour at most. Threads may share it.

    Args:
        most_bytes: What all files may take; with more the oldest go before their time.
        now: Tells seconds.
    """

    def __init__(self, most_bytes: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most_bytes, now
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}

    def add(self, data: bytes, suffix: str) -> str:
        """Keep a file; return its path on the server.

        Args:
            data: The file.
            suffix: What its name shall end in, without a dot.
        """
        name = f"{secrets.token_urlsafe(_NAME_BYTES)}.{suffix}"
        with self._lock:
            self._kept[name] = (self._now() + _LIFE_S, data)
            taken = sum(len(kept) for _, kept in self._kept.values())
            # The oldest stand first, and expire first.
            for other, (end, kept) in list(self._kept.items()):
                if other == name or (taken <= self._most and end > self._now()):
                    break
                del self._kept[other]
                taken -= len(kept)
        return f"{LINKS}{name}"

    def find(self, name: str) -> bytes | None:
        """Return a file; None where it never was or is no more."""
        with self._lock:
            end, data = self._kept.get(name, (0.0, b""))
            return data if data and end > self._now() else None
