"""Looking for other programs' prompt languages in a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from promptengine.prompt import remedies
from promptengine.prompt.ast import Diagnostic, Span
from promptengine.prompt.dialect_marks import (
    ANGLED,
    CHOICE,
    OTHERS,
    TABLE,
    WEBUI_LIKE,
    Range,
    Syntax,
)
from promptengine.prompt.dialects import WEBUI
from promptengine.prompt.quoting import quoted, told
from promptengine.prompt.source_map import MappedText

__all__ = ["Foreign", "dialect_of", "foreign_syntax"]


@dataclass(frozen=True, slots=True)
class Foreign:
    """What was found of other languages.

    Attributes:
        diagnostics: What to say of it.
        choices: Where braces hold bars, whose bars say nothing of their own.
    """

    diagnostics: tuple[Diagnostic, ...]
    choices: tuple[Span, ...]


def foreign_syntax(rest: MappedText, dialect: str = WEBUI) -> Foreign:
    """Look for other languages in a text without its comments and tags.

    Of two constructs at one place the one that stands first in the table is told. Tags that were left
    in the text are looked at as a whole, and not into.

    Args:
        rest: The text.
        dialect: Name of the one that it is read in.
    """
    text = rest.text
    diagnostics: list[Diagnostic] = []
    choices: tuple[Span, ...] = ()
    for whole_tags in (True, False):
        for syntax in TABLE:
            sought = syntax.tags == whole_tags and syntax.told_in(dialect)
            found = list(syntax.find(text)) if sought and syntax.marker in text else []
            if not found:
                continue
            text = _blanked(text, found)
            diagnostics += _told(syntax, rest, found, dialect)
            if syntax is CHOICE:
                choices = tuple(rest.span(*place) for place in found)
        text = _blanked(text, (tag.span() for tag in ANGLED.finditer(text)))
    return Foreign(tuple(diagnostics), choices)


def dialect_of(code: str) -> str | None:
    """Return the name of the dialect whose marks the diagnostics of a code tell of; None for other codes."""
    name = code.removesuffix("-syntax")
    return name if name != code and name in (*WEBUI_LIKE, *OTHERS) else None


def _told(
    syntax: Syntax, rest: MappedText, found: list[Range], dialect: str
) -> Iterator[Diagnostic]:
    # Mends are written in WebUI's marks.
    mends = dialect in WEBUI_LIKE

    def tell(place: Range) -> Diagnostic:
        change = syntax.mend(rest.text, *place) if mends else None
        return syntax.kind(
            f"{quoted(rest.text, *place)} is {syntax.program} and {syntax.says}",
            rest.span(*place),
            syntax.hint_in(dialect),
            None if change is None else remedies.replaced(rest, *change),
            severity=syntax.severity,
        )

    return told(found, tell)


def _blanked(text: str, places: Iterable[Range]) -> str:
    """Return a text of the same length with blanks at some places."""
    kept, pieces = 0, list[str]()
    for start, end in places:
        pieces += [text[kept:start], " " * (end - start)]
        kept = end
    return "".join([*pieces, text[kept:]]) if pieces else text
