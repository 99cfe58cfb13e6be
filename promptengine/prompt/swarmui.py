"""SwarmUI's prompts: tags that hold words, loras and breaks, and ComfyUI's weights.

``<alternate:a, b>`` and ``<fromto[0.5]:a, b>`` change over the steps; a number below 1 is a fraction. The
n-th call of the denoiser is step n, as SwarmUI counts them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

from promptengine.garbage import gc_paused
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import (
    Alternating,
    Diagnostic,
    Node,
    Part,
    Prompt,
    Related,
    Scheduled,
    Span,
    Tag,
    Text,
)
from promptengine.prompt.comfyui import bracket_diagnostics, weigh_with_breaks
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.other_syntax import foreign_syntax
from promptengine.prompt.quoting import quoted, told
from promptengine.prompt.source_map import join

__all__ = ["read_swarmui"]

_ALTERNATE = ("alternate", "alt")
_FROM_TO = "fromto"
_EMBEDDINGS = ("embed", "embedding")
_SECTIONS = ("segment", "region", "object", "clear", "refiner", "video", "videoswap", "extend")
_SPLITS = ("||", "|", ",")


def read_swarmui(text: str, *, comments: bool, negative: bool) -> Prompt:
    """Read a prompt of SwarmUI.

    Args:
        text: Any string.
        comments: Not looked at: ``<comment:…>`` is a comment there, and ``#`` is text.
        negative: Tags that ask for networks are words then, and a diagnostic says so.
    """
    tongue = _language()
    lexemes = tongue.lex(text)
    problems = _balance(lexemes)
    nodes: tuple[Node, ...] = tongue.parse(lexemes)
    kept, tags, found = _sorted_out(nodes, text, negative=negative)
    span = Span(0, len(text))
    part = Part(
        "".join(leaf.text for leaf in _texts(kept)),
        1.0,
        kept,
        span,
        weigh_with_breaks,
        exact_steps=True,
    )
    words = join(((leaf.text, leaf.span.start) for leaf in _texts(kept)), origin=0)
    others = foreign_syntax(words, "swarmui").diagnostics
    diagnostics = [*problems, *found, *bracket_diagnostics(words, breaks=True), *others]
    diagnostics.sort(key=lambda one: one.span.start if one.span else 0)
    return Prompt(text, tags, (part,), tuple(diagnostics), "swarmui")


@cache
def _language() -> Language:
    return language(
        "swarmui",
        {
            "start": tuple[Node, ...],
            "section": tuple[Node, ...],
            "alternating": _alternating,
            "scheduled": _scheduled,
            "tag": _tag,
            "TEXT": _leaf,
        },
    )


def _leaf(lexeme: Lexeme) -> Text:
    return Text(lexeme.text, Span(lexeme.start, lexeme.end))


def _alternating(children: list[Any]) -> Alternating:
    opener, *inside, closer = children
    arms = tuple(_stripped(section) for section in inside[::2])
    return Alternating(arms, Span(opener.start, closer.end))


def _scheduled(children: list[Any]) -> Scheduled:
    opener, before, _, after, closer = children
    span = Span(opener.start, closer.end)
    return Scheduled(_stripped(before), _stripped(after), _setting(opener), span)


def _tag(children: list[Any]) -> Tag:
    opener, *inside, closer = children
    words = "".join(leaf.text for leaf in _texts(inside))
    arguments = tuple(words.split(":")) if opener.text.endswith(":") else ()
    kind, setting = _kind(opener), _setting(opener)
    if kind == "lora" and len(arguments) == 3:
        # SwarmUI names the backbone's weight first, and a tag here the text encoder's.
        arguments = (arguments[0], arguments[2], arguments[1])
    extra = (setting,) if setting else ()
    return Tag(kind, (*arguments, *extra), Span(opener.start, closer.end))


def _kind(opener: Lexeme) -> str:
    return opener.text[1:].partition("[")[0].rstrip(":").lower()


def _setting(opener: Lexeme) -> str:
    return opener.text.partition("[")[2].partition("]")[0].strip()


def _stripped(section: Sequence[Node]) -> tuple[Node, ...]:
    """Take the white space off both ends of the words of a tag."""
    nodes = list(section)
    if nodes and isinstance(first := nodes[0], Text):
        text = first.text.lstrip()
        nodes[0] = Text(text, Span(first.span.end - len(text), first.span.end))
    if nodes and isinstance(last := nodes[-1], Text):
        text = last.text.rstrip()
        nodes[-1] = Text(text, Span(last.span.start, last.span.start + len(text)))
    return tuple(nodes)


@dataclass(slots=True)
class _Frame:
    """A tag that is open, with what may split its words."""

    opener: Lexeme
    splits: list[Lexeme] = field(default_factory=list[Lexeme])


class _Problem(NamedTuple):
    """Why something is no tag: where, in words, and what else belongs to it."""

    place: Lexeme
    message: str
    related: tuple[Related, ...] = ()


def _balance(lexemes: list[Lexeme]) -> list[Diagnostic]:
    """Retype the lexemes of a text so that they fit ``swarmui.lark``, and say what is no tag."""
    stack: list[_Frame] = []
    problems: list[_Problem] = []
    for lexeme in lexemes:
        match lexeme.type:
            case "OPEN":
                stack.append(_Frame(lexeme))
            case "SPLIT" if stack:
                stack[-1].splits.append(lexeme)
            case "SPLIT":
                lexeme.type = "TEXT"
            case "CLOSE" if stack:
                frame = stack.pop()
                problem = _close(frame)
                if problem:
                    begun = Related(Span(frame.opener.start, frame.opener.end), "where it begins")
                    problems.append(_Problem(lexeme, problem, (begun,)))
                    lexeme.type = "TEXT"
            case "CLOSE":
                lexeme.type = "TEXT"
            case _:
                pass
    for frame in stack:
        message = f"{quoted(frame.opener.text)} is not closed and is text"
        problems.append(_Problem(frame.opener, message))
        for lexeme in (frame.opener, *frame.splits):
            lexeme.type = "TEXT"
    return [
        *told(
            problems,
            lambda one: kinds.ALMOST_TAG(
                one.message,
                Span(one.place.start, one.place.end),
                "write it as SwarmUI does",
                related=one.related,
            ),
        )
    ]


def _close(frame: _Frame) -> str:
    """Give a tag its meaning, or make it text and say why."""
    kind = _kind(frame.opener)
    mark = next((mark for mark in _SPLITS if any(one.text == mark for one in frame.splits)), "")
    arms = 1 + sum(one.text == mark for one in frame.splits)
    changes = kind in _ALTERNATE or kind == _FROM_TO
    problem = ""
    if kind in _ALTERNATE and arms < 2:
        problem = "<alternate:…> needs two or more entries, so it is text"
    elif kind == _FROM_TO and arms != 2:
        problem = f"<fromto[…]:…> needs two entries (got {arms}), so it is text"
    elif kind == _FROM_TO and not _is_number(_setting(frame.opener)):
        problem = "<fromto[…]:…> needs a step or a fraction in its brackets, so it is text"
    for lexeme in frame.splits:
        splits = changes and not problem and lexeme.text == mark
        lexeme.type = "SPLIT" if splits else "TEXT"
    if problem:
        frame.opener.type = "TEXT"
    else:
        frame.opener.type = (
            "ALTERNATE" if kind in _ALTERNATE else "FROMTO" if kind == _FROM_TO else "OPEN"
        )
    return problem


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


@dataclass(slots=True)
class _Sorting:
    """Tags taken out of the words, and what is said of them."""

    text: str
    negative: bool
    tags: list[Tag] = field(default_factory=list[Tag])
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def instead(self, tag: Tag) -> Node | None:
        """Return the words that stand for a tag, or None; collect it where it asks for something."""
        written = Text(self.text[tag.span.start : tag.span.end], tag.span)
        if tag.kind == "break":
            return Text("<break>", tag.span)
        if tag.kind in _EMBEDDINGS and tag.arguments:
            return Text(":".join(tag.arguments), tag.span)
        if tag.kind in ("comment", "base"):
            return None
        if self.negative:
            message = f"{quoted(written.text)} is text in a negative prompt"
            self.found.append(
                kinds.TAG_IN_NEGATIVE(message, tag.span, "tags go into the prompt", severity="info")
            )
            return written
        if tag.arguments:
            self.tags.append(tag)
            return None
        message = f"{quoted(written.text)} is not known here and is left out"
        self.found.append(kinds.UNKNOWN_TAG(message, tag.span, "take it out"))
        return None


def _sorted_out(
    nodes: Sequence[Node], text: str, *, negative: bool
) -> tuple[tuple[Node, ...], tuple[Tag, ...], list[Diagnostic]]:
    """Take tags out of the words; a tag that begins a section ends the prompt.

    Returns:
        What is left, the tags, and what is said of them.
    """
    sorting = _Sorting(text, negative)
    for index, node in enumerate(nodes):
        if isinstance(node, Tag) and node.kind in _SECTIONS:
            span = Span(node.span.start, len(text))
            message = f"from {quoted(text, node.span.start, node.span.end)} on the prompt is for a part of the image or another pass, and is left out"
            sorting.found.append(kinds.PART_LEFT_OUT(message, span, "take it out"))
            nodes = nodes[:index]
            break
    kept = _without(nodes, sorting)
    return kept, tuple(sorting.tags), sorting.found


@gc_paused
def _without(nodes: Sequence[Node], sorting: _Sorting) -> tuple[Node, ...]:
    """Rebuild a tree without tags, at any depth of nesting."""
    # Each level: what is left to do, what is done, and what to make of it.
    levels: list[tuple[Iterator[Any], list[Any], Node | None]] = [(iter(nodes), [], None)]
    while True:
        pending, done, parent = levels[-1]
        for node in pending:
            match node:
                case Tag():
                    instead = sorting.instead(node)
                    done += [] if instead is None else [instead]
                case Scheduled(before, after):
                    levels.append((iter((before, after)), [], node))
                    break
                case Alternating(arms):
                    levels.append((iter(arms), [], node))
                    break
                case tuple():
                    levels.append((iter(node), [], None))
                    break
                case _:
                    done.append(node)
        else:
            levels.pop()
            if not levels:
                return tuple(done)
            levels[-1][1].append(_rebuilt(parent, done))


def _rebuilt(parent: Node | None, done: list[Any]) -> Any:
    match parent:
        case Scheduled():
            return replace(parent, before=done[0], after=done[1])
        case Alternating():
            return replace(parent, arms=tuple(done))
        case _:
            return tuple(done)


def _texts(nodes: Iterable[Node]) -> Iterator[Text]:
    """Yield the words of all branches, in the order of the source."""
    pending: list[Node] = list(reversed(list(nodes)))
    while pending:
        match pending.pop():
            case Text() as text:
                yield text
            case Scheduled(before, after):
                pending += reversed((*before, *after))
            case Alternating(arms):
                pending += reversed([node for arm in arms for node in arm])
            case Tag(span=span) as tag:
                yield Text(":".join(tag.arguments), span)
            case _:
                pass
