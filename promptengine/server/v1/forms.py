"""Forms of our own API, derived from the declared fields of a request, and answers that hold those of a result."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from promptengine.prompt.serialize import well_formed
from promptengine.request.fields import ImageValue, LeftOut, RequestField, fields_of, groups_of
from promptengine.request.schema import constraints

__all__ = ["StrictForm", "Text", "answer_of", "form_of"]

Text = Annotated[str, BeforeValidator(well_formed, json_schema_input_type=str)]
"""Text without halves of surrogate pairs."""

_TYPES: Final[dict[Any, Any]] = {str: Text, ImageValue: str}


class StrictForm(BaseModel):
    """A form whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def form_of(owner: type, doc: str) -> type[StrictForm]:
    """Return the form of a dataclass's fields, by their own names; images are base64.

    Ranges stand in the form's description alone: the dataclass itself refuses what is out of them, by a
    message that names the field.

    Args:
        owner: A dataclass with described fields; those that hold further ones become forms as well.
        doc: The form's description.
    """
    found: dict[str, Any] = {
        own.name: (_annotated(own), ... if own.required else own.default)
        for own in fields_of(owner)
        if not isinstance(own.spec.form, LeftOut)
    }
    for name, (group, kind) in groups_of(owner).items():
        found[name] = (form_of(kind, f"{group.label}: {group.help}.") | None, None)
    return create_model(f"{owner.__name__}Form", __base__=StrictForm, __doc__=doc, **found)


def answer_of(owner: type) -> type[BaseModel]:
    """Return the model of an answer that tells every field of a dataclass, also those that have their default.

    Args:
        owner: A dataclass whose fields are of JSON's types, or tuples of these.
    """
    hints = get_type_hints(owner, include_extras=True)
    found: dict[str, Any] = {own.name: (hints[own.name], ...) for own in fields(owner)}
    return create_model(f"{owner.__name__}Answer", **found)


def _annotated(own: RequestField) -> Any:
    kind = _form_type(own.type)
    note = Field(
        title=own.spec.label, description=own.spec.help, json_schema_extra=constraints(own)
    )
    return Annotated[kind | None if own.optional else kind, note]


def _form_type(kind: Any) -> Any:
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if items[-1] is ...:
            return list[_form_type(items[0])]
        return tuple[tuple(_form_type(item) for item in items)]
    return _TYPES.get(kind, kind)
