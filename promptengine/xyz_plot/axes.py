"""The axes of a grid: what varies along them, read from text and written into requests."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Final, cast

from promptengine.errors import RequestError
from promptengine.images.upscalers import find_upscaler, is_known_upscaler
from promptengine.kinds import HYPERNETWORK
from promptengine.plugins import SCRIPT, ObjectRegistry, Plugin
from promptengine.prompt import Tag, parse
from promptengine.registry.registry import Registry
from promptengine.request.edit import append_hypernetwork, apply_settings
from promptengine.request.fields import fields_of, groups_of
from promptengine.request.options import SETTINGS, Options
from promptengine.request.request import GenerationRequest
from promptengine.request.samplers import find_sampler
from promptengine.request.values import parse_size
from promptengine.validation import check_fields

__all__ = [
    "AXIS_KINDS",
    "MOST_VALUES",
    "Axis",
    "AxisKind",
    "AxisValue",
    "register_grid_axis",
    "request_at",
]

MOST_VALUES: Final = 1000
"""Of one axis; a longer range is a slip of the keyboard."""

_NOUNS: Final = {str: "text", float: "number", int: "whole number"}
_SHOWN: Final = 60
_NUMBER: Final = r"\s*([+-]?\d+(?:\.\d*)?)\s*"
_RANGE: Final = re.compile(rf"{_NUMBER}-{_NUMBER}(?:\({_NUMBER}\)|\[\s*(\d+)\s*\])?\s*")


AxisValue = str | int | float


def _usable(request: GenerationRequest, axis: Axis, registry: Registry) -> None:
    pass


@dataclass(frozen=True, slots=True)
class AxisKind:
    """What can vary along an axis.

    Attributes:
        name: As users write it.
        values: What its values are: ``str``, ``int``, or ``float``, which whole numbers are, too.
        apply: Writes a value into a request. Takes the request, the axis, the value and all axes of the
            grid.
        check: Raises PromptEngineError where a value cannot be used, before the first image is made. Takes
            the request, the axis and the networks that there are.
        repeats: Whether several axes of one grid may have it.
        none: Whether ``none`` and an empty value stand for none.
        adds_tags: Whether it brings tags of hypernetworks.
    """

    name: str
    values: type[str] | type[int] | type[float]
    apply: Callable[[GenerationRequest, Axis, AxisValue, Sequence[Axis]], GenerationRequest]
    check: Callable[[GenerationRequest, Axis, Registry], None] = _usable
    repeats: bool = False
    none: bool = False
    adds_tags: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a grid.

    Attributes:
        kind: What varies, by its name in :data:`AXIS_KINDS`. ``prompt`` replaces its first value by each of its values, in the prompt and
            in the negative prompt; ``hypernetwork`` appends a tag for each name (``none`` appends
            nothing); ``multiplier`` sets that of every hypernetwork tag. The others set the field of
            the request that they are named after.
        values: In the order of the images: texts for ``prompt``, ``hypernetwork`` and ``sampler``,
            otherwise numbers.

    Raises:
        RequestError: On creation, if there is no value, one of another type than the kind's, or more than
            :data:`MOST_VALUES`.
    """

    kind: str
    values: tuple[str | int | float, ...]

    def __post_init__(self) -> None:
        check_fields(self, "axis.")
        if self.kind not in AXIS_KINDS:
            raise _unknown(self.kind, f"no axis {self.kind[:_SHOWN]!r}")
        plain = AXIS_KINDS[self.kind].values
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
        read = AXIS_KINDS[kind].values
        if read is str:
            return cls(kind, tuple(parts))
        numbers: list[int | float] = []
        for part in parts:
            numbers += _numbers(kind, part, float if read is float else int)
            if len(numbers) > MOST_VALUES:
                break
        return cls(kind, tuple(numbers))

    def label(self, value: str | float) -> str:
        """Return what to write beside the images of a value."""
        if isinstance(value, str):
            return f"no {self.kind}" if self.is_none(value) else value
        return f"{self.kind} {value:.6g}" if isinstance(value, float) else f"{self.kind} {value}"

    def is_none(self, value: str | float) -> bool:
        """Return whether a value of a ``hypernetwork`` axis stands for none."""
        return AXIS_KINDS[self.kind].none and str(value).lower() in ("", "none")

    def written(self) -> str:
        """Return the values as :meth:`parse` reads them."""
        kind = AXIS_KINDS[self.kind]
        if kind.values is not str:
            return ", ".join(
                f"{value:.9g}" if kind.values is float else str(value) for value in self.values
            )
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(self.values)
        return line.getvalue()


