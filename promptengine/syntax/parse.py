"""Text to :class:`Prompt`: comments, tags, ``AND``, and the bracket language of each part.

Each stage works on what the one before leaves, as in WebUI 1.8 to 1.10. Every string is a prompt:
what does not fit is literal text, and a diagnostic says so. Time and memory are linear in the length
of the text, at any depth of nesting.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, cast

from promptengine.syntax import diagnose
from promptengine.syntax.balance import balance
from promptengine.syntax.collector import uncollected
from promptengine.syntax.excerpt import Excerpt, take, whole
from promptengine.syntax.grammar import Language, Lexeme, language, place
from promptengine.syntax.tree import (
    Alternating,
    Diagnostic,
    Group,
    Node,
    Part,
    Prompt,
    Scheduled,
    Span,
    Tag,
    Text,
)

__all__ = ["parse"]

_COMMENT = re.compile(r"#[^\n]*")
_SCHEDULE_SPECIAL = re.compile(r"[\\\[\]():|]")


@uncollected
def parse(text: str, *, comments: bool = True, negative: bool = False) -> Prompt:
    """Read a prompt.

    Args:
        text: Any string; lone surrogates and NULs are characters like others.
        comments: Whether ``#`` begins a comment that reaches to the end of its line.
        negative: Read as a negative prompt: tags stay words, there is one part, of weight 1.

    Returns:
        The tree, and what a person would want to know about it. Never raises.
    """
    rest = whole(text)
    if comments and "#" in text:
        rest = _without_comments(rest)
    tags: tuple[Tag, ...] = ()
    if negative:
        diagnostics = diagnose.tags_in_negative(rest)
        operands = [(rest, 1.0)]
    else:
        tags, rest = _without_tags(rest)
        operands = _operands(rest)
        diagnostics = [*diagnose.tags(tags), *diagnose.almost_tags(rest)]
        if len(operands) == 1:
            diagnostics += diagnose.weight_without_and(rest, *operands[0])
    parts: list[Part] = []
    for operand, weight in operands:
        nodes, found = _read(operand)
        span = operand.span(0, len(operand.text))
        parts.append(Part(operand.text, weight, nodes, span))
        diagnostics += found
    diagnostics.sort(key=_place_of)
    return Prompt(text, tags, tuple(parts), tuple(diagnostics))


def _place_of(diagnostic: Diagnostic) -> int:
    return diagnostic.span.start if diagnostic.span else 0


def _without_comments(excerpt: Excerpt) -> Excerpt:
    """Reduce each comment to the newline that ends it; one that ends the text becomes one."""
    text, kept, ranges = excerpt.text, 0, list[tuple[int, int]]()
    for comment in _COMMENT.finditer(text):
        end = comment.end()
        if end == len(text):
            # The newline needs a place in the source: it stands in for the comment's last character.
            end -= 1
            text = text[:end] + "\n"
        ranges.append((kept, comment.start()))
        kept = end
    return take(Excerpt(text, excerpt.starts, excerpt.origins), [*ranges, (kept, len(text))])


def _without_tags(excerpt: Excerpt) -> tuple[tuple[Tag, ...], Excerpt]:
    """Take the tags out."""
    text = excerpt.text
    # Past the last ">" there is no tag, and looking for its end from each "<" would be quadratic.
    end = text.rfind(">") + 1
    if not end or "<" not in text:
        return (), excerpt
    tongue = _tags()
    lexemes: list[Lexeme] = tongue.parse(tongue.lex(text, end))
    tags: list[Tag] = []
    kept: list[tuple[int, int]] = []
    for lexeme in lexemes:
        if lexeme.type == "TAG":
            kind, *arguments = lexeme.text[1:-1].split(":")
            tags.append(Tag(kind, tuple(arguments), excerpt.span(lexeme.start, lexeme.end)))
        else:
            kept.append((lexeme.start, lexeme.end))
    return tuple(tags), take(excerpt, [*kept, (end, len(text))]) if tags else excerpt


def _operands(excerpt: Excerpt) -> list[tuple[Excerpt, float]]:
    """Split at ``AND``, and a trailing weight off each operand."""
    text = excerpt.text
    last = text.rstrip()[-1:]
    if "AND" not in text and not (last == "." or last.isdecimal()):
        return [(take(excerpt, [(0, len(text.rstrip()))]), 1.0)]
    tongue = _conjunction()
    found: list[tuple[Excerpt, float]] = []
    operand: list[Lexeme] = []
    start = 0
    # An AND after the last operand ends it like any other.
    for child in tongue.parse([*tongue.lex(text), Lexeme("AND", "", len(text), len(text))]):
        if isinstance(child, list):
            operand = cast(list[Lexeme], child)
            continue
        end, weight = child.start, 1.0
        if operand and operand[-1].type == "WEIGHT":
            end, weight = operand[-1].start, float(operand[-1].text[1:])
        end = start + len(text[start:end].rstrip())
        found.append((take(excerpt, [(start, end)]), weight))
        start = child.end
    return found


def _read(excerpt: Excerpt) -> tuple[tuple[Node, ...], list[Diagnostic]]:
    """Read the bracket language of one part."""
    if not _SCHEDULE_SPECIAL.search(excerpt.text):
        return _literal(excerpt), []
    tongue = _schedule()
    lexemes = tongue.lex(excerpt.text)
    balanced = balance(lexemes)
    found = list(diagnose.brackets(excerpt, lexemes, balanced))
    lexemes = place(lexemes if balanced.raw is None else [], excerpt)
    nodes = tongue.parse(lexemes)
    breaks = diagnose.weighted_breaks(nodes) if "BREAK" in excerpt.text else ()
    return nodes, [*found, *breaks]


def _literal(excerpt: Excerpt) -> tuple[Text, ...]:
    """Return a part's text as it is."""
    return tuple(map(_leaf, place([], excerpt)))


@cache
def _tags() -> Language:
    return language("tags", {"start": list[Lexeme]})


@cache
def _conjunction() -> Language:
    return language("conjunction", {"start": list[object], "operand": list[Lexeme]})


@cache
def _schedule() -> Language:
    terminals = "TEXT", "NUMBER", "LPAR", "RPAR", "LSQB", "RSQB", "COLON", "BAR"
    functions = {
        "start": tuple[Node, ...],
        "section": tuple[Node, ...],
        "group": _group,
        "scheduled": _scheduled,
        "alternating": _alternating,
    }
    return language("schedule", {**dict.fromkeys(terminals, _leaf), **functions})


def _leaf(lexeme: Lexeme) -> Text:
    return Text(lexeme.text, Span(lexeme.start, lexeme.end))


def _group(children: list[Node]) -> Group:
    return Group(tuple(children), Span(children[0].span.start, children[-1].span.end))


def _scheduled(children: list[Any]) -> Scheduled:
    # SCHEDULE [section COLON] section COLON NUMBER RSQB
    opener, *before, after, _, number, closer = children
    span = Span(opener.start, closer.span.end)
    return Scheduled(before[0] if before else (), after, number.text.strip(), span)


def _alternating(children: list[Any]) -> Alternating:
    # ALTERNATION section (BAR section)+ RSQB
    span = Span(children[0].start, children[-1].span.end)
    return Alternating(tuple(children[1:-1:2]), span)
