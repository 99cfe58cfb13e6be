"""How values of requests are written as text and read again, in infotexts and on command lines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

__all__ = [
    "parse_bool",
    "parse_float",
    "parse_int",
    "parse_pair",
    "parse_size",
    "size_text",
    "without_fraction",
]

_WHOLE: Final = re.compile(r"-?[0-9]{1,30}")
_SIZE: Final = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")
_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}


def parse_int(text: str) -> int:
    """Read a whole number; ValueError where it is none."""
    if _WHOLE.fullmatch(text.strip()) is None:
        raise ValueError("must be a whole number")
    return int(text.strip())


def parse_float(text: str) -> float:
    """Read a finite number; ValueError where it is none."""
    value = float(text.strip())
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


def parse_bool(text: str) -> bool:
    """Read ``True`` or ``False`` in any case; KeyError where it is neither."""
    return _TRUTH[text.lower()]


def parse_size(text: str) -> tuple[int, int]:
    """Read width and height such as ``512x768``; ValueError where it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be WIDTHxHEIGHT")
    return int(match[1]), int(match[2])


def parse_pair(text: str) -> tuple[float, float]:
    """Read one number for both, or two with a comma between; ValueError where it is neither."""
    first, comma, second = text.partition(",")
    return parse_float(first), parse_float(second if comma else first)


def size_text(width: int, height: int) -> str:
    """Write a size as :func:`parse_size` reads it."""
    return f"{width}x{height}"


def without_fraction(value: float) -> float:
    """Return a number as a whole one where it is one, so that 7.0 is written as 7."""
    return int(value) if value == int(value) else value
