"""How much work something is, counted: the same on every machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(action: Callable[[], object]) -> int:
    """Return how many lines of Python an action runs, those of a loop as often as it goes around."""
    count = 0

    def within(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return within

    former = sys.gettrace()
    sys.settrace(within)
    try:
        action()
    finally:
        sys.settrace(former)
    return count
