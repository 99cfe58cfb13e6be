"""Text to :class:`Prompt`: comments, tags, ``AND``, and the bracket language of each part.

Each stage works on what the one before leaves, as in WebUI 1.8 to 1.10. Every string is a prompt:
what does not fit is literal text, and a diagnostic says so. Time and memory are linear in the length
of the text, at any depth of nesting.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, cast

from promptengine.errors import PluginError
from promptengine.garbage import gc_paused
from promptengine.prompt import lint
from promptengine.prompt.ast import (
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
from promptengine.prompt.brackets import balance
from promptengine.prompt.dialects import WEBUI, find_dialect
from promptengine.prompt.grammar import Language, Lexeme, language, place
from promptengine.prompt.other_syntax import foreign_syntax
from promptengine.prompt.regions import ReadPiece, divided, tags_in_regions
from promptengine.prompt.source_map import MappedText, take, whole
from promptengine.validation import check_type

__all__ = ["parse", "read_brackets", "without_comments"]

_SQUARE = re.compile(r"\\.|[\[\]]", re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_SCHEDULE_SPECIAL = re.compile(r"[\\\[\]():|]")


@gc_paused
def parse(
    text: str, *, comments: bool = True, negative: bool = False, dialect: str = WEBUI
) -> Prompt:
    """Read a prompt.

    Args:
        text: Any string; lone surrogates and NULs are characters like others.
        comments: Whether ``#`` begins a comment that reaches to the end of its line.
        negative: Read as a negative prompt: tags stay words, there is one part, of weight 1.
        dialect: One of :data:`promptengine.prompt.dialects.DIALECTS`. In the ``extended`` one a tag
            within ``[before:after:when]`` or ``[a|b]`` holds at the steps at which text in its place
            would, and ``ADDCOL`` and its like divide the image; all else is the same.

    Returns:
        The tree, and what a person would want to know about it.

    Raises:
        RequestError: No such dialect; no text is refused.
    """
    check_type("text", text, str)
    spoken = find_dialect(dialect)
    prompt = spoken.read(text, comments=comments, negative=negative)
    _check_tree(prompt, dialect, negative=negative)
    return prompt if prompt.dialect == dialect else replace(prompt, dialect=dialect)


def _check_tree(prompt: object, dialect: str, *, negative: bool) -> None:
    """Refuse what a plugin's dialect may have read wrong."""
    if not isinstance(prompt, Prompt):
        message = f"dialect {dialect!r} reads a {type(prompt).__name__}; it must be a Prompt"
        raise PluginError(message)
    if not prompt.parts or (negative and (len(prompt.parts) > 1 or prompt.tags)):
        wanted = "exactly one part and no tags" if negative else "one part or more"
        raise PluginError(
            f"dialect {dialect!r} reads {len(prompt.parts)} parts; it must be {wanted}"
        )


def read_brackets(
    text: str, *, comments: bool, negative: bool, schedules_tags: bool, regions: bool
) -> Prompt:
    """Read WebUI's language, tags within schedules as text there or as what these schedule.

    Args:
        text: As for :func:`parse`.
        comments: Likewise.
        negative: Likewise.
        schedules_tags: Whether brackets decide when the tags within hold.
        regions: Whether ``ADDCOL`` and its like divide a prompt that is not negative.
    """
    said_nothing = _comments(text) if comments else []
    rest = _without(said_nothing, text)
    diagnostics = list(lint.comments(text, said_nothing))
    tags: tuple[Tag, ...] = ()
    bracketed: list[Tag] = []
    if negative:
        diagnostics += lint.tags_in_negative(text, rest)
        operands = [(rest, 1.0)]
    else:
        tags, rest = _without_tags(rest)
        bracketed = _bracketed(tags, rest) if schedules_tags else []
        operands = _operands(rest)
        diagnostics += [*lint.tags(tags, over_steps=schedules_tags), *lint.almost_tags(rest)]
        if len(operands) == 1:
            diagnostics += lint.weight_without_and(rest, *operands[0])
    divides = regions and not negative
    foreign = foreign_syntax(rest, "extended" if divides else WEBUI)
    parts: list[Part] = []
    for operand, weight in operands:
        division = divided(operand) if divides else None
        read = partial(_read, tags=bracketed, choices=foreign.choices)
        part, found = (
            _part(operand, weight, read) if division is None else division.part(weight, read)
        )
        parts.append(part)
        diagnostics += found
    if not schedules_tags:
        diagnostics += lint.scheduled_tags(tags, parts)
    diagnostics += foreign.diagnostics
    spans = tuple(Span(*place) for place in said_nothing)
    prompt = Prompt(text, tags, tuple(parts), (), comments=spans)
    diagnostics += tags_in_regions(prompt)
    diagnostics.sort(key=_place_of)
    return replace(prompt, diagnostics=tuple(diagnostics))


def _part(operand: MappedText, weight: float, read: ReadPiece) -> tuple[Part, Sequence[Diagnostic]]:
    nodes, found = read(operand)
    return Part(operand.text, weight, nodes, operand.span(0, len(operand.text))), found


def _place_of(diagnostic: Diagnostic) -> int:
    return diagnostic.span.start if diagnostic.span else 0


def without_comments(text: str) -> str:
    """Return a prompt as WebUI's infotexts tell it: each comment reduced to the newline that ends it."""
    return _without(_comments(text), text).text


def _comments(text: str) -> list[tuple[int, int]]:
    """Return where comments start and end."""
    return [comment.span() for comment in _COMMENT.finditer(text)] if "#" in text else []