def _kind(name: str, *, given: str, complete: bool) -> str:
    wanted = name.strip().lower()
    if complete and wanted in AXIS_KINDS:
        return wanted
    raise _unknown(given, f"no axis {wanted[:_SHOWN]!r}" if complete else "write KIND=VALUES")


def _unknown(given: str, problem: str) -> RequestError:
    near = difflib.get_close_matches(given.partition("=")[0][:_SHOWN].lower(), AXIS_KINDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    message = (
        f"axis {given[:_SHOWN]!r}: {problem}; {hint}`promptengine grid --help` lists the kinds"
    )
    return RequestError(message, field="axis")


def _separated(values: str) -> list[str]:
    """Split at commas outside of double quotes, and strip."""
    line = values.replace("\n", " ").replace("\r", " ")
    try:
        (row,) = csv.reader([line], skipinitialspace=True)
    except csv.Error as error:
        message = f"axis {line[:_SHOWN]!r}: its values cannot be told apart ({error})"
        raise RequestError(message, field="axis") from None
    return [part.strip() for part in row]


def _numbers(kind: str, text: str, read: Callable[[str], int | float]) -> Sequence[int | float]:
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
    order = list(AXIS_KINDS)
    chosen = sorted(place, key=lambda pair: order.index(pair[0].kind))
    axes = [axis for axis, _ in chosen]
    for axis, value in chosen:
        request = AXIS_KINDS[axis.kind].apply(request, axis, value, axes)
    return request


def _search(
    request: GenerationRequest, axis: Axis, value: AxisValue, _: Sequence[Axis]
) -> GenerationRequest:
    wanted, put = str(axis.values[0]), str(value)
    if not wanted or wanted not in request.prompt + "\n" + request.negative_prompt:
        message = f"axis prompt: its first value, {wanted!r}, is not in the prompt"
        raise RequestError(f"{message}; it is what the others replace", field="prompt")
    return replace(
        request,
        prompt=request.prompt.replace(wanted, put),
        negative_prompt=request.negative_prompt.replace(wanted, put),
    )


def _append_hypernetwork(
    request: GenerationRequest, axis: Axis, value: AxisValue, _: Sequence[Axis]
) -> GenerationRequest:
    if axis.is_none(value):
        return request
    prompt = append_hypernetwork(request.prompt, str(value), dialect=request.dialect)
    return replace(request, prompt=prompt)


def _check_hypernetworks(_: GenerationRequest, axis: Axis, registry: Registry) -> None:
    for name in map(str, axis.values):
        if not axis.is_none(name) and registry.find(HYPERNETWORK.name, name) is None:
            raise registry.unknown(HYPERNETWORK.name, name, place=f"in axis {axis.kind}")


def _multiply(
    request: GenerationRequest, _: Axis, value: AxisValue, axes: Sequence[Axis]
) -> GenerationRequest:
    """Set the multiplier of every hypernetwork tag."""
    source = request.prompt
    found = parse(source, dialect=request.dialect).tags
    tags = [tag for tag in found if tag.kind in HYPERNETWORK.words]
    if not tags and not any(AXIS_KINDS[axis.kind].adds_tags for axis in axes):
        message = "axis multiplier: the prompt holds no <hypernet:…> tag and no axis brings one"
        raise RequestError(message, field="multiplier")
    for tag in reversed(tags):
        source = source[: tag.span.start] + _tag_with(tag, float(value)) + source[tag.span.end :]
    return replace(request, prompt=source)


def _tag_with(tag: Tag, multiplier: float) -> str:
    name, *rest = tag.arguments
    return f"<{':'.join([tag.kind, name, f'{multiplier:.9g}', *rest[1:]])}>"


def _field_kinds() -> Iterator[AxisKind]:
    """Yield the kinds that set a field of the request or of its parts, as its declaration names them."""
    groups = {name: owner for name, (_, owner) in groups_of(GenerationRequest).items()}
    places: dict[str, list[tuple[str, str]]] = {}
    types: dict[str, type] = {}
    for group, owner in {"": GenerationRequest, **groups}.items():
        for own in fields_of(owner):
            if own.spec.axis is not None:
                places.setdefault(own.spec.axis, []).append((group, own.name))
                types[own.spec.axis] = own.type
    for name, found in places.items():
        check = _check_upscalers if name == _UPSCALER else _check_field
        yield AxisKind(name, types[name], partial(_set, tuple(found)), check)


def _set(
    places: tuple[tuple[str, str], ...],
    request: GenerationRequest,
    axis: Axis,
    value: AxisValue,
    _: Sequence[Axis],
) -> GenerationRequest:
    """Set a field at the first of its places that the request has: a group, or none, and a name."""
    for group, name in places:
        if not group:
            return replace(request, **{name: value})
        part = getattr(request, group)
        if part is not None:
            return replace(request, **{group: replace(part, **{name: value})})
    labels = groups_of(GenerationRequest)
    words = " or ".join(labels[group][0].label for group, _ in places)
    message = f"axis {axis.kind} varies what belongs to {words}, which is off; switch it on"
    raise RequestError(message, field=axis.kind)


_OF_THEIR_OWN: Final = ("token_merging", "eta_ancestral", "eta_ddim")
"""Settings that an axis of another kind sets."""


def _setting_kinds() -> Iterator[AxisKind]:
    """Yield the kinds that change one setting, named as :class:`Options` names it: all that infotexts tell of."""
    for own in fields(Options):
        name = Options.webui_name(own.name)
        setting = SETTINGS[name]
        if setting.label and own.name not in _OF_THEIR_OWN:
            values = str if setting.kind is bool else setting.kind
            kind = own.name.replace("_", "-")
            yield AxisKind(kind, values, partial(_change, name), _check_field)


def _change(
    name: str, request: GenerationRequest, _: Axis, value: AxisValue, __: Sequence[Axis]
) -> GenerationRequest:
    read = SETTINGS[name].read(value) if isinstance(value, str) else value
    return apply_settings(request, {name: read})


def _merge_tokens(
    request: GenerationRequest, _: Axis, value: AxisValue, __: Sequence[Axis]
) -> GenerationRequest:
    """Set the ratio of the first pass, where there is an image to start from as well."""
    ratios: dict[str, object] = {"token_merging": value}
    # 0 says nothing there, so that another setting would count.
    if value or not request.options.token_merging:
        ratios["token_merging_img2img"] = value
    named = {Options.webui_name(own): ratio for own, ratio in ratios.items()}
    return apply_settings(request, named)


def _set_eta(
    request: GenerationRequest, axis: Axis, value: AxisValue, _: Sequence[Axis]
) -> GenerationRequest:
    """Set the share of fresh noise that the request's sampler takes."""
    own = find_sampler(request.sampler, request.scheduler).settings.get("eta")
    if own is None:
        message = (
            f"axis {axis.kind}: {request.sampler} takes none; it is for samplers that add noise"
        )
        raise RequestError(message, field=axis.kind)
    return apply_settings(request, {Options.webui_name(own): value})


def _resize(
    request: GenerationRequest, axis: Axis, value: AxisValue, _: Sequence[Axis]
) -> GenerationRequest:
    try:
        width, height = parse_size(str(value))
    except ValueError:
        message = f"axis {axis.kind}: {str(value)[:_SHOWN]!r} is no size such as 512x768"
        raise RequestError(message, field=axis.kind) from None
    return replace(request, width=width, height=height)


def _check_field(request: GenerationRequest, axis: Axis, _: Registry) -> None:
    # The request refuses what it cannot be.
    for value in axis.values:
        AXIS_KINDS[axis.kind].apply(request, axis, value, ())


_UPSCALER: Final = "hires-upscaler"


def _check_upscalers(request: GenerationRequest, axis: Axis, registry: Registry) -> None:
    _check_field(request, axis, registry)
    for name in map(str, axis.values):
        if not is_known_upscaler(name, registry):
            find_upscaler(name, field=axis.kind)


def _check_kind(kind: AxisKind) -> None:
    if kind.values not in _NOUNS:
        raise ValueError("its values must be str, int or float")
    if kind.name != kind.name.strip().lower() or "=" in kind.name:
        raise ValueError("its name must be in lower case, without '='")


AXIS_KINDS: Final[ObjectRegistry[AxisKind]] = ObjectRegistry(
    "promptengine.grid_axes",
    "grid axis",
    AxisKind,
    (
        AxisKind("prompt", str, _search, repeats=True),
        AxisKind(
            "hypernetwork",
            str,
            _append_hypernetwork,
            _check_hypernetworks,
            none=True,
            adds_tags=True,
        ),
        AxisKind("multiplier", float, _multiply),
        *_field_kinds(),
        *_setting_kinds(),
        AxisKind("token-merging", float, _merge_tokens, _check_field),
        AxisKind("eta", float, _set_eta),
        AxisKind("size", str, _resize, _check_field),
    ),
    spellings=lambda kind: (kind.name,),
    check=_check_kind,
)
"""What can vary, in the order in which it is written into a request: a multiplier is set after the
prompt holds the tags that it is for, and eta after the sampler that takes it."""


def register_grid_axis(kind: AxisKind, *, origin: str = SCRIPT) -> None:
    """Add something that can vary along an axis of a grid, for the rest of the process.

    Args:
        kind: The kind of axis.
        origin: Who adds it, as infotexts shall say.

    Raises:
        PluginError: It is no kind of axis, or has a name that is taken.
    """
    AXIS_KINDS.register(kind, Plugin(origin))
