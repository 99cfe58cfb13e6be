"""What tags are refused with, and how their numbers are read."""

from __future__ import annotations

import math

__all__ = ["TagProblem", "finite_number"]


class TagProblem(ValueError):
    """A tag cannot be used.

    Args:
        reason: Why, in a few words.
        problem: The same as a sentence that names the network.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.problem = problem


def finite_number(text: str) -> float | None:
    """Read what Python's ``float`` reads, as in WebUI; None for anything else, infinities and NaN included."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
