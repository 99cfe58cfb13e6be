"""The axes of a grid: what varies along them, read from text and written into requests."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args

from promptengine.errors import RequestError
from promptengine.prompt import Tag, parse
from promptengine.request.request import GenerationRequest, append_hypernetwork
from promptengine.validation import check_fields

__all__ = ["MOST_VALUES", "Axis", "AxisKind", "request_at"]

AxisKind = Literal[
    "prompt", "hypernetwork", "multiplier", "seed", "steps", "cfg", "sampler", "clip-skip"
]
"""What can vary, in the order in which it is written into a request: a multiplier is set after the
prompt holds the tags that it is for."""

MOST_VALUES: Final = 1000
"""Of one axis; a longer range is a slip of the keyboard."""

_FIELDS: Final = {"seed": "seed", "steps": "steps", "cfg": "cfg_scale", "clip-skip": "clip_skip"}
_WORDS: Final = frozenset[str]({"prompt", "hypernetwork", "sampler"})
_FRACTIONS: Final = frozenset[str]({"cfg", "multiplier"})
_NOUNS: Final = {str: "text", float: "number", int: "whole number"}
_SHOWN: Final = 60
_NUMBER: Final = r"\s*([+-]?\d+(?:\.\d*)?)\s*"
_RANGE: Final = re.compile(rf"{_NUMBER}-{_NUMBER}(?:\({_NUMBER}\)|\[\s*(\d+)\s*\])?\s*")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a grid.

    Attributes:
        kind: What varies. ``prompt`` replaces its first value by each of its values, in the prompt and
            in the negative prompt; ``hypernetwork`` appends a tag for each name (``none`` appends
            nothing); ``multiplier`` sets that of every hypernetwork tag. The others set the field of
            the request that they are named after.
        values: In the order of the images: texts for ``prompt``, ``hypernetwork`` and ``sampler``,
            otherwise numbers.

    Raises:
        RequestError: On creation, if there is no value, one of another type than the kind's, or more than
            :data:`MOST_VALUES`.
    """

    kind: AxisKind
    values: tuple[str | int | float, ...]

    def __post_init__(self) -> None:
        check_fields(self, "axis.")
        plain = str if self.kind in _WORDS else float if self.kind in _FRACTIONS else int
        for value in cast("tuple[object, ...]", self.values):
            if not isinstance(value, (int, float) if plain is float else plain):
                message = f"axis {self.kind}: {str(value)[:_SHOWN]!r} is no {_NOUNS[plain]}"
                raise RequestError(message, field=self.kind)
        if not 1 <= len(self.values) <= MOST_VALUES:
            message = (
                f"axis {self.kind} has {len(self.values)} values; it must be 1 to {MOST_VALUES}"
            )
            raise RequestError(message, field=self.kind)

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Read ``KIND=VALUES`` as WebUI writes values.

        Values stand between commas; one that holds a comma stands in double quotes. Numbers may be
        ranges: ``1-5``, ``1-10 (+3)`` in steps of 3, ``0-1 [5]`` for 5 values from 0 to 1.

        Raises:
            RequestError: No such kind, or values that cannot be read.
        """
        name, equals, values = text.partition("=")
        kind = _kind(name, given=text, complete=bool(equals))
        parts = _separated(values)
        if kind in _WORDS:
            return cls(kind, tuple(parts))
        read = float if kind in _FRACTIONS else int
        numbers: list[int | float] = []
        for part in parts:
            numbers += _numbers(kind, part, read)
            if len(numbers) > MOST_VALUES:
                break
        return cls(kind, tuple(numbers))

    def label(self, value: str | float) -> str:
        """What to write beside the images of a value."""
        if isinstance(value, str):
            return f"no {self.kind}" if self.is_none(value) else value
        return f"{self.kind} {value:.6g}" if isinstance(value, float) else f"{self.kind} {value}"

    def is_none(self, value: str | float) -> bool:
        """Whether a value of a ``hypernetwork`` axis stands for none."""
        return self.kind == "hypernetwork" and str(value).lower() in ("", "none")

    def written(self) -> str:
        """The values as :meth:`parse` reads them."""
        if self.kind not in _WORDS:
            return ", ".join(
                f"{value:.9g}" if self.kind in _FRACTIONS else str(value) for value in self.values
            )
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(self.values)
        return line.getvalue()


def _kind(name: str, *, given: str, complete: bool) -> AxisKind:
    wanted = name.strip().lower()
    for kind in get_args(AxisKind):
        if complete and wanted == kind:
            return kind
    kinds = ", ".join(get_args(AxisKind))
    problem = f"axis {given[:_SHOWN]!r}: " + (
        f"no axis {wanted[:_SHOWN]!r}" if complete else "write KIND=VALUES"
    )
    raise RequestError(f"{problem}; the kinds are {kinds}", field="axis")


def _separated(values: str) -> list[str]:
    """Split at commas outside of double quotes, and strip."""
    line = values.replace("\n", " ").replace("\r", " ")
    try:
        (row,) = csv.reader([line], skipinitialspace=True)
    except csv.Error as error:
        message = f"axis {line[:_SHOWN]!r}: its values cannot be told apart ({error})"
        raise RequestError(message, field="axis") from None
    return [part.strip() for part in row]


def _numbers(
    kind: AxisKind, text: str, read: Callable[[str], int | float]
) -> Sequence[int | float]:
    try:
        value = read(text)
        if math.isfinite(value):
            return [value]
    except (ValueError, OverflowError):
        pass
    match = _RANGE.fullmatch(text)
    try:
        if match is not None:
            start, end = read(match[1]), read(match[2])
            if match[4]:
                return _spread(start, end, int(match[4]))
            step = read(match[3]) if match[3] else (1 if end >= start else -1)
            if step * (end - start) >= 0 and step != 0:
                return _stepped(start, end, step)
    except (ValueError, OverflowError):
        pass
    noun = "whole number" if read is int else "number"
    message = f"axis {kind}: {text[:_SHOWN]!r} is no {noun} and no range such as 1-5, 1-10 (+3) or 0-1 [5]"
    raise RequestError(message, field=kind)


def _stepped(start: float, end: float, step: float) -> list[int | float]:
    # A sum of tenths may miss the end by a rounding error.
    count = min(math.floor((end - start) / step + 1e-9) + 1, MOST_VALUES + 1)
    return [_rounded(start + i * step) for i in range(count)]


def _spread(start: float, end: float, count: int) -> list[int | float]:
    count = min(count, MOST_VALUES + 1)
    between = max(count - 1, 1)
    whole = isinstance(start, int) and isinstance(end, int)
    values = [start + (end - start) * i / between for i in range(count)]
    return [int(value) for value in values] if whole else [_rounded(value) for value in values]


def _rounded(value: float) -> int | float:
    """Without the dust of binary fractions: 0.1 + 0.2 is 0.3 here, in tags and labels too."""
    return value if isinstance(value, int) else round(value, 9)


def request_at(
    request: GenerationRequest, place: Iterable[tuple[Axis, str | int | float]]
) -> GenerationRequest:
    """Write the values of one place of a grid into a request.

    Args:
        request: What all places share.
        place: A value for each axis.

    Raises:
        RequestError: A ``prompt`` axis whose first value the prompts do not hold, a ``multiplier``
            where there is no hypernetwork, a name that no tag can hold, or a value out of range.
    """
    chosen = sorted(place, key=lambda pair: get_args(AxisKind).index(pair[0].kind))
    named = any(axis.kind == "hypernetwork" for axis, _ in chosen)
    for axis, value in chosen:
        if axis.kind == "prompt":
            request = _searched(request, str(axis.values[0]), str(value))
        elif axis.kind == "hypernetwork":
            if not axis.is_none(value):
                prompt = append_hypernetwork(request.prompt, str(value))
                request = replace(request, prompt=prompt)
        elif axis.kind == "multiplier":
            request = _multiplied(request, float(value), named=named)
        elif axis.kind == "sampler":
            request = replace(request, sampler=str(value))
        else:
            request = replace(request, **{_FIELDS[axis.kind]: value})
    return request


def _searched(request: GenerationRequest, wanted: str, put: str) -> GenerationRequest:
    if not wanted or wanted not in request.prompt + "\n" + request.negative_prompt:
        message = f"axis prompt: its first value, {wanted!r}, is not in the prompt"
        raise RequestError(f"{message}; it is what the others replace", field="prompt")
    return replace(
        request,
        prompt=request.prompt.replace(wanted, put),
        negative_prompt=request.negative_prompt.replace(wanted, put),
    )


def _multiplied(request: GenerationRequest, multiplier: float, *, named: bool) -> GenerationRequest:
    """Set the multiplier of every hypernetwork tag; ``named`` says that another axis brings tags."""
    source = request.prompt
    tags = [tag for tag in parse(source).tags if tag.kind == "hypernet"]
    if not tags and not named:
        message = "axis multiplier: the prompt holds no <hypernet:…> tag and no axis brings one"
        raise RequestError(message, field="multiplier")
    for tag in reversed(tags):
        source = source[: tag.span.start] + _tag_with(tag, multiplier) + source[tag.span.end :]
    return replace(request, prompt=source)


def _tag_with(tag: Tag, multiplier: float) -> str:
    name, *rest = tag.arguments
    return f"<{':'.join([tag.kind, name, f'{multiplier:.9g}', *rest[1:]])}>"
