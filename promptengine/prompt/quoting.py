"""How diagnostics quote a prompt, and how many of a sort are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from promptengine.prompt.ast import Diagnostic

__all__ = ["MOST", "capped", "quoted", "told"]

T = TypeVar("T")

MOST = 20
"""Diagnostics of one sort; a thousand unclosed brackets need no thousand sentences."""

_LONGEST = 40


def quoted(text: str, start: int = 0, end: int | None = None) -> str:
    """Quote ``text[start:end]``, cut short where it is long."""
    stop = len(text) if end is None else end
    if stop - start <= _LONGEST:
        return repr(text[start:stop])
    return repr(text[start : start + _LONGEST - 1] + "…")


def capped(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield the first few, and how many more there are at the place of the next one."""
    return told(found, lambda diagnostic: diagnostic)


def told(found: Iterable[T], tell: Callable[[T], Diagnostic]) -> Iterator[Diagnostic]:
    """Tell of the first few, and how many more there are at the place of the next one.

    Args:
        found: What there is to tell of, never None.
        tell: Says it; not called for those that are only counted.
    """
    rest = iter(found)
    last: Diagnostic | None = None
    for item in islice(rest, MOST):
        last = tell(item)
        yield last
    further = next(rest, None)
    if last is not None and further is not None:
        count = 1 + sum(1 for _ in rest)
        message, span = f"and {count} more of this sort", tell(further).span
        yield Diagnostic(last.severity, message, span, code=last.code)
