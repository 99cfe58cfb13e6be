"""What a template is, once read: frozen nodes that together are the text again.

A node keeps how its marks were written, so that :func:`unparse` needs no source. Two nodes are equal
where they say the same, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from promptengine.prompt.ast import Diagnostic, Span

__all__ = [
    "Argument",
    "Assignment",
    "Choice",
    "Comment",
    "Literal",
    "Nodes",
    "Option",
    "Template",
    "TemplateNode",
    "Variable",
    "Wildcard",
    "Wrap",
    "depth",
    "unparse",
]


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stays as it is, tags included."""

    text: str
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield self.text


@dataclass(frozen=True, slots=True)
class Comment:
    """``#`` and what follows it on its line; nothing of it gets into a prompt."""

    text: str
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of."""
        yield self.text


@dataclass(frozen=True, slots=True)
class Option:
    """One of a choice's options.

    Attributes:
        nodes: What it says.
        weight: How likely it is beside the others; 0 is never drawn.
        mark: What is written before it: the bar and the weight, or of the first the weight alone.
    """

    nodes: Nodes
    weight: float = 1.0
    mark: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """``{a|b}``: one of several options, or more than one.

    Attributes:
        options: At least one.
        low: The fewest that are taken.
        high: The most.
        separator: Stands between them.
        method: The mark of the method that picks them; empty for that around it.
        mark: How it opens, up to the first option's weight.
        span: From brace to brace.
    """

    options: tuple[Option, ...]
    low: int = 1
    high: int = 1
    separator: str = ","
    method: str = ""
    mark: str = field(default="{", compare=False)
    span: Span = field(default=Span(0, 0), compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield self.mark
        for option in self.options:
            yield option.mark
            yield from option.nodes
        yield "}"


@dataclass(frozen=True, slots=True)
class Argument:
    """What a wildcard's values are told: the value of a variable within them."""

    name: str
    value: Nodes


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``__name__``: one of the lines of a file.

    Attributes:
        name: Of the file, or a pattern; may hold variables and choices.
        arguments: Variables for the value.
        method: As for :class:`Choice`.
        written: The round brackets with the arguments, or nothing.
        span: From underscore to underscore.
    """

    name: Nodes
    arguments: tuple[Argument, ...]
    method: str
    written: Nodes | None = field(compare=False)
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield "__" + self.method
        yield from self.name
        if self.written is not None:
            yield from ("(", *self.written, ")")
        yield "__"


@dataclass(frozen=True, slots=True)
class Assignment:
    """``${name=value}``: sets a variable for the text around it.

    Attributes:
        name: The variable.
        value: What it stands for.
        immediate: Whether the value is drawn once, and not anew wherever the variable stands.
        overwrites: Whether it also counts where the variable is set already.
        mark: How it opens.
        span: From dollar to brace.
    """

    name: str
    value: Nodes
    immediate: bool
    overwrites: bool
    mark: str = field(compare=False)
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield self.mark
        yield from self.value
        yield "}"


@dataclass(frozen=True, slots=True)
class Variable:
    """``${name}`` or ``${name:default}``: what a variable stands for.

    Attributes:
        name: The variable.
        default: What is taken where it is not set; None where it must be.
        mark: How it opens.
        span: From dollar to brace.
    """

    name: str
    default: Nodes | None
    mark: str = field(compare=False)
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield self.mark
        yield from self.default or ()
        yield "}"


@dataclass(frozen=True, slots=True)
class Wrap:
    """``%{around ... it$$within}``: one text in the place of another's three dots.

    Attributes:
        around: Holds the dots.
        within: Takes their place.
        mark: How it opens.
        joint: What stands between the two.
        span: From the percent sign to the brace.
    """

    around: Nodes
    within: Nodes
    mark: str = field(compare=False)
    joint: str = field(compare=False)
    span: Span = field(compare=False)

    def pieces(self) -> Iterator[str | TemplateNode]:
        """Yield what it is written of: text, and nodes within."""
        yield self.mark
        yield from self.around
        yield self.joint
        yield from self.within
        yield "}"


TemplateNode: TypeAlias = Literal | Comment | Choice | Wildcard | Assignment | Variable | Wrap
"""A part of a template."""

Nodes: TypeAlias = tuple[TemplateNode, ...]
"""Parts in a row."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read.

    Attributes:
        source: The text.
        nodes: What it says.
        diagnostics: What a person would want to know about it.
    """

    source: str
    nodes: Nodes
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether nothing is drawn, so that the template is the prompt."""
        return all(isinstance(node, Literal) for node in self.nodes)


def unparse(nodes: Iterable[TemplateNode]) -> str:
    """Write nodes as they were read, at any depth of nesting."""
    written: list[str] = []
    waiting: list[Iterator[str | TemplateNode]] = [iter(nodes)]
    while waiting:
        piece = next(waiting[-1], None)
        if piece is None:
            waiting.pop()
        elif isinstance(piece, str):
            written.append(piece)
        else:
            waiting.append(piece.pieces())
    return "".join(written)


def depth(nodes: Sequence[TemplateNode]) -> int:
    """Return how many nodes stand in each other, at most; 1 for plain text, 0 for none."""
    deepest, level = 0, [*nodes]
    while level:
        deepest += 1
        level = [piece for node in level for piece in node.pieces() if not isinstance(piece, str)]
    return deepest
