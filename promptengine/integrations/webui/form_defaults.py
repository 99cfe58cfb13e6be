"""WebUI's ``ui-config.json``: what the controls of its page show at first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_origin

from promptengine.errors import RequestError
from promptengine.request.fields import (
    ApiField,
    Entry,
    ImageValue,
    RequestField,
    fields_of,
    groups_of,
)
from promptengine.request.request import GenerationRequest
from promptengine.request.schedulers import AUTOMATIC, find_scheduler
from promptengine.validation import shown

__all__ = ["IMG2IMG", "TXT2IMG", "FormDefaults"]

TXT2IMG: Final = "txt2img"
IMG2IMG: Final = "img2img"

_SCRIPTS: Final = ("sampler.py", "seed.py", "refiner.py", "soft_inpainting.py")
"""Parts of WebUI's page that are scripts, by whose names their controls go."""

_LABELS: Final = {"refiner": "Checkpoint", "refiner_switch_at": "Switch at"}
"""What the page calls controls that have another label here."""

_SWITCHES: Final = {
    "variation_seed": "Extra",
    "variation_strength": "Extra",
    "refiner": "Refiner",
    "refiner_switch_at": "Refiner",
}
"""Which box must be checked for a control to count."""

_LEFT_OUT: Final[Mapping[str, Collection[str]]] = {
    TXT2IMG: ("prompt",),
    IMG2IMG: ("prompt", "width", "height"),
}
"""The prompt is always given, and images to start from have a size of their own."""

_SAME: Final = "use same "
"""How choices of the second pass begin that choose nothing."""


@dataclass(frozen=True, slots=True)
class FormDefaults:
    """What stands in ``ui-config.json``; values are checked when they are asked for.

    Attributes:
        path: The file, which need not be there.
        values: By WebUI's keys, such as ``txt2img/CFG Scale/value``, as they stand there.
    """

    path: Path
    values: Mapping[str, Any]

    def of(self, owner: type, tab: str, given: Collection[str] = ()) -> dict[str, Any]:
        """Return what the controls of a tab show for the fields of a dataclass, by the fields' names.

        Args:
            owner: A dataclass with described fields, such as :class:`promptengine.GenerationRequest`.
            tab: ``txt2img`` or ``img2img``.
            given: Names of fields that others say; what stands in the file about them is not looked at.

        Raises:
            RequestError: A value that cannot be used; names the file and the key.
        """
        found: dict[str, Any] = {}
        for own in fields_of(owner):
            if own.name in given or own.name in _LEFT_OUT[tab] or not _is_control(own):
                continue
            if (switch := _SWITCHES.get(own.name)) and not self._is_on(tab, switch):
                continue
            key = self._key(tab, _label(own))
            value = None if key is None else self._read(own, key)
            if key is not None and value is not None:
                self._check(owner, own, key, value)
                found[own.name] = value
        return found

    def hires_is_on(self, tab: str = TXT2IMG) -> bool:
        """Return whether the box of the second pass is checked."""
        group, _ = groups_of(GenerationRequest)["hires"]
        return self._is_on(tab, group.label)

    def styles(self, tab: str) -> tuple[str, ...]:
        """Return the names of the styles that are chosen at first.

        Raises:
            RequestError: They are no list of names.
        """
        key = f"{tab}/Styles/value"
        names = self.values.get(key)
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.refusal(key, f"{shown(names)} is no list of names")
        return tuple(name for name in names if name not in ("", "None"))

    def refusal(self, key: str, problem: str) -> RequestError:
        """Make (not raise) the error for a value that cannot be used."""
        message = f"{self.path}: {key}: {problem}; mend it there, or give the option yourself"
        return RequestError(message, field="webui")

    def _key(self, tab: str, label: str) -> str | None:
        # What older versions wrote, before these were scripts, stays in the file and counts no more.
        places = [*(f"customscript/{script}/{tab}" for script in _SCRIPTS), tab]
        return next((key for at in places if (key := f"{at}/{label}/value") in self.values), None)

    def _is_on(self, tab: str, label: str) -> bool:
        key = self._key(tab, label)
        value = False if key is None else self.values[key]
        if key is not None and not isinstance(value, bool):
            raise self.refusal(key, f"{shown(value)} is neither true nor false")
        return value

    def _read(self, own: RequestField, key: str) -> Any:
        """Return what a value means for a field; None where it says nothing."""
        value = self.values[key]
        if isinstance(value, str) and value.lower().startswith(_SAME):
            return None
        if own.spec.labels and isinstance(value, str):
            if value not in own.spec.labels:
                there = ", ".join(map(repr, own.spec.labels))
                raise self.refusal(key, f"{shown(value)} is none of {there}")
            number = own.spec.labels.index(value)
            return bool(number) if own.type is bool else own.choices[number]
        if own.spec.choices == "schedulers" and isinstance(value, str):
            return self._scheduler(key, value)
        if get_origin(own.type) is tuple and not isinstance(value, list):
            return (value, value)
        if own.type is int and isinstance(value, float) and value.is_integer():
            return int(value)
        return value

    def _scheduler(self, key: str, name: str) -> str:
        try:
            found = find_scheduler(name)
        except RequestError as error:
            raise self.refusal(key, str(error)) from None
        return AUTOMATIC if found is None else found.name

    def _check(self, owner: type, own: RequestField, key: str, value: object) -> None:
        from PIL import Image

        blank = Image.new("L", (1, 1))
        stand_ins = {"prompt": "", "mask": blank, "images": (blank,)}
        needed = {
            one.name: stand_ins[one.name]
            for one in fields_of(owner)
            if one.required and one.name != own.name
        }
        try:
            owner(**{**needed, own.name: value})
        except RequestError as error:
            raise self.refusal(key, str(error)) from None


def _is_control(own: RequestField) -> bool:
    """Return whether WebUI's page has a control for a field."""
    items = getattr(own.type, "__args__", (own.type,))
    return isinstance(own.spec.api, ApiField) and ImageValue not in items


def _label(own: RequestField) -> str:
    """Return what the page calls the control of a field."""
    entry = own.spec.entry
    if own.type is bool and own.spec.labels and isinstance(entry, Entry):
        return entry.label
    return _LABELS.get(own.name, own.spec.label)