def _without(comments: Sequence[tuple[int, int]], text: str) -> MappedText:
    """Reduce each comment to the newline that ends it; one that ends the text becomes one."""
    if not comments:
        return whole(text)
    kept, ranges, rest = 0, list[tuple[int, int]](), text
    for start, end in comments:
        ranges.append((kept, start))
        kept = end
        if end == len(text):
            # The newline needs a place in the source: it stands in for the comment's last character.
            kept -= 1
            rest = text[:kept] + "\n"
    return take(whole(rest), [*ranges, (kept, len(text))])


def _without_tags(excerpt: MappedText) -> tuple[tuple[Tag, ...], MappedText]:
    """Take the tags out."""
    text = excerpt.text
    # Past the last ">" there is no tag, and looking for its end from each "<" would be quadratic.
    end = text.rfind(">") + 1
    if not end or "<" not in text:
        return (), excerpt
    tongue = _tags()
    lexemes: list[Lexeme] = tongue.parse(tongue.lex(text, end))
    tags = tuple(
        _tag(lexeme.text, excerpt.span(lexeme.start, lexeme.end))
        for lexeme in lexemes
        if lexeme.type == "TAG"
    )
    if not tags:
        return (), excerpt
    kept = [(lexeme.start, lexeme.end) for lexeme in lexemes if lexeme.type != "TAG"]
    return tags, take(excerpt, [*kept, (end, len(text))])


def _tag(text: str, span: Span) -> Tag:
    kind, *arguments = text[1:-1].split(":")
    return Tag(kind, tuple(arguments), span)


def _bracketed(tags: tuple[Tag, ...], rest: MappedText) -> list[Tag]:
    """Return the tags that stand where a square bracket is open, and so may be scheduled."""
    found: list[Tag] = []
    depth = 0
    brackets = ((rest.locate(b.start()), b[0]) for b in _SQUARE.finditer(rest.text))
    place, bracket = next(brackets, (None, ""))
    for tag in tags:
        while place is not None and place < tag.span.start:
            # A closer without a partner counts for nothing; an escape is no bracket.
            depth = max(0, depth + {"[": 1, "]": -1}.get(bracket, 0))
            place, bracket = next(brackets, (None, ""))
        if depth:
            found.append(tag)
    return found


def _operands(excerpt: MappedText) -> list[tuple[MappedText, float]]:
    """Split at ``AND``, and a trailing weight off each operand."""
    text = excerpt.text
    last = text.rstrip()[-1:]
    if "AND" not in text and not (last == "." or last.isdecimal()):
        return [(take(excerpt, [(0, len(text.rstrip()))]), 1.0)]
    tongue = _conjunction()
    found: list[tuple[MappedText, float]] = []
    operand: list[Lexeme] = []
    start = 0
    # Text says nothing of itself here. An AND after the last operand ends it like any other.
    for child in tongue.parse([*tongue.marks(text), Lexeme("AND", "", len(text), len(text))]):
        if isinstance(child, list):
            operand = cast(list[Lexeme], child)
            continue
        end, weight = child.start, 1.0
        if operand and operand[-1].type == "WEIGHT":
            # The grammar's blanks are Unicode's, of which float() takes off some only.
            end, weight = operand[-1].start, float(operand[-1].text[1:].strip())
        end = start + len(text[start:end].rstrip())
        found.append((take(excerpt, [(start, end)]), weight))
        start = child.end
    return found


def _read(
    excerpt: MappedText, tags: list[Tag], choices: Sequence[Span]
) -> tuple[tuple[Node, ...], list[Diagnostic]]:
    """Read the bracket language of one part.

    Args:
        excerpt: The part's text, which holds no tag.
        tags: Those that its brackets may schedule, and perhaps others, in their order.
        choices: Where braces of another program's language hold bars.
    """
    if not _SCHEDULE_SPECIAL.search(excerpt.text):
        return tuple(map(_leaf, place([], excerpt))), []
    tongue = _schedule()
    lexemes = tongue.lex(excerpt.text)
    balanced = balance(lexemes)
    found = list(lint.brackets(excerpt, lexemes, balanced, choices))
    raw = balanced.raw is not None
    lexemes = place([] if raw else lexemes, excerpt)
    nodes = tongue.parse(lexemes if raw or not tags else _with_tags(lexemes, tags))
    breaks = lint.weighted_breaks(nodes) if "BREAK" in excerpt.text else ()
    return nodes, [*found, *breaks]


def _with_tags(lexemes: list[Lexeme], tags: list[Tag]) -> list[Lexeme]:
    """Put tags back among the lexemes of a part, each where it stood in the source.

    What is left of the text is read as if they were not there, so that none splits a word, a number
    or an escape. One at a schedule's number is left out: no step begins or ends with it.
    """
    first = bisect_left(tags, lexemes[0].start, key=_tag_start)
    last = bisect_left(tags, lexemes[-1].end, key=_tag_start)
    waiting = deque(tags[first:last])
    mixed: list[Lexeme] = []
    before = ""
    for lexeme in lexemes:
        while waiting and waiting[0].span.start < lexeme.start:
            tag = waiting.popleft()
            if "NUMBER" not in (before, lexeme.type):
                text = f"<{':'.join((tag.kind, *tag.arguments))}>"
                mixed.append(Lexeme("TAG", text, tag.span.start, tag.span.end))
        mixed.append(lexeme)
        before = lexeme.type
    return mixed


def _tag_start(tag: Tag) -> int:
    return tag.span.start


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
    return _tag(lexeme.text, Span(lexeme.start, lexeme.end))


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
