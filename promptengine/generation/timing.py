"""How long the stages of a generation took."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

__all__ = ["StageTimer"]


class StageTimer:
    """Adds up seconds by stage.

    Attributes:
        seconds: So far, by the stage's name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measuring(self, stage: str) -> Generator[None]:
        """Count what happens within a ``with`` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds that were measured elsewhere."""
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
