"""The fields of a request as JSON Schema: what a page or a client needs to show and check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

from promptengine.request.fields import (
    ApiField,
    Entry,
    Flag,
    ImageValue,
    RequestField,
    fields_of,
    groups_of,
)
from promptengine.validation import Between, MultipleOf

__all__ = ["constraints", "fields_schema"]

_TYPES: Final[Mapping[Any, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}
_CONTROLS: Final[Mapping[Any, str]] = {
    bool: "checkbox",
    int: "number",
    float: "number",
    str: "text",
    ImageValue: "image",
}


def fields_schema(
    owner: type,
    lists: Mapping[str, Sequence[str]],
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, Any]:
    """Describe the fields of a dataclass.

    Beside JSON Schema's own words each property has: ``title``, as WebUI's page calls it; ``x-control``,
    what shows it; ``x-usual``, what the default means where that is no value; ``x-group``, its heading;
    ``x-choices``, the names that there are; ``x-labels``, what that page calls its values; and what it is
    called elsewhere: ``x-api`` in WebUI's API, ``x-infotext``, ``x-flag`` and ``x-axis``.

    Args:
        owner: A dataclass with described fields, such as
            :class:`promptengine.request.request.GenerationRequest`.
        lists: The names of samplers and their like, by what :attr:`FieldSpec.choices` calls them.
        defaults: Other defaults than the dataclass's, by their paths, such as ``hires.scale``.
    """
    properties = {own.name: _property(own, lists) for own in fields_of(owner)}
    for name, value in defaults.items():
        if name in properties:
            properties[name]["default"] = value
    for name, (group, kind) in groups_of(owner).items():
        inner = {
            path.removeprefix(f"{name}."): value
            for path, value in defaults.items()
            if path.startswith(f"{name}.")
        }
        properties[name] = {
            "title": group.label,
            "description": group.help,
            "anyOf": [fields_schema(kind, lists, inner), {"type": "null"}],
            "default": None,
        }
    return {
        "type": "object",
        "properties": properties,
        "required": [own.name for own in fields_of(owner) if own.required],
    }


def constraints(own: RequestField) -> dict[str, Any]:
    """Return what a field's values must be, in JSON Schema's words.

    Those of a tuple are of each of its items, which need other places in a schema, so it has none here.
    """
    if own.optional or get_origin(own.type) is tuple:
        return {}
    return _ranges(own)


def _ranges(own: RequestField) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rule in own.rules:
        if isinstance(rule, Between):
            found |= {"minimum": rule.low, "maximum": rule.high}
        elif isinstance(rule, MultipleOf):
            found["multipleOf"] = rule.divisor
    return found


def _property(own: RequestField, lists: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    spec = own.spec
    kind = _schema_of(own)
    names: dict[str, Any] = {
        "x-api": list(spec.api.defaults) if isinstance(spec.api, ApiField) else None,
        "x-infotext": spec.entry.label if isinstance(spec.entry, Entry) else None,
        "x-flag": spec.flag.name if isinstance(spec.flag, Flag) else None,
        "x-axis": spec.axis,
        "x-usual": spec.usual or None,
        "x-group": spec.group or None,
        "x-choices": list(lists.get(spec.choices, ())),
        "x-labels": list(spec.labels),
    }
    return {
        "title": spec.label,
        "description": spec.help,
        **({"anyOf": [kind, {"type": "null"}]} if own.optional else kind),
        **({} if own.required else {"default": own.default}),
        "x-control": spec.control or _control(own),
        **{name: value for name, value in names.items() if value},
    }


def _schema_of(own: RequestField) -> dict[str, Any]:
    if own.choices:
        return {"type": "string", "enum": list(own.choices)}
    if get_origin(own.type) is tuple:
        items = get_args(own.type)
        sizes = {} if items[-1] is ... else {"minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "items": _plain(items[0]) | _ranges(own), **sizes}
    return _plain(own.type) | _ranges(own)


def _plain(kind: Any) -> dict[str, Any]:
    if kind is ImageValue:
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": _TYPES[kind]}


def _control(own: RequestField) -> str:
    if own.choices or own.spec.choices:
        return "choice"
    if own.type is float and any(rule == Between(0, 1) for rule in own.rules):
        return "slider"
    return _CONTROLS[get_args(own.type)[0] if get_origin(own.type) is tuple else own.type]
