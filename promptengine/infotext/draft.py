"""A recipe in the making."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from promptengine.errors import RequestError
from promptengine.infotext.find_files import FileFinder
from promptengine.prompt import Diagnostic, Severity
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.diagnostic_kinds import DiagnosticKind
from promptengine.request.request import GenerationRequest

__all__ = ["Draft", "shown_value"]

_SHOWN_CHARACTERS: Final = 80


@dataclass(slots=True)
class Draft:
    """A recipe in the making; ``left`` holds the entries that nobody has read yet."""

    finder: FileFinder
    request: GenerationRequest
    left: dict[str, str]
    had_parameters: bool
    options: dict[str, object] = field(default_factory=dict[str, object])
    fields: dict[str, object] = field(default_factory=dict[str, object])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def say(self, kind: DiagnosticKind, message: str, *, severity: Severity | None = None) -> None:
        """Add a diagnostic."""
        self.diagnostics.append(kind(message, severity=severity))

    def refuse(self, key: str, value: str, why: str = "") -> None:
        """Say that an entry cannot be used."""
        self.say(
            kinds.SETTING_LEFT_OUT,
            f"{key}: {shown_value(value)} cannot be used{why and f' ({why})'} and is left out",
        )

    def set(self, **values: object) -> str:
        """Change the request; returns why it cannot be done, or nothing."""
        try:
            self.request = replace(self.request, **cast("dict[str, Any]", values))
        except RequestError as error:
            return str(error)
        return ""


def shown_value(text: str) -> str:
    """Return a value as a message shows it."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
