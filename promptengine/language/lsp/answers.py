"""Answers of the language service in the protocol's types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from lsprotocol import types

from promptengine.language.completion import Completion, CompletionKind, complete
from promptengine.language.diagnosis import code_actions, diagnose
from promptengine.language.formatting import format_prompt
from promptengine.language.hovers import hover
from promptengine.language.lsp.options import ServerOptions
from promptengine.language.positions import Lines
from promptengine.language.tokens import TokenKind, semantic_tokens
from promptengine.language.weights import TextEdit, weight_down, weight_up
from promptengine.prompt.ast import Diagnostic, Severity, Span
from promptengine.prompt.diagnostic_kinds import DIAGNOSTIC_KINDS

__all__ = ["LEGEND", "MOST_CHARACTERS", "WEIGHT_ACTIONS", "Document"]

MOST_CHARACTERS: Final = 100_000
"""Of a text that is read; a longer one is no prompt, and nothing is told of it but that."""

_TOKEN_TYPES: Final[Mapping[TokenKind, str]] = {
    "words": "string",
    "keyword": "keyword",
    "operator": "operator",
    "number": "number",
    "comment": "comment",
    "kind": "type",
    "name": "variable",
    "argument": "parameter",
    "macro": "macro",
}
_ORDER: Final = {kind: number for number, kind in enumerate(_TOKEN_TYPES)}
LEGEND: Final = types.SemanticTokensLegend(list(_TOKEN_TYPES.values()), ["stronger", "weaker"])
"""What the numbers of tokens mean; words of a weight above 1 are stronger, those below weaker."""

WEIGHT_ACTIONS: Final[Mapping[str, str]] = {
    "refactor.rewrite.weightUp": "Raise the weight",
    "refactor.rewrite.weightDown": "Lower the weight",
}
"""Kinds of code actions that change a weight, for keys to be bound to them, with their titles."""

_SEVERITIES: Final[Mapping[Severity, types.DiagnosticSeverity]] = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "info": types.DiagnosticSeverity.Information,
}
_ITEM_KINDS: Final[Mapping[CompletionKind, types.CompletionItemKind]] = {
    "kind": types.CompletionItemKind.Class,
    "network": types.CompletionItemKind.Module,
    "multiplier": types.CompletionItemKind.Value,
    "embedding": types.CompletionItemKind.Variable,
    "keyword": types.CompletionItemKind.Keyword,
    "wildcard": types.CompletionItemKind.File,
    "word": types.CompletionItemKind.Text,
}
assert set(_ITEM_KINDS) == set(get_args(CompletionKind))
_SOURCE: Final = "promptengine"
_SNIPPET_MARKS: Final = re.compile(r"[\\$}]")


@dataclass(frozen=True, slots=True)
class Document:
    """A text as a client has it open.

    Attributes:
        uri: Its name.
        version: As the client counts.
        lines: The text.
        options: How it is read.
    """

    uri: str
    version: int | None
    lines: Lines
    options: ServerOptions

    @property
    def text(self) -> str:
        """All of it, or nothing where it is too long to be a prompt."""
        return "" if self.is_too_long else self.lines.text

    @property
    def is_too_long(self) -> bool:
        """Whether nothing is told of it."""
        return len(self.lines.text) > MOST_CHARACTERS

    def diagnostics(self) -> list[types.Diagnostic]:
        """Tell what looks odd."""
        if self.is_too_long:
            message = (
                f"the text has {len(self.lines.text)} characters; up to {MOST_CHARACTERS} are read"
            )
            start = types.Position(0, 0)
            nowhere = types.Range(start, start)
            severity = types.DiagnosticSeverity.Information
            return [types.Diagnostic(nowhere, message, severity, source=_SOURCE)]
        found = diagnose(self.text, self.options.syntax, self.options.vocabulary)
        return [self._diagnostic(one) for one in found]

    def _diagnostic(self, found: Diagnostic) -> types.Diagnostic:
        message = f"{found.message}; {found.hint}" if found.hint else found.message
        related = [
            types.DiagnosticRelatedInformation(
                types.Location(self.uri, self._range(one.span)), one.message
            )
            for one in found.related
        ]
        known = found.code in DIAGNOSTIC_KINDS
        return types.Diagnostic(
            range=self._range(found.span or Span(0, 0)),
            message=message,
            severity=_SEVERITIES[found.severity],
            code=found.code if known else None,
            source=_SOURCE,
            related_information=related or None,
        )

    def completions(
        self, place: types.Position, *, explicit: bool, snippets: bool
    ) -> types.CompletionList:
        """Offer what can stand at a place."""
        offset = self._offset(place)
        found = complete(
            self.text,
            offset,
            self.options.vocabulary,
            self.options.syntax,
            explicit=explicit,
        )
        items = [
            self._item(one, number, offset, snippets) for number, one in enumerate(found.items)
        ]
        # The client's own idea of a word is not the prompt's: it asks again at each key.
        return types.CompletionList(is_incomplete=True, items=items)

    def _item(
        self, found: Completion, number: int, offset: int, snippets: bool
    ) -> types.CompletionItem:
        start, end = found.select
        text, form = found.text, types.InsertTextFormat.PlainText
        if snippets and start < len(text):
            form = types.InsertTextFormat.Snippet
            before, within, behind = (
                _SNIPPET_MARKS.sub(r"\\\g<0>", one)
                for one in (text[:start], text[start:end], text[end:])
            )
            text = f"{before}${{1:{within}}}{behind}" if within else f"{before}$0{behind}"
        label = f"{found.alias} → {found.label}" if found.alias else found.label
        return types.CompletionItem(
            label=label,
            kind=_ITEM_KINDS[found.kind],
            detail=found.detail or None,
            documentation=found.help or None,
            sort_text=f"{number:04}",
            filter_text=self.text[found.start : offset] or label,
            insert_text_format=form,
            text_edit=types.TextEdit(self._range(Span(found.start, found.end)), text),
        )

    def hover(self, place: types.Position) -> types.Hover | None:
        """Tell what the character at a place does."""
        found = hover(self.text, self._offset(place), self.options.vocabulary, self.options.syntax)
        if found is None:
            return None
        content = types.MarkupContent(types.MarkupKind.PlainText, found.text)
        return types.Hover(content, self._range(found.span))

    def tokens(self) -> types.SemanticTokens:
        """Tell what each stretch is, each by its distance from the one before, as the protocol has it."""
        return types.SemanticTokens(list(self._numbers()))

    def _numbers(self) -> Iterator[int]:
        last, column = 0, 0
        for token in semantic_tokens(self.text, self.options.syntax):
            line, units = self.lines.position(token.span.start)
            yield from (line - last, units - column if line == last else units)
            yield self.lines.units(token.span.start, token.span.end)
            weighed = token.kind == "words" and token.weight != 1
            yield _ORDER[token.kind]
            yield (1 if token.weight > 1 else 2) if weighed else 0
            last, column = line, units

    def formatted(self) -> list[types.TextEdit]:
        """Return the edits that set its spacing."""
        written = format_prompt(self.text, self.options.syntax)
        if written == self.text:
            return []
        return [types.TextEdit(self._range(Span(0, len(self.text))), written)]

    def actions(self, place: types.Range, only: Sequence[str] | None) -> list[types.CodeAction]:
        """Return what mends what is told of a place, and what changes its weight."""
        span = Span(self._offset(place.start), self._offset(place.end))
        span = Span(min(span.start, span.end), max(span.start, span.end))
        found: list[types.CodeAction] = []
        if _wanted("quickfix", only):
            options = self.options
            for one in code_actions(self.text, span, options.syntax, options.vocabulary):
                remedy = one.remedy
                found.append(
                    types.CodeAction(
                        one.title,
                        kind=types.CodeActionKind.QuickFix,
                        diagnostics=[self._diagnostic(one.diagnostic)],
                        edit=self._edit(remedy.span.start, remedy.span.end, remedy.text),
                    )
                )
        return [*found, *self._weights(span, only)]

    def _weights(self, span: Span, only: Sequence[str] | None) -> Iterator[types.CodeAction]:
        moves = (weight_up, weight_down)
        for (kind, title), move in zip(WEIGHT_ACTIONS.items(), moves, strict=True):
            edit: TextEdit | None = None
            if _wanted(kind, only):
                edit = move(self.text, span.start, span.end, syntax=self.options.syntax)
            if edit is not None:
                change = self._edit(edit.start, edit.end, edit.text)
                yield types.CodeAction(title, kind=kind, edit=change)

    def _edit(self, start: int, end: int, text: str) -> types.WorkspaceEdit:
        return types.WorkspaceEdit(
            {self.uri: [types.TextEdit(self._range(Span(start, end)), text)]}
        )

    def _range(self, span: Span) -> types.Range:
        start, end = self.lines.position(span.start), self.lines.position(span.end)
        return types.Range(types.Position(*start), types.Position(*end))

    def _offset(self, place: types.Position) -> int:
        return min(self.lines.offset(place.line, place.character), len(self.text))


def _wanted(kind: str, only: Sequence[str] | None) -> bool:
    """Return whether a client asks for actions of a kind; one of a class takes all below it."""
    if only is None:
        return True
    return any(kind == one or kind.startswith(f"{one}.") for one in only)
