"""How a text is to be read: what whoever edits it has chosen beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from promptengine.prompt.diagnostic_kinds import DiagnosticCode
from promptengine.prompt.dialects import WEBUI, DialectName
from promptengine.validation import Between, check_fields

__all__ = ["PromptSyntax"]


@dataclass(frozen=True, slots=True)
class PromptSyntax:
    """How a prompt is read.

    Attributes:
        dialect: One of :data:`promptengine.prompt.dialects.DIALECTS`.
        negative: It is a negative prompt.
        comments: Whether ``#`` begins a comment, in dialects that have them.
        dynamic: It is a template, as ``--dynamic`` takes it.
        steps: Of the pass that schedules are told for.
        ignored_diagnostics: Codes of what is not to be told.

    Raises:
        RequestError: A value that cannot be, by its name.
    """

    dialect: DialectName = WEBUI
    negative: bool = False
    comments: bool = True
    dynamic: bool = False
    steps: Annotated[int, Between(1, 1000)] = 20
    ignored_diagnostics: tuple[DiagnosticCode, ...] = ()

    def __post_init__(self) -> None:
        """Check what is given."""
        check_fields(self)
