"""The request fields of WebUI's API, derived from the declared fields of a request.

Clients are loose with types: whole numbers come with a fraction or as text, and null or an empty text
stands for the default. What is unknown is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from promptengine.prompt.serialize import well_formed
from promptengine.request.fields import ApiField, ImageValue, RequestField, fields_of

__all__ = [
    "Entries",
    "Flag",
    "LenientModel",
    "Number",
    "Text",
    "Texts",
    "Whole",
    "api_model",
    "api_values",
    "read_as",
    "read_fields",
]

_LARGEST: float = 2.0**64


def _whole(value: object) -> object:
    """Cut a number to a whole one, as the first pydantic did."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = _number(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) <= _LARGEST:
        return int(value)
    return value


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _without_nulls(value: object) -> object:
    items = cast("list[object]", value) if isinstance(value, list) else None
    return value if items is None else [item for item in items if item is not None]


Whole = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int | float | str | None)]
Number = Annotated[float, BeforeValidator(_number, json_schema_input_type=float | str | None)]
Flag = Annotated[bool, BeforeValidator(lambda value: value, json_schema_input_type=bool | None)]
Text = Annotated[str, BeforeValidator(well_formed, json_schema_input_type=str | None)]
Texts = Annotated[
    list[Text], BeforeValidator(_without_nulls, json_schema_input_type=list[str | None] | None)
]
Entries = Annotated[
    dict[str, Any],
    BeforeValidator(lambda value: value, json_schema_input_type=dict[str, Any] | None),
]


_READERS: Final[Mapping[type, TypeAdapter[Any]]] = {
    int: TypeAdapter(Whole),
    float: TypeAdapter(Number),
    bool: TypeAdapter(bool),
}


def read_as(kind: type, value: object) -> object:
    """Read an option as request fields of its kind are read; what is no such value comes back as it is.

    Args:
        kind: ``int``, ``float`` or ``bool``; others are left alone.
        value: As a client sent it. Unlike a field's, a whole number is not cut from one with a fraction.
    """
    if kind not in _READERS or isinstance(value, bool):
        return value
    try:
        read = _READERS[kind].validate_python(value)
    except ValidationError:
        return value
    return value if kind is int and read != _number(value) else read


class LenientModel(BaseModel):
    """A request whose nulls and empty texts mean the defaults, and whose unknown fields nothing."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_says_nothing(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, object]", data)
        return {name: value for name, value in fields.items() if value is not None and value != ""}

    if TYPE_CHECKING:
        # Most fields come from their declarations.
        def __getattr__(self, name: str) -> Any: ...


_TYPES: Final[Mapping[Any, Any]] = {
    int: Whole,
    float: Number,
    bool: Flag,
    str: Text,
    ImageValue: Text,
}


_Model = TypeVar("_Model", bound=LenientModel)


def api_model(base: type[_Model], *owners: type) -> type[_Model]:
    """Return a model with the API's fields that say the fields of some dataclasses.

    Args:
        base: The model that gets them.
        owners: Dataclasses with described fields.
    """
    found: dict[str, Any] = {}
    for own in (own for owner in owners for own in fields_of(owner)):
        if isinstance(own.spec.api, ApiField):
            for field, default in own.spec.api.defaults.items():
                found[field] = (_annotated(own, default), default)
    return create_model(f"{base.__name__}Fields", __base__=base, **found)


def read_fields(given: BaseModel, owner: type) -> dict[str, Any]:
    """Return what the fields of a request of the API mean, by our names; without what is not said.

    Args:
        given: A request, whose model was derived from ``owner``.
        owner: A dataclass with described fields.

    Raises:
        RequestError: A number that stands for no choice.
    """
    values: dict[str, Any] = {}
    for own in fields_of(owner):
        if isinstance(own.spec.api, ApiField):
            theirs = (getattr(given, name) for name in own.spec.api.defaults)
            values[own.name] = own.spec.api.read(*theirs)
    return {name: value for name, value in values.items() if value is not None}


def api_values(request: object) -> dict[str, object]:
    """Return the fields of the API that say a dataclass's fields."""
    found: dict[str, object] = {}
    for own in fields_of(type(request)):
        if isinstance(api := own.spec.api, ApiField):
            theirs = api.write(getattr(request, own.name))
            found |= dict(zip(api.defaults, theirs, strict=True))
    return found


def _annotated(own: RequestField, default: object) -> Any:
    kind = own.type
    if get_origin(kind) is tuple:
        items = get_args(kind)
        kind = Texts if items[-1] is ... else _TYPES[items[0]]
    elif own.choices:
        # WebUI numbers them.
        kind = Whole
    elif isinstance(default, int) and kind is bool and not isinstance(default, bool):
        kind = Whole
    else:
        kind = _TYPES[kind]
    note = Field(title=own.spec.label, description=own.spec.help)
    return Annotated[kind | None if default is None else kind, note]
