"""Numbers that change over the steps: ``5e-5:100, 1e-5``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from promptengine.errors import RequestError

__all__ = ["StepSchedule", "parse_schedule"]

_STEP_DIGITS: Final = 18
_SHOWN: Final = 60
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class StepSchedule:
    """A number for every step.

    Attributes:
        entries: ``(value, until_step)`` with ascending absolute steps, each inclusive; the last may
            have None and then holds to the end.
    """

    entries: tuple[tuple[float, int | None], ...]

    @property
    def last_step(self) -> int | None:
        """The last step it has a number for, or None where it never ends."""
        return self.entries[-1][1]

    def at(self, step: int) -> float:
        """Return the number for a step, counted from 1; past the end the last one."""
        for value, until in self.entries:
            if until is None or step <= until:
                return value
        return self.entries[-1][0]


def parse_schedule(text: str, *, field: str) -> StepSchedule:
    """Read ``rate`` or ``rate:step, rate:step, …``.

    A step is absolute: where a resumed run has passed it, its entry no longer matters. The last
    entry holds to the end where it has no step, or -1.

    Args:
        text: What the user wrote.
        field: What it is for; errors name it.

    Raises:
        RequestError: A malformed entry; names its column and what is wrong.
    """
    entries: list[tuple[float, int | None]] = []
    pieces = text.split(",")
    column = 1
    for number, piece in enumerate(pieces, start=1):
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
        place = f"{field.replace('_', ' ')} {shown!r}, column {column}"
        reached = entries[-1][1] or 0 if entries else 0
        value, until = _entry(piece, place, field)
        if until is None and number < len(pieces):
            raise RequestError(f"{place}: only the last entry may have no step", field=field)
        if until is not None and until <= reached:
            message = f"{place}: step {until} does not come after {reached}"
            raise RequestError(message, field=field)
        entries.append((value, until))
        column += len(piece) + 1
    return StepSchedule(tuple(entries))


def _entry(piece: str, place: str, field: str) -> tuple[float, int | None]:
    written, colon, step = (part.strip() for part in piece.partition(":"))
    if not _NUMBER.fullmatch(written):
        raise RequestError(f"{place}: {written[:_SHOWN]!r} is no number", field=field)
    value = float(written)
    if not 0 < value < math.inf:
        raise RequestError(
            f"{place}: {written[:_SHOWN]} is not greater than 0 and finite", field=field
        )
    if not colon or step == "-1":
        return value, None
    if not (step.isascii() and step.isdecimal() and len(step) <= _STEP_DIGITS):
        message = f"{place}: {step[:_SHOWN]!r} is no step; write a whole number"
        raise RequestError(message, field=field)
    return value, int(step)
