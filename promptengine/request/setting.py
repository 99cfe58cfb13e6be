"""What one option of WebUI may be, and how its values are read and written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from promptengine.errors import RequestError
from promptengine.validation import shown

__all__ = ["Setting"]

_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one option of WebUI may be.

    Attributes:
        webui: WebUI's name for it.
        kind: Type of the value: ``bool``, ``int``, ``float`` or ``str``.
        low: Least number allowed.
        high: Greatest number allowed.
        choices: For text, WebUI's values and ours for each; empty where any text will do.
        only: The one value that can be honored, for options that this engine does not have.
        label: What infotexts call it; empty where none names it.
        of_sampler: Whether infotexts name it where the sampler takes it and it is not at its default.
            Others are named by rules of their own.
    """

    webui: str
    kind: type[bool | int | float | str]
    low: float = -math.inf
    high: float = math.inf
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    only: object = None
    label: str = ""
    of_sampler: bool = False

    def check(self, value: object) -> None:
        """Refuse a value of ours.

        Raises:
            RequestError: It has another type, or is none of the choices, or out of range.
        """
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.kind is float and number:
            fits = True
        else:
            fits = isinstance(value, self.kind) and not (self.kind is int and not number)
        if not fits:
            raise self._refusal(value, _KINDS[self.kind])
        if self.choices and value not in self.choices.values():
            raise self._refusal(value, "one of " + ", ".join(map(repr, self.choices.values())))
        if isinstance(value, (int, float)) and number and not self.low <= value <= self.high:
            raise self._refusal(value, f"{self.low:.12g} to {self.high:.12g}")

    def ours(self, value: object) -> Any:
        """Translate WebUI's value.

        Raises:
            RequestError: It has another type, or is none of the choices, or out of range.
        """
        if self.choices:
            known = {name.lower(): own for name, own in self.choices.items()}
            if not isinstance(value, str) or value.lower() not in known:
                raise self._refusal(value, "one of " + ", ".join(map(repr, self.choices)))
            return known[value.lower()]
        self.check(value)
        if self.only is not None and value != self.only:
            message = (
                f"option {self.webui} cannot be {shown(value)} here; leave it at {self.only!r}"
            )
            raise RequestError(message, field=self.webui)
        return float(value) if self.kind is float else value  # type: ignore[arg-type]

    def theirs(self, value: object) -> object:
        """Translate our value into WebUI's."""
        return next((name for name, own in self.choices.items() if own == value), value)

    def read(self, text: str) -> object:
        """Read WebUI's value from text, as a command line has it.

        Raises:
            RequestError: The text is no such value.
        """
        if self.kind is str:
            return text
        if self.kind is bool:
            if text.lower() not in _BOOLEANS:
                raise self._refusal(text, _KINDS[bool])
            return _BOOLEANS[text.lower()]
        try:
            return int(text) if self.kind is int else float(text)
        except ValueError:
            raise self._refusal(text, _KINDS[self.kind]) from None

    def _refusal(self, value: object, allowed: str) -> RequestError:
        message = f"option {self.webui} is {shown(value)}; it must be {allowed}"
        return RequestError(message, field=self.webui)
