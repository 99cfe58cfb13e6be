"""How diagnostics quote a prompt, and how many of a sort are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from promptengine.prompt.ast import Diagnostic, Severity

__all__ = ["MOST", "capped", "quoted"]

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
    rest = iter(found)
    last: Diagnostic | None = None
    for last in islice(rest, MOST):
        yield last
    more: Severity | None = last.severity if last else None
    further = next(rest, None)
    if more and further:
        count = 1 + sum(1 for _ in rest)
        yield Diagnostic(more, f"and {count} more of this sort", further.span)
