"""What a person would want to know about a text while it is written, and the edits that mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from promptengine.errors import RequestError
from promptengine.language.reading import Reading, read
from promptengine.language.syntax import PromptSyntax
from promptengine.language.vocabulary import Vocabulary
from promptengine.prompt.ast import Diagnostic, Remedy, Span
from promptengine.prompt.diagnostic_kinds import UNKNOWN_WILDCARD, without_codes
from promptengine.prompt.lint import negative_weights
from promptengine.prompt.quoting import told as told_of
from promptengine.prompt.templates.tree import Literal, Wildcard
from promptengine.prompt.templates.wildcards import Wildcards
from promptengine.request.plan import look_up
from promptengine.validation import check_type

__all__ = ["CodeAction", "code_actions", "diagnose"]


@dataclass(frozen=True, slots=True)
class CodeAction:
    """An edit that mends what a diagnostic tells of.

    Attributes:
        remedy: The edit.
        diagnostic: What it mends.
    """

    remedy: Remedy
    diagnostic: Diagnostic

    @property
    def title(self) -> str:
        """What it does, as menus show it."""
        return self.remedy.label[:1].upper() + self.remedy.label[1:]


def diagnose(
    text: str, syntax: PromptSyntax | None = None, vocabulary: Vocabulary | None = None
) -> tuple[Diagnostic, ...]:
    """Tell what looks odd in a prompt or template, in the order of the text.

    Args:
        text: Any string.
        syntax: How it is read; as WebUI's prompt by default.
        vocabulary: What it can name; without one names are not looked up.

    Raises:
        RequestError: It is no text.
    """
    reading = read(text, syntax or PromptSyntax())
    registry = None if vocabulary is None else vocabulary.registry
    found = list(reading.prompt.diagnostics)
    if registry is not None:
        found += look_up(reading.scheduled, registry).diagnostics
    found += negative_weights(reading.prompt)
    if reading.template is not None:
        found = [one for one in found if one.span is None or not reading.is_set_aside(one.span)]
        found += reading.template.diagnostics
        if vocabulary is not None and registry is not None:
            found += _unknown_wildcards(reading, vocabulary.wildcards())
    told = without_codes(found, reading.syntax.ignored_diagnostics)
    return tuple(sorted(told, key=lambda one: one.span.start if one.span else 0))


def code_actions(
    text: str,
    span: Span,
    syntax: PromptSyntax | None = None,
    vocabulary: Vocabulary | None = None,
) -> tuple[CodeAction, ...]:
    """Return the edits that mend what is told of a place.

    Args:
        text: Any string.
        span: The place; an empty one is that of a caret.
        syntax: As for :func:`diagnose`.
        vocabulary: Likewise.

    Raises:
        RequestError: They are of another type.
    """
    check_type("span", span, Span)
    return tuple(
        CodeAction(one.remedy, one)
        for one in diagnose(text, syntax, vocabulary)
        if one.remedy is not None and one.span is not None and _meets(one.span, span)
    )


def _meets(one: Span, other: Span) -> bool:
    return one.start <= other.end and other.start <= one.end


def _unknown_wildcards(reading: Reading, wildcards: Wildcards) -> Iterator[Diagnostic]:
    def unknown() -> Iterator[tuple[Span, str]]:
        for span, node in reading.marks:
            if isinstance(node, Wildcard) and all(isinstance(one, Literal) for one in node.name):
                name = "".join(one.text for one in node.name if isinstance(one, Literal))
                try:
                    wildcards.values(name)
                except RequestError as error:
                    yield span, str(error)

    return told_of(unknown(), lambda one: UNKNOWN_WILDCARD(one[1], one[0]))
