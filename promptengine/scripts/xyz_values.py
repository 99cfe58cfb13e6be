"""The values of an axis as WebUI's X/Y/Z plot writes them: between commas, numbers also as ranges."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from itertools import chain, islice, permutations
from typing import Final, TypeVar

from promptengine.errors import RequestError
from promptengine.xyz_plot.axes import MOST_VALUES

__all__ = [
    "PlotValue",
    "orders",
    "separated",
    "text_numbers",
    "texts",
    "whole_numbers",
    "written",
]

PlotValue = str | int | float | tuple[str, ...]
"""A value along an axis; a tuple is an order of parts of a prompt."""

_SHOWN: Final = 60
_WHOLE: Final = r"\s*([+-]?\s*\d+)\s*"
_REAL: Final = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
_COUNT: Final = r"\[(\d+)\s*\]\s*"

_Number = TypeVar("_Number", int, float)


def separated(text: str) -> tuple[str, ...]:
    """Split at commas and line breaks outside of double quotes, and strip; an empty text has no parts.

    Raises:
        RequestError: The parts cannot be told apart, or are more than an axis may have.
    """
    try:
        rows = csv.reader(io.StringIO(text), skipinitialspace=True)
        parts = tuple(map(str.strip, islice(chain.from_iterable(rows), MOST_VALUES + 1)))
    except csv.Error as error:
        message = f"values {text[:_SHOWN]!r} cannot be told apart: {error}"
        raise RequestError(message, field="script_args") from None
    return _few(parts)


def written(values: Sequence[str]) -> str:
    """Write values as :func:`separated` reads them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def texts(parts: Sequence[str]) -> tuple[str, ...]:
    """Take parts as they are.

    Raises:
        RequestError: They are more than :data:`MOST_VALUES`.
    """
    return _few(tuple(parts))


def orders(parts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return all orders of some texts, the one given first.

    Raises:
        RequestError: They are more than :data:`MOST_VALUES`; seven texts have 5040.
    """
    most = next(count for count in range(MOST_VALUES) if math.factorial(count + 1) > MOST_VALUES)
    if len(parts) > most:
        message = f"{len(parts)} texts have too many orders; {most} are the most"
        raise RequestError(message, field="script_args")
    return tuple(permutations(parts))


def whole_numbers(parts: Sequence[str]) -> tuple[int, ...]:
    """Read whole numbers and ranges of them; empty parts say nothing.

    As in WebUI, ``1-5`` is 1 to 5, ``1-5 (+2)`` every second of these, ``1-10 [4]`` as many spread evenly
    and cut to whole numbers, and a range with a step downwards ends one above its second number, plus one.

    Raises:
        RequestError: What is neither, or more than :data:`MOST_VALUES` values.
    """
    return _read(parts, int, _WHOLE, r"[+-]\d+", _counted_up)


def text_numbers(parts: Sequence[str]) -> tuple[float, ...]:
    """Read numbers and ranges of them as :func:`whole_numbers` does.

    As in WebUI, a range goes on until it has reached or passed its end: ``0-1 (+0.3)`` ends with 1.2.

    Raises:
        RequestError: Likewise.
    """
    return _read(parts, float, _REAL, r"[+-]\d+(?:\.\d*)?", _stepped)


def _read(
    parts: Sequence[str],
    kind: type[_Number],
    number: str,
    step: str,
    walk: Callable[[_Number, _Number, _Number], Sequence[_Number]],
) -> tuple[_Number, ...]:
    """Read every part by itself.

    Args:
        parts: Of the axis.
        kind: Reads a number.
        number: What matches one in a range.
        step: What matches a step.
        walk: Makes a range of its start, its end and its step.
    """
    stepped = re.compile(rf"{number}-{number}(?:\(({step})\s*\)\s*)?")
    spread = re.compile(rf"{number}-{number}{_COUNT}")
    values: list[_Number] = []
    for part in parts:
        if not part.strip():
            continue
        try:
            if match := stepped.fullmatch(part):
                start, end = (_number(match[n], kind) for n in (1, 2))
                values += walk(start, end, _number(match[3] or "1", kind))
            elif match := spread.fullmatch(part):
                start, end = (_number(match[n], kind) for n in (1, 2))
                values += [kind(one) for one in _spread(start, end, int(match[3]))]
            else:
                values.append(_number(part, kind))
        except (ValueError, OverflowError, ZeroDivisionError):
            noun = "whole number" if kind is int else "number"
            message = (
                f"{part[:_SHOWN]!r} is no {noun} and no range such as 1-5, 1-10 (+3) or 1-10 [4]"
            )
            raise RequestError(message, field="script_args") from None
        _few(values)
    return tuple(values)


def _number(text: str, kind: type[_Number]) -> _Number:
    # A sign may stand apart.
    value = kind(re.sub(r"^\s*([+-])\s+", r"\1", text))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _counted_up(start: int, end: int, step: int) -> Sequence[int]:
    return _few(range(start, end + 1, step))


def _stepped(start: float, end: float, step: float) -> Sequence[float]:
    count = max(math.ceil((end + step - start) / step), 0)
    # The rounding of the first step is in all of them, as in numpy's ranges.
    step = (start + step) - start
    return [start + i * step for i in _few(range(count))]


def _spread(start: float, end: float, count: int) -> Sequence[float]:
    places = _few(range(count))
    between = (end - start) / max(count - 1, 1)
    inner = [start + i * between for i in places[:-1]]
    return [*inner, end if count > 1 else start] if count else []


_Values = TypeVar("_Values", bound=Sequence[object])


def _few(values: _Values) -> _Values:
    """Refuse too many; a range that is one is not walked for that.

    Raises:
        RequestError: They are more than :data:`MOST_VALUES`.
    """
    # A range may be longer than len() can say.
    if values[MOST_VALUES:]:
        raise RequestError(f"an axis may have {MOST_VALUES} values at most", field="script_args")
    return values
