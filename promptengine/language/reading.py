"""A text as it is read for all that is told of it: a template's marks are set aside, the rest is a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

from promptengine.kinds import tag_words
from promptengine.language.syntax import PromptSyntax
from promptengine.prompt.ast import Prompt, Span
from promptengine.prompt.dialects import DIALECTS
from promptengine.prompt.parser import parse
from promptengine.prompt.scheduled import ScheduledPrompt
from promptengine.prompt.templates import parse_template
from promptengine.prompt.templates.tree import (
    Assignment,
    Choice,
    Comment,
    Literal,
    Template,
    TemplateNode,
    Variable,
    Wildcard,
    Wrap,
)
from promptengine.validation import check_type

__all__ = ["Reading", "read", "warm_up"]

_MOST_SCHEDULED: Final = 500_000
"""Characters of schedules that are worked out while somebody types."""

_MOST_KEPT: Final = 10_000
"""Characters of a text whose reading is remembered."""

_STANDS_IN: Final = "x"
_SAMPLE: Final = "# a\n(a:1.1) [b:c:2] {d|e} <f:g> ADDCOL 1.1::h:: AND i"
_MarkedNode: TypeAlias = Choice | Assignment | Variable | Wildcard | Wrap


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        text: As written.
        syntax: How it was read.
        prompt: The tree; its source has the same length, with stand-ins for a template's marks.
        template: The template, where it is one.
        marks: What was set aside of it, in order, with the construct that it belongs to.
    """

    text: str
    syntax: PromptSyntax
    prompt: Prompt
    template: Template | None = None
    marks: tuple[tuple[Span, _MarkedNode], ...] = ()

    @cached_property
    def scheduled(self) -> ScheduledPrompt:
        """The prompt over the steps; over one alone where all would be too long."""
        whole = ScheduledPrompt(self.prompt, self.syntax.steps)
        return whole if whole.size <= _MOST_SCHEDULED else replace(whole, steps=1)

    def is_set_aside(self, span: Span) -> bool:
        """Return whether some of a place is a template's mark, and not the prompt's."""
        return any(mark.start < span.end and span.start < mark.end for mark, _ in self.marks)


def read(text: str, syntax: PromptSyntax) -> Reading:
    """Read a text. Editors ask several things about each state of one, for which it is read once.

    Raises:
        RequestError: It is no text, or the syntax is none.
    """
    check_type("text", text, str)
    check_type("syntax", syntax, PromptSyntax)
    # What a plugin's name stands for may change within a process.
    if len(text) > _MOST_KEPT or syntax.dialect not in DIALECTS.builtins:
        return _read(text, syntax)
    return _kept(text, syntax, tag_words())


@lru_cache(maxsize=4)
def _kept(text: str, syntax: PromptSyntax, _words: tuple[str, ...]) -> Reading:
    return _read(text, syntax)


def _read(text: str, syntax: PromptSyntax) -> Reading:
    template = parse_template(text) if syntax.dynamic else None
    marks = () if template is None else tuple(_marks(template.nodes))
    prompt = parse(
        _masked(text, marks),
        comments=syntax.comments,
        negative=syntax.negative,
        dialect=syntax.dialect,
    )
    return Reading(text, syntax, prompt, template, marks)


def warm_up() -> None:
    """Build the grammars of all dialects and of templates, which whoever asks first would wait for."""
    for dialect in DIALECTS.builtins:
        reading = _read(_SAMPLE, PromptSyntax(dialect, dynamic=True))
        _ = reading.scheduled.schedules


def _marks(nodes: Sequence[TemplateNode]) -> Iterator[tuple[Span, _MarkedNode]]:
    """Yield what is written of constructs beside the text in them; names of wildcards and variables are such."""
    place = 0
    waiting: list[tuple[Iterator[str | TemplateNode], TemplateNode | None]] = [(iter(nodes), None)]
    while waiting:
        pieces, owner = waiting[-1]
        piece = next(pieces, None)
        match piece:
            case None:
                waiting.pop()
            case str():
                if piece and owner is not None and not isinstance(owner, Literal | Comment):
                    yield Span(place, place + len(piece)), owner
                place += len(piece)
            case Wildcard(span=span):
                yield span, piece
                place = span.end
            case _:
                waiting.append((piece.pieces(), piece))


def _masked(text: str, marks: Sequence[tuple[Span, _MarkedNode]]) -> str:
    kept, pieces = 0, list[str]()
    for span, node in marks:
        stands_in = _STANDS_IN if isinstance(node, Wildcard | Variable) else " "
        pieces += [text[kept : span.start], stands_in * (span.end - span.start)]
        kept = span.end
    return "".join([*pieces, text[kept:]]) if pieces else text
