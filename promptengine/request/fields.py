"""What the fields of a request are called, and how they are said, outside of Python.

The dataclasses of :mod:`promptengine.request.request` declare each field once: its type, range and default
as Python does, all else as a :class:`FieldSpec` in the field's metadata. Command line, forms, WebUI's API,
infotexts and the description that pages read derive from it. Every surface has to be answered, be it by the
reason why a field is left out there, so none can be forgotten.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    ParamSpec,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from promptengine.validation import Rule

__all__ = [
    "ApiField",
    "Entry",
    "FieldGroup",
    "FieldSpec",
    "Flag",
    "ImageValue",
    "LeftOut",
    "RequestField",
    "Said",
    "SharedWith",
    "described",
    "entries_of",
    "fields_of",
    "grouped",
    "groups_of",
    "left_out",
    "unless",
]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Stand for a surface that does not have a field.

    Attributes:
        why: The reason, as a clause.
    """

    why: str


@dataclass(frozen=True, slots=True)
class SharedWith:
    """Stand for a surface that says a field together with another one of the same dataclass.

    Attributes:
        field: The one that declares how.
    """

    field: str


class Said(NamedTuple):
    """What else a request says, where one of its fields is written.

    Attributes:
        own: All fields of the same dataclass.
        request: All fields of the request.
    """

    own: Mapping[str, Any]
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Flag:
    """Describe an option of the command line.

    Attributes:
        name: Such as ``--cfg-scale``.
        metavar: What stands for its value in the help; empty where it has choices or no value.
        short: Such as ``-n``.
        choices: Returns all values there are, where these are counted and no part of the type.
        read: Makes the value of a text; by default the field's type does. Raises ValueError.
    """

    name: str
    metavar: str = ""
    short: str = ""
    choices: Callable[[], tuple[str, ...]] | None = None
    read: Callable[[str], object] | None = None

    @property
    def dest(self) -> str:
        """The name of its value among parsed options."""
        return self.name.lstrip("-").replace("-", "_")


def _first(value: Any, *_: Any) -> Any:
    return value


def _alone(value: Any) -> tuple[Any, ...]:
    return (value,)


@dataclass(frozen=True, slots=True)
class ApiField:
    """Describe the fields of WebUI's API that say a field of ours.

    Attributes:
        defaults: Their names there, and what the API takes where they are absent.
        read: Makes our value of theirs, in this order; None leaves the field at our default. May raise
            RequestError.
        write: Makes their values of ours.
    """

    defaults: Mapping[str, object]
    read: Callable[..., Any] = _first
    write: Callable[[Any], tuple[Any, ...]] = _alone


def _as_it_is(value: Any, _: Said) -> object:
    return value


