"""Text to :class:`Prompt`: comments, tags, ``AND``, and the bracket language of each part.

Each stage works on what the one before leaves, as in WebUI 1.8 to 1.10. Every string is a prompt:
what does not fit is literal text, and a diagnostic says so. Time and memory are linear in the length
of the text, at any depth of nesting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    Dialect,
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

_UNASSIGNED = (*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))
"""Code points that Unicode will never assign: the noncharacters first, then those of private use."""

_SQUARE = re.compile(r"\\.|[\[\]]", re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_SCHEDULE_SPECIAL = re.compile(r"[\\\[\]():|]")


@uncollected
def parse(
    text: str, *, comments: bool = True, negative: bool = False, dialect: Dialect = "webui"
) -> Prompt:
    """Read a prompt.

    Args:
        text: Any string; lone surrogates and NULs are characters like others.
        comments: Whether ``#`` begins a comment that reaches to the end of its line.
        negative: Read as a negative prompt: tags stay words, there is one part, of weight 1.
        dialect: In the ``extended`` one a tag within ``[before:after:when]`` or ``[a|b]`` holds at the
            steps at which text in its place would; all else is the same.

    Returns:
        The tree, and what a person would want to know about it. Never raises.
    """
    rest = whole(text)
    if comments and "#" in text:
        rest = _without_comments(rest)
    tags: tuple[Tag, ...] = ()
    marks = _Marks("", {})
    if negative:
        diagnostics = diagnose.tags_in_negative(rest)
        operands = [(rest, 1.0)]
    else:
        tags, rest, marks = _without_tags(rest, dialect)
        operands = _operands(rest)
        diagnostics = [*diagnose.tags(tags), *diagnose.almost_tags(marks.cleared(rest))]
        if len(operands) == 1:
            diagnostics += diagnose.weight_without_and(rest, *operands[0])
    parts: list[Part] = []
    for operand, weight in operands:
        nodes, found = _read(operand, marks)
        span = operand.span(0, len(operand.text))
        parts.append(Part(marks.cleared(operand).text, weight, nodes, span))
        diagnostics += found
    diagnostics.sort(key=_place_of)
    return Prompt(text, tags, tuple(parts), tuple(diagnostics), dialect)


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


@dataclass(frozen=True, slots=True)
class _Marks:
    """Where tags stand that a bracket may schedule.

    Attributes:
        mark: The character that stands for each of them in the text; empty where there is none.
        tags: By their place in the source.
    """

    mark: str
    tags: Mapping[int, Tag]

    def cleared(self, excerpt: Excerpt) -> Excerpt:
        """Return an excerpt without marks."""
        if not self.mark or self.mark not in excerpt.text:
            return excerpt
        pieces = re.finditer(f"[^{self.mark}]+", excerpt.text)
        return take(excerpt, [piece.span() for piece in pieces] or [(0, 0)])

    def split(self, lexemes: list[Lexeme], excerpt: Excerpt) -> list[Lexeme]:
        """Return lexemes with each mark as one of its own, which says the tag."""
        if not self.mark:
            return lexemes
        found: list[Lexeme] = []
        for lexeme in lexemes:
            start = lexeme.start
            for piece in re.split(f"({self.mark})", lexeme.text):
                end = start + len(piece)
                if piece == self.mark:
                    tag = self.tags[excerpt.locate(start)]
                    text = f"<{':'.join((tag.kind, *tag.arguments))}>"
                    found.append(Lexeme("TAG", text, start, end))
                elif piece:
                    found.append(Lexeme(lexeme.type, piece, start, end))
                start = end
        return found


def _without_tags(excerpt: Excerpt, dialect: Dialect) -> tuple[tuple[Tag, ...], Excerpt, _Marks]:
    """Take the tags out, but for a mark where one stands in square brackets and may be scheduled."""
    text, no_marks = excerpt.text, _Marks("", {})
    # Past the last ">" there is no tag, and looking for its end from each "<" would be quadratic.
    end = text.rfind(">") + 1
    if not end or "<" not in text:
        return (), excerpt, no_marks
    tongue = _tags()
    lexemes: list[Lexeme] = tongue.parse(tongue.lex(text, end))
    mark = _free_character(text) if dialect == "extended" else ""
    tags: list[Tag] = []
    kept: list[tuple[int, int]] = []
    marked: dict[int, Tag] = {}
    depth, pieces = 0, list[str]()
    for lexeme in lexemes:
        if lexeme.type != "TAG":
            kept.append((lexeme.start, lexeme.end))
            pieces.append(lexeme.text)
            depth = _depth(depth, lexeme.text) if mark else 0
            continue
        tag = _tag(lexeme.text, excerpt.span(lexeme.start, lexeme.end))
        tags.append(tag)
        if depth and mark:
            marked[tag.span.start] = tag
            kept.append((lexeme.start, lexeme.start + 1))
            pieces.append(mark)
    if not tags:
        return (), excerpt, no_marks
    rest = take(excerpt, [*kept, (end, len(text))])
    if marked:
        rest = replace(rest, text="".join([*pieces, text[end:]]))
    return tuple(tags), rest, _Marks(mark if marked else "", marked)


def _tag(text: str, span: Span) -> Tag:
    kind, *arguments = text[1:-1].split(":")
    return Tag(kind, tuple(arguments), span)


def _depth(depth: int, text: str) -> int:
    """How many square brackets are open after a text; a closer without a partner counts for nothing."""
    for bracket in _SQUARE.finditer(text):
        depth = max(0, depth + {"[": 1, "]": -1}.get(bracket[0], 0))
    return depth


def _free_character(text: str) -> str:
    """A character that a text does not hold, and that is no letter, blank or bracket."""
    used = set(text)
    return next((c for c in map(chr, _UNASSIGNED) if c not in used), "")


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


def _read(excerpt: Excerpt, marks: _Marks) -> tuple[tuple[Node, ...], list[Diagnostic]]:
    """Read the bracket language of one part."""
    if not _SCHEDULE_SPECIAL.search(excerpt.text):
        return _literal(marks.cleared(excerpt)), []
    tongue = _schedule()
    lexemes = marks.split(tongue.lex(excerpt.text), excerpt)
    balanced = balance(lexemes)
    found = list(diagnose.brackets(excerpt, lexemes, balanced))
    if balanced.raw is not None:
        excerpt = marks.cleared(excerpt)
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
    leaves = {**dict.fromkeys(terminals, _leaf), "TAG": _tag_leaf}
    return language("schedule", {**leaves, **functions})


def _leaf(lexeme: Lexeme) -> Text:
    return Text(lexeme.text, Span(lexeme.start, lexeme.end))


def _tag_leaf(lexeme: Lexeme) -> Tag:
    return _tag(lexeme.text, Span(lexeme.start, lexeme.start + len(lexeme.text)))


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
