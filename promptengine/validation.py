"""What the fields of a frozen dataclass may be: read from their annotations, checked on creation.

A field is declared once, ``steps: Annotated[int, Between(1, 1000)] = 20``, and :func:`check_fields` in
``__post_init__`` refuses all else by the field's name. Numbers of other libraries become Python's, lists
become tuples and texts paths where these are wanted, so that equal requests are equal values.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Protocol,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from promptengine.errors import RequestError

__all__ = ["Between", "MultipleOf", "Rule", "check_fields", "check_type", "cut", "shown"]

_SHOWN: Final = 60
_LONGEST_TEXT: Final = 400
_WORDS: Final[Mapping[object, str]] = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "a path",
    type(None): "None",
}


class Rule(Protocol):
    """What else a value must be, beside of its type."""

    def problem(self, value: Any) -> str:
        """Say what is wrong with a value; empty if nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class Between:
    """A number from ``low`` to ``high``, both included."""

    low: float
    high: float

    def problem(self, value: float) -> str:
        """Say what is wrong with a value; empty if nothing is."""
        return "" if self.low <= value <= self.high else f"; it must be {self.low} to {self.high}"

    def check(self, name: str, value: float) -> None:
        """Refuse an argument that is out of range.

        Raises:
            RequestError: Names the argument and what it must be.
        """
        if problem := self.problem(value):
            raise RequestError(f"{name} is {shown(value)}{problem}", field=name)


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """A multiple of a whole number."""

    divisor: int

    def problem(self, value: int) -> str:
        """Say what is wrong with a value; empty if nothing is."""
        if value % self.divisor == 0:
            return ""
        below = value - value % self.divisor
        return f", no multiple of {self.divisor}; try {below} or {below + self.divisor}"


def check_fields(owner: Any, prefix: str = "", **late: type) -> None:
    """Refuse field values that their annotations do not allow, and bring the others to one form.

    Args:
        owner: A dataclass's instance, frozen or not, within its ``__post_init__``.
        prefix: Of the names in errors, such as ``hires.``.
        late: Types that annotations name and their module imports for type checkers alone.

    Raises:
        RequestError: Names the field, what it is and what it must be.
    """
    for name, hint in _hints(type(owner), **late).items():
        given = getattr(owner, name)
        taken = _taken(given, hint, f"{prefix}{name}")
        if taken is not given:
            object.__setattr__(owner, name, taken)


def check_type(name: str, value: object, *kinds: type, words: str = "") -> None:
    """Refuse an argument of another type.

    Args:
        name: The argument's.
        value: What was given.
        kinds: What it may be an instance of.
        words: What it must be, for people; by default the names of ``kinds``.

    Raises:
        RequestError: It is none of these.
    """
    if not isinstance(value, kinds):
        wanted = words or " or ".join(dict.fromkeys(map(_words, kinds)))
        raise RequestError(f"{name} is {shown(value)}; it must be {wanted}", field=name)


@cache
def _hints(kind: type, **late: type) -> dict[str, Any]:
    hints = get_type_hints(kind, localns=late, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


class _Misfit(Exception):
    """A value is not of a type."""


def _taken(value: object, hint: Any, name: str) -> object:
    try:
        return _converted(value, hint, name)
    except _Misfit:
        message = f"{name} is {shown(value)}; it must be {_words(hint)}"
        raise RequestError(message, field=name) from None


def _converted(value: object, hint: Any, name: str) -> object:
    """Return the value as the hint has it; what has the type and breaks a rule raises RequestError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        taken = _converted(value, arguments[0], name)
        for rule in cast("tuple[Rule, ...]", arguments[1:]):
            if problem := rule.problem(taken):
                raise RequestError(f"{name} is {shown(taken)}{problem}", field=name)
        return taken
    if origin in (Union, types.UnionType):
        for arm in arguments:
            try:
                return _converted(value, arm, name)
            except _Misfit:
                continue
        raise _Misfit
    if origin is Literal:
        return _chosen(value, arguments, name)
    if origin is tuple:
        return _tuple(value, arguments, name)
    return _plain(value, hint)


def _chosen(value: object, choices: tuple[object, ...], name: str) -> object:
    if not isinstance(value, str):
        raise _Misfit
    if value not in choices:
        known = ", ".join(map(str, choices))
        raise RequestError(f"{name} {shown(value)} is none of {known}", field=name)
    return value


def _tuple(value: object, arguments: tuple[Any, ...], name: str) -> object:
    if not isinstance(value, tuple | list):
        raise _Misfit
    items = tuple(cast("list[object]", value))
    kinds = (arguments[0],) * len(items) if arguments[-1] is ... else arguments
    if len(kinds) != len(items):
        raise _Misfit
    taken = tuple(_converted(item, kind, name) for item, kind in zip(items, kinds, strict=True))
    unchanged = all(a is b for a, b in zip(taken, items, strict=True))
    return value if unchanged and isinstance(value, tuple) else taken


def _plain(value: Any, kind: type) -> object:
    if kind is int:
        return _whole(value)
    if kind is float:
        return _real(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind):
        raise _Misfit
    return value


def _whole(value: Any) -> int:
    """Return a whole number of any library as Python's; a truth value is none."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _Misfit
    return int(value)


def _real(value: Any) -> float:
    """Return a finite number of any library as Python's; whole numbers stay as they are."""
    own = type(value) in (int, float)
    if not own and (isinstance(value, bool) or not isinstance(value, Real)):
        raise _Misfit
    try:
        number = float(value)
    except OverflowError:
        raise _Misfit from None
    if not math.isfinite(number):
        raise _Misfit
    return cast("float", value) if own else number


def _words(hint: Any) -> str:
    """Return what a value must be, for people."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(arm) for arm in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        if arguments[-1] is ...:
            return f"a tuple, each of it {_words(arguments[0])}"
        return f"a tuple of {len(arguments)}, each of it {_words(arguments[0])}"
    kind = cast("type", hint)
    return _WORDS.get(kind, f"of the type {kind.__module__.split('.')[0]}'s {kind.__name__}")


def shown(value: object) -> str:
    """Return a value for a message: in one line, and cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python does not write numbers of thousands of digits
        text = "a number too long to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def cut(text: str) -> str:
    """Return a text, cut where it is longer than 400 characters."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
