"""The options of the command line that say the fields of a request, derived from their declarations."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from promptengine.request.fields import Entry, Flag, ImageValue, RequestField, SharedWith, fields_of

__all__ = ["add_fields", "flagged_fields", "given_fields", "given_labels"]


class Adder(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an option."""
        ...


def add_fields(parser: Adder, owner: type, leave: Collection[str] = ()) -> None:
    """Add an option for each field that has one; without it the field is None among the options.

    Args:
        parser: Or a group of it.
        owner: A dataclass with described fields.
        leave: Names of fields that the command says otherwise.
    """
    for own, flag in flagged_fields(owner):
        if own.name not in leave:
            names = [name for name in (flag.short, flag.name) if name]
            parser.add_argument(*names, help=_help(own), **_settings(own, flag))


def given_fields(options: argparse.Namespace, owner: type) -> dict[str, Any]:
    """Return the fields that a command line gives, by their names."""
    found = {own.name: getattr(options, flag.dest, None) for own, flag in flagged_fields(owner)}
    return {name: value for name, value in found.items() if value is not None}


def given_labels(options: argparse.Namespace, *owners: type) -> set[str]:
    """Return the labels of infotexts that a command line stands in for.

    One that several fields share is only among them where all of these are given.
    """
    found: set[str] = set()
    for owner in owners:
        given = given_fields(options, owner)
        shared = {own.name: own.spec.entry for own in fields_of(owner)}
        for own in fields_of(owner):
            entry = own.spec.entry
            sharers = [name for name, other in shared.items() if other == SharedWith(own.name)]
            if isinstance(entry, Entry) and {own.name, *sharers} <= given.keys():
                found |= {entry.label, *entry.also}
    return found


def flagged_fields(owner: type) -> Iterator[tuple[RequestField, Flag]]:
    """Yield the fields that have an option, with it."""
    for own in fields_of(owner):
        if isinstance(own.spec.flag, Flag):
            yield own, own.spec.flag


def _settings(own: RequestField, flag: Flag) -> dict[str, Any]:
    if own.type is bool:
        return {"action": argparse.BooleanOptionalAction}
    if choices := own.choices or (flag.choices and flag.choices()):
        return {"choices": choices}
    if flag.read is not None:
        return {"type": _reader(flag.read), "metavar": flag.metavar}
    return {"type": Path if own.type is ImageValue else own.type, "metavar": flag.metavar}


def _reader(read: Callable[[str], object]) -> Callable[[str], object]:
    def converted(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return converted


def _help(own: RequestField) -> str:
    shown = own.spec.usual
    if not shown and own.type is not bool and not own.required and own.default not in (None, ""):
        shown = str(own.default)
    text = f"{own.spec.help}; default: {shown}" if shown else own.spec.help
    return text.replace("%", "%%")