@dataclass(frozen=True, slots=True)
class Entry:
    """Describe an entry of infotexts.

    Attributes:
        label: WebUI's.
        read: Makes WebUI's value of the text; raises ValueError or KeyError. None where the text can only
            be read with others: sampler and schedule type, sizes, settings.
        write: Makes what is written of our value and what else is said; None leaves the entry out.
        also: Labels of further entries that mean nothing once this field is given.
    """

    label: str
    read: Callable[[str], object] | None
    write: Callable[[Any, Said], object] = _as_it_is
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """Describe one field for all surfaces but Python.

    Attributes:
        label: As WebUI's page calls it.
        help: What it does, as a clause.
        flag: Its option on the command line.
        api: Its fields in WebUI's API.
        entry: Its entry in infotexts.
        form: Why our own API does not have it, or None: it has, by the field's own name.
        usual: What the default means, where that is no value to show.
        axis: What it is called as an axis of a grid, or None.
        control: What a page shows for it; empty follows the type.
        choices: The list of :mod:`promptengine.choices` that it names one of; empty for none.
        group: Under which heading forms have it; empty leaves that to them.
        labels: What WebUI's page calls its values: the choices in their order, or no and yes, which it then
            shows as choices under the entry's label. Empty for the values themselves.
    """

    label: str
    help: str
    _: KW_ONLY
    flag: Flag | LeftOut
    api: ApiField | LeftOut
    entry: Entry | SharedWith | LeftOut
    form: LeftOut | None = None
    usual: str = ""
    axis: str | None = None
    control: str = ""
    choices: str = ""
    group: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Describe a field that holds a dataclass of further fields.

    Attributes:
        label: As WebUI's page calls it.
        help: What it does, as a clause.
    """

    label: str
    help: str


_Arguments = ParamSpec("_Arguments")


def _metadata(
    make: Callable[_Arguments, FieldSpec | FieldGroup | LeftOut],
) -> Callable[_Arguments, Mapping[str, object]]:
    def written(*args: _Arguments.args, **more: _Arguments.kwargs) -> Mapping[str, object]:
        return {"spec": make(*args, **more)}

    return written


described = _metadata(FieldSpec)
"""Return the metadata of a field, for the arguments of :class:`FieldSpec`."""

grouped = _metadata(FieldGroup)
"""Return the metadata of a field that holds further fields."""

left_out = _metadata(LeftOut)
"""Return the metadata of a field that no surface but Python has."""


def unless(usual: object) -> Callable[[Any, Said], object]:
    """Return what writes a value as it is, and leaves one out that a reader takes for granted."""
    return lambda value, _: None if value == usual else value


class ImageValue:
    """Stand for Pillow's images in the types of fields, so that describing them loads no library."""


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field as it was declared.

    Attributes:
        name: In Python.
        spec: Its names and forms elsewhere.
        type: ``int``, ``float``, ``bool``, ``str``, :class:`ImageValue`, a ``Literal`` or a ``tuple[…]``,
            without rules and None.
        optional: Whether it may be None.
        rules: What else a value must be; those of a tuple's items for a tuple.
        default: Its default; ``MISSING`` where it must be given.
    """

    name: str
    spec: FieldSpec
    type: Any
    optional: bool
    rules: tuple[Rule, ...]
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """All values there are, where they are counted."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING


_STAND_INS: Final = {"Image": ImageValue}


@cache
def fields_of(owner: type) -> tuple[RequestField, ...]:
    """Return the described fields of a dataclass, in order.

    Args:
        owner: A dataclass, whose fields have a spec in their metadata.
    """
    hints = get_type_hints(owner, localns=_STAND_INS, include_extras=True)
    return tuple(
        _field(own.name, own.metadata["spec"], hints[own.name], own.default)
        for own in fields(owner)
        if isinstance(own.metadata.get("spec"), FieldSpec)
    )


@cache
def groups_of(owner: type) -> Mapping[str, tuple[FieldGroup, type]]:
    """Return the fields of a dataclass that hold further fields: by name what they are, and of which type."""
    hints = get_type_hints(owner, localns=_STAND_INS, include_extras=True)
    return {
        own.name: (own.metadata["spec"], next(filter(is_dataclass, _arms(hints[own.name]))))
        for own in fields(owner)
        if isinstance(own.metadata.get("spec"), FieldGroup)
    }


def entries_of(
    owner: type, own: Mapping[str, Any], request: Mapping[str, Any]
) -> dict[str, object]:
    """Return the entries of infotexts that say a dataclass's fields, without those left out.

    Args:
        owner: A dataclass with described fields.
        own: Their values by name.
        request: All values of the request.
    """
    found: dict[str, object] = {}
    for field in fields_of(owner):
        if isinstance(entry := field.spec.entry, Entry):
            found[entry.label] = entry.write(own[field.name], Said(own, request))
    return {label: value for label, value in found.items() if value is not None}


def _field(name: str, described: FieldSpec, hint: Any, default: Any) -> RequestField:
    arms = _arms(hint)
    (kind,) = [arm for arm in arms if arm is not type(None)]
    return RequestField(name, described, _bare(kind), type(None) in arms, _rules(kind), default)


def _arms(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (Union, types.UnionType)
    return tuple(arm for one in get_args(hint) for arm in _arms(one)) if union else (hint,)


def _bare(hint: Any) -> Any:
    """Return the type without its rules, also in a tuple's items."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return tuple[tuple(one if one is ... else _bare(one) for one in get_args(hint))]
    return hint


def _rules(hint: Any) -> tuple[Rule, ...]:
    if get_origin(hint) is Annotated:
        inner, *rules = get_args(hint)
        return (*_rules(inner), *rules)
    if get_origin(hint) is tuple:
        return _rules(get_args(hint)[0])
    return ()
