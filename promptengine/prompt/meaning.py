"""What a prompt says, whatever dialect it is written in: literal words with weights, and what changes them.

Dialects keep their own marks in the tree, because weights may only show once the words of a step are known.
Here they are worked out for all branches at once, which is right as long as brackets do not reach across the
border of a branch; whoever needs to be sure compares schedules (``translate.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from promptengine.garbage import gc_paused
from promptengine.prompt.ast import (
    Alternating,
    Break,
    Fragment,
    Group,
    MixKind,
    Node,
    Part,
    Prompt,
    Scheduled,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.emphasis import attention
from promptengine.prompt.schedule import bracketed_tags
from promptengine.prompt.source_map import MappedText, join
from promptengine.prompt.weighing import BREAK_WEIGHT

__all__ = ["Change", "Clause", "Joint", "Meaning", "Piece", "Turn", "Words", "meaning_of"]

Joint: TypeAlias = Literal["and"] | MixKind
"""How clauses become one prompt; ``and`` adds up what the model answers to each."""


@dataclass(frozen=True, slots=True)
class Words:
    """Literal words, and how much they weigh at last."""

    text: str
    weight: float
    span: Span


@dataclass(frozen=True, slots=True)
class Change:
    """One thing up to a step, another from then on.

    Attributes:
        before: What is said at first.
        after: What is said then.
        when: A step, or a share of the steps.
        share: Which of both it is.
        span: Its place.
    """

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    when: float
    share: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Turn:
    """Several things in turn, step by step."""

    arms: tuple[tuple[Piece, ...], ...]
    span: Span


Piece: TypeAlias = Words | Break | Tag | Change | Turn


@dataclass(frozen=True, slots=True)
class Clause:
    """What is encoded on its own, and its weight beside others."""

    pieces: tuple[Piece, ...]
    weight: float
    span: Span


@dataclass(frozen=True, slots=True)
class Meaning:
    """A whole prompt.

    Attributes:
        clauses: One at least.
        joint: How they become one.
        tags: Those that always hold.
        exact_steps: As of the parts.
    """

    clauses: tuple[Clause, ...]
    joint: Joint
    tags: tuple[Tag, ...]
    exact_steps: bool


@gc_paused
def meaning_of(prompt: Prompt) -> Meaning:
    """Work out what a prompt says."""
    bracketed = frozenset(tag for part in prompt.parts for tag in bracketed_tags(part))
    joint: Joint = "and"
    clauses: list[Clause] = []
    for part in prompt.parts:
        weights: Sequence[float] = (part.weight,)
        if part.mix is not None:
            joint, weights = part.mix.kind, part.mix.weights
        for arm, weight in zip(part.arms, weights, strict=True):
            clauses.append(Clause(_pieces(arm, part), weight, part.span))
    return Meaning(
        tuple(clauses),
        joint,
        tuple(tag for tag in prompt.tags if tag not in bracketed),
        prompt.parts[0].exact_steps,
    )


_Event: TypeAlias = tuple[Literal["open", "split", "close", "tag"], Node]


def _pieces(nodes: Sequence[Node], part: Part) -> tuple[Piece, ...]:
    """Read the weights of all branches in one text, with a mark at each border."""
    texts: list[Text | None] = []
    events: list[_Event] = []
    for found in _linear(nodes):
        if isinstance(found, Text):
            texts.append(found)
        else:
            texts.append(None)
            events.append(found)
    chunks: list[list[Piece]] = []
    for mark in _unused("".join(text.text for text in texts if text is not None), part):
        fragments = (part.weigh or attention)(_marked(texts, mark, part))
        chunks = list(_between(fragments, mark))
        if len(chunks) == len(events) + 1:
            break
    return _built(chunks, events, part)


def _marked(texts: Sequence[Text | None], mark: str, part: Part) -> MappedText:
    """Join texts; None stands for a border."""
    place, pieces = part.span.start, list[tuple[str, int]]()
    for text in texts:
        pieces.append((mark, place) if text is None else (text.text, text.span.start))
        place = place if text is None else text.span.end
    return join(pieces, origin=part.span.start)


def _linear(nodes: Sequence[Node]) -> Iterator[Text | _Event]:
    """Yield texts and borders in the order of the source, at any depth of nesting."""
    pending: list[Node | _Event] = list(reversed(nodes))
    while pending:
        node = pending.pop()
        match node:
            case Text() | tuple():
                yield node
            case Tag():
                yield "tag", node
            case Group(children):
                pending += reversed(children)
            case Scheduled(before, after):
                yield "open", node
                pending.append(("close", node))
                pending += reversed(after)
                pending.append(("split", node))
                pending += reversed(before)
            case Alternating(arms):
                yield "open", node
                pending.append(("close", node))
                for number, arm in enumerate(reversed(arms)):
                    pending += reversed(arm)
                    if number + 1 < len(arms):
                        pending.append(("split", node))


_MARKS: Final = (*range(0xE000, 0xF900), *range(0xF0000, 0x10FFFE))


def _unused(text: str, part: Part) -> Iterator[str]:
    """Yield characters that a text does not hold; the last one means nothing in any dialect."""
    # ComfyUI looks for white space before a name, but a weight at a border takes that along. WebUI takes white
    # space around BREAK away.
    if part.weigh is not None and "\x1f" not in text:
        yield "\x1f"
    held = set(text)
    yield next(chr(code) for code in _MARKS if chr(code) not in held)


def _between(fragments: Iterable[Fragment], mark: str) -> Iterator[list[Piece]]:
    """Yield what stands between marks."""
    chunk: list[Piece] = []
    for fragment in fragments:
        # Within brackets it has another weight, and is a word.
        if fragment.text == "BREAK" and fragment.weight == BREAK_WEIGHT:
            chunk.append(Break(fragment.span))
            continue
        for number, text in enumerate(fragment.text.split(mark)):
            if number:
                yield chunk
                chunk = []
            if text:
                chunk.append(Words(text, fragment.weight, fragment.span))
    yield chunk


@dataclass(slots=True)
class _Frame:
    """A change or a turn that is being built; the outermost has no node."""

    node: Node | None
    arms: list[tuple[Piece, ...]] = field(default_factory=list[tuple[Piece, ...]])
    current: list[Piece] = field(default_factory=list[Piece])


def _built(
    chunks: Sequence[list[Piece]], events: Sequence[_Event], part: Part
) -> tuple[Piece, ...]:
    stack = [_Frame(None, current=list(chunks[0]))]
    for (event, node), chunk in zip(events, chunks[1:], strict=True):
        match event:
            case "open":
                stack.append(_Frame(node))
            case "split":
                stack[-1].arms.append(tuple(stack[-1].current))
                stack[-1].current = []
            case "tag" if isinstance(node, Tag):
                stack[-1].current.append(node)
            case _:
                frame = stack.pop()
                arms = (*frame.arms, tuple(frame.current))
                stack[-1].current.append(_changing(frame.node, arms, part))
        stack[-1].current += chunk
    return tuple(stack[0].current)


def _changing(node: Node | None, arms: tuple[tuple[Piece, ...], ...], part: Part) -> Piece:
    if not isinstance(node, Scheduled):
        return Turn(arms, part.span if node is None else node.span)
    value = float(node.when)
    share = value < 1 if part.exact_steps else "." in node.when
    return Change(arms[0], arms[1], max(value, 0.0), share, node.span)
