"""Writing what a prompt says in a dialect, and noting what it has no words for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Break, Diagnostic, Span, Tag
from promptengine.prompt.diagnostic_kinds import DiagnosticKind
from promptengine.prompt.meaning import Change, Joint, Meaning, Piece, Turn, Words
from promptengine.prompt.quoting import quoted

__all__ = ["Notes", "Style", "number", "step", "surrounded", "write"]


@dataclass(slots=True)
class Notes:
    """What could not be written, while it is written.

    Attributes:
        dialect: That is written, as sentences name it.
        found: So far, each thing once.
    """

    dialect: str
    found: dict[Diagnostic, None] = field(default_factory=dict[Diagnostic, None])

    def add(self, kind: DiagnosticKind, message: str, span: Span | None, hint: str = "") -> None:
        """Note something, each thing once."""
        self.found[kind(message, span, hint)] = None


@dataclass(frozen=True, slots=True)
class Style:
    """How a dialect writes each thing; None where it has no words for it.

    Attributes:
        words: Literal words of a weight, given whether they stand in a change or turn.
        change: A change, given both its texts.
        turn: A turn, given its texts.
        breaks: Begins a new chunk.
        tag: A network's tag; an empty text where it cannot be said.
        join: Several clauses with their weights.
        glue: Puts a text behind another one, where they would be read together; it adds nothing but white space
            between them.
        schedules_tags: Whether tags in brackets hold at some steps only.
    """

    words: Callable[[Words, bool, Notes], str]
    change: Callable[[Change, str, str], str] | None
    turn: Callable[[Sequence[str]], str] | None
    breaks: str | None
    tag: Callable[[Tag], str]
    join: Callable[[Sequence[tuple[str, float]], Joint, Notes, Span], str]
    glue: Callable[[str, str], str] = lambda before, behind: before + behind
    schedules_tags: bool = False


def write(meaning: Meaning, style: Style, notes: Notes) -> str:
    """Write a prompt.

    Args:
        meaning: What it says.
        style: How.
        notes: Takes what cannot be said.
    """
    clauses = [(_written(one.pieces, style, notes), one.weight) for one in meaning.clauses]
    span = Span(meaning.clauses[0].span.start, meaning.clauses[-1].span.end)
    if len(clauses) == 1 and meaning.joint not in ("sum", "concatenate"):
        meaning_joint: Joint = "and"
    else:
        meaning_joint = meaning.joint
    text = style.join(clauses, meaning_joint, notes, span)
    tags = " ".join(filter(None, (_tag(tag, style, notes) for tag in meaning.tags)))
    return f"{text} {tags}" if tags and text and not text[-1].isspace() else text + tags


def _tag(tag: Tag, style: Style, notes: Notes) -> str:
    written = style.tag(tag)
    if not written:
        named = quoted(f"<{':'.join((tag.kind, *tag.arguments))}>")
        notes.add(
            kinds.LEFT_OUT_THERE,
            f"{named} cannot be asked for in {notes.dialect} and is left out",
            tag.span,
        )
    return written


@dataclass(slots=True)
class _Level:
    """Pieces that are being written, at one depth of nesting."""

    pieces: Iterator[Piece]
    owner: Change | Turn | None = None
    written: list[str] = field(default_factory=list[str])
    arms: list[str] = field(default_factory=list[str])
    waiting: list[tuple[Piece, ...]] = field(default_factory=list[tuple[Piece, ...]])

    @property
    def text(self) -> str:
        """What is written so far."""
        return "".join(self.written)

    def put(self, text: str, style: Style) -> None:
        """Write something behind the rest, of which only the last piece is looked at."""
        if text:
            last = self.written[-1] if self.written else ""
            self.written.append(style.glue(last, text)[len(last) :])


def _written(pieces: Sequence[Piece], style: Style, notes: Notes) -> str:
    """Write pieces, at any depth of nesting."""
    levels = [_Level(iter(pieces))]
    while True:
        level = levels[-1]
        piece = next(level.pieces, None)
        match piece:
            case None if level.waiting:
                level.arms.append(level.text)
                level.written = []
                level.pieces = iter(level.waiting.pop())
            case None if level.owner is None:
                return level.text
            case None:
                levels.pop()
                text = _changing(level.owner, [*level.arms, level.text], style, notes)
                levels[-1].put(text, style)
            case Change(before, after):
                levels.append(_Level(iter(before), piece, waiting=[after]))
            case Turn(arms):
                levels.append(_Level(iter(arms[0]), piece, waiting=list(arms[:0:-1])))
            case _:
                level.put(_leaf(piece, len(levels) > 1, style, notes), style)


def _leaf(piece: Words | Break | Tag, inside: bool, style: Style, notes: Notes) -> str:
    match piece:
        case Words():
            return style.words(piece, inside, notes)
        case Break(span):
            if style.breaks is None:
                notes.add(
                    kinds.LEFT_OUT_THERE,
                    f"{notes.dialect} has no break between chunks; it is left out",
                    span,
                )
            return f" {style.breaks or ''} "
        case Tag(span=span) as tag:
            if not style.schedules_tags:
                notes.add(kinds.CHANGED_THERE, "a tag in brackets holds at all steps there", span)
            return _tag(tag, style, notes)


def _changing(owner: Any, arms: Sequence[str], style: Style, notes: Notes) -> str:
    first = next((arm for arm in arms if arm.strip()), "")
    if isinstance(owner, Change):
        if owner.share and owner.when >= 1:
            return arms[0]
        if owner.when == 0:
            return arms[1]
        if style.change is not None:
            return style.change(owner, arms[0], arms[1])
    elif style.turn is not None:
        return style.turn(arms)
    message = (
        f"nothing changes over the steps in {notes.dialect}; {quoted(first)} is written for all"
    )
    notes.add(kinds.LEFT_OUT_THERE, message, owner.span, "make an image of each")
    return first


def number(value: float) -> str:
    """Write a number without an exponent, to six digits."""
    if not math.isfinite(value):
        value = math.copysign(1e6, value)
    written = f"{Decimal(f'{value:.6g}'):f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def step(value: float) -> str:
    """Write the first step of those that begin at a place or after it."""
    return number(math.ceil(value) if math.isfinite(value) else value)


def surrounded(text: str, before: str, behind: str) -> str:
    """Put marks around words, inside of the white space around these."""
    core = text.strip()
    if not core:
        return text
    start = text.index(core)
    return text[:start] + before + core + behind + text[start + len(core) :]
