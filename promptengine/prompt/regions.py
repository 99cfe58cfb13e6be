"""The regions of a prompt: ``common ADDCOMM base ADDBASE first ADDCOL second ADDROW third``.

The keywords are those of the Regional Prompter extension. Where each region lies is a matter of the request; here
it is told what each says, and how they follow one another. Time is linear in the length of the text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Node, Part, Prompt, Regions, Span, Tag, Text
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.quoting import quoted, told
from promptengine.prompt.source_map import MappedText, take
from promptengine.prompt.tag_kinds import kind_of_word

if TYPE_CHECKING:
    from promptengine.kinds import ModelKind

__all__ = [
    "MOST_REGIONS",
    "NOT_REGIONAL_HINT",
    "Division",
    "ReadPiece",
    "divided",
    "not_regional",
    "region_at",
    "tags_in_regions",
    "texts_of",
]

MOST_REGIONS: Final = 16
"""Regions of one prompt: each costs a text, and an attention in every layer."""

NOT_REGIONAL_HINT: Final = "put the tag before the first region, or into the request's own prompt"
"""What to do with a network that cannot act in a region."""

_JOINT: Final = ", "


ReadPiece = Callable[[MappedText], tuple[tuple[Node, ...], Sequence[Diagnostic]]]
"""Reads the bracket language of a text, and says what is odd in it."""


class Piece(NamedTuple):
    """What stands between two keywords.

    Attributes:
        text: Without the blanks around it.
        start: Where it begins in the source, blanks and tags included; the first one at the source's start.
    """

    text: MappedText
    start: int


class Division(NamedTuple):
    """A text as its keywords divide it.

    Attributes:
        operand: The text.
        common: What is put in front of every text, or None.
        base: What all of the image follows in part, or None.
        regions: One or more.
        separators: Between regions: ``ADDCOL`` or ``ADDROW``.
        keywords: All keywords, where they stand.
        diagnostics: Of keywords that are text, and of too many regions.
    """

    operand: MappedText
    common: Piece | None
    base: Piece | None
    regions: tuple[Piece, ...]
    separators: tuple[str, ...]
    keywords: tuple[Lexeme, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces in their order."""
        return (*filter(None, (self.common, self.base)), *self.regions)

    def part(self, weight: float, read: ReadPiece) -> tuple[Part, list[Diagnostic]]:
        """Return the part of a prompt that is divided so, and what is to be said of it.

        Args:
            weight: Of the part.
            read: Reads the bracket language of a piece.
        """
        pieces = [read(piece.text) for piece in self.pieces]
        nodes = [some for some, _ in pieces]
        keywords = [Text(one.text, _span(self.operand, one)) for one in self.keywords]
        whole = list(nodes[0])
        for keyword, some in zip(keywords, nodes[1:], strict=True):
            whole += [_joint(keyword, " "), keyword, _joint(keyword, " "), *some]
        operand = self.operand
        part = Part(
            operand.text,
            weight,
            tuple(whole),
            operand.span(0, len(operand.text)),
            regions=self._regions(nodes, keywords),
        )
        return part, [*self.diagnostics, *(one for _, found in pieces for one in found)]

    def _regions(self, nodes: Sequence[tuple[Node, ...]], keywords: Sequence[Text]) -> Regions:
        texts: tuple[Part, ...] = ()
        count = len(self.regions)
        if count <= MOST_REGIONS:
            common, lead = (), ""
            if self.common is not None:
                common, lead = nodes[0], self.common.text.text
            heads = 0 if self.common is None else 1
            texts = tuple(
                _text(piece.text, some, common, lead, _joint(keywords[0], _JOINT))
                for piece, some in zip(self.pieces[heads:], nodes[heads:], strict=True)
            )
        return Regions(
            texts=texts[-count:],
            base=texts[0] if texts and self.base is not None else None,
            separators=self.separators,
            begins=tuple(piece.start for piece in self.regions),
            count=count,
        )


def divided(operand: MappedText) -> Division | None:
    """Divide the text of an operand of ``AND``; None where it has no keyword.

    Args:
        operand: Without tags and comments.
    """
    text = operand.text
    if not any(keyword in text for keyword in ("ADDCOMM", "ADDBASE", "ADDCOL", "ADDROW")):
        return None
    lexemes = _language().lex(text)
    misplaced = list(_misplaced(lexemes))
    keywords = [lexeme for lexeme in lexemes if lexeme.type.startswith("ADD")]
    if not keywords:
        return None
    found = [*told(misplaced, lambda lexeme: _text_here(operand, lexeme))]
    # The parser empties the list, and tells which keyword ends what.
    common, base = _language().parse(list(lexemes))
    pieces: list[Piece] = []
    start = 0
    for end, after in [(one.start, one.end) for one in keywords] + [(len(text), len(text))]:
        pieces.append(_piece(operand, start, end))
        start = after
    heads = int(common) + int(base)
    if len(pieces) - heads > MOST_REGIONS:
        message = f"the prompt has {len(pieces) - heads} regions; it must have up to {MOST_REGIONS}"
        found.append(
            kinds.TOO_MANY_REGIONS(message, _span(operand, keywords[heads + MOST_REGIONS - 1]))
        )
    return Division(
        operand=operand,
        common=pieces[0] if common else None,
        base=pieces[heads - 1] if base else None,
        regions=tuple(pieces[heads:]),
        separators=tuple(one.type for one in keywords[heads:]),
        keywords=tuple(keywords),
        diagnostics=tuple(found),
    )


def _piece(operand: MappedText, start: int, end: int) -> Piece:
    text = operand.text[start:end]
    first = start + len(text) - len(text.lstrip())
    last = max(first, start + len(text.rstrip()))
    begin = operand.locate(start - 1) + 1 if start else 0
    return Piece(take(operand, [(first, last)]), begin)


def _misplaced(lexemes: list[Lexeme]) -> Iterator[Lexeme]:
    """Make text of the keywords that stand where they mean nothing, and yield them."""
    seen: set[str] = set()
    for lexeme in lexemes:
        early = lexeme.type in ("ADDCOMM", "ADDBASE")
        if early and seen - ({"ADDCOMM"} if lexeme.type == "ADDBASE" else set()):
            lexeme.type = "TEXT"
            yield lexeme
        elif lexeme.type.startswith("ADD"):
            seen.add(lexeme.type)


def _span(operand: MappedText, lexeme: Lexeme) -> Span:
    return operand.span(lexeme.start, lexeme.end)


def _text_here(operand: MappedText, lexeme: Lexeme) -> Diagnostic:
    place = "first of all" if lexeme.text == "ADDCOMM" else "before all ADDCOL and ADDROW, once"
    return kinds.MISPLACED_KEYWORD(
        f"this {lexeme.text} divides nothing and is text, because it does not stand {place}",
        _span(operand, lexeme),
        "write common ADDCOMM base ADDBASE first ADDCOL second",
    )


@cache
def _language() -> Language:
    return language("regions", {"start": _heads, "common": _common, "base": _base})


def _common(_children: object) -> str:
    return "common"


def _base(_children: object) -> str:
    return "base"


def _heads(children: list[object]) -> tuple[bool, bool]:
    return "common" in children, "base" in children


def _joint(keyword: Text, text: str) -> Text:
    """Return characters that no one wrote, at the place of the keyword that they stand for."""
    return Text(text, Span(keyword.span.start, keyword.span.start + len(text)))


def _text(
    own: MappedText, nodes: tuple[Node, ...], common: tuple[Node, ...], lead: str, joint: Text
) -> Part:
    between = (joint,) if lead and own.text else ()
    text = lead + (_JOINT if between else "") + own.text
    return Part(text, 1.0, (*common, *between, *nodes), own.span(0, len(own.text)))


def region_at(prompt: Prompt, offset: int) -> int | None:
    """Return the region, from 0, whose own a tag at a place of the source is; None where it acts everywhere.

    That is before the first region, and in a prompt with ``AND``.

    Args:
        prompt: As parsed.
        offset: Where the tag begins.
    """
    part, *others = prompt.parts
    regions = part.regions
    if others or regions is None:
        return None
    before = bisect_right(regions.begins, offset)
    return before - 1 if before else None


def not_regional(kind: ModelKind) -> str:
    """Return why a network of a kind cannot act in a region alone."""
    return f"a region has hypernetworks alone, because {kind.plural} change the model for the whole image"


def tags_in_regions(prompt: Prompt) -> Iterator[Diagnostic]:
    """Report tags in a region's own text whose networks cannot act in a region alone."""

    def odd() -> Iterator[tuple[Tag, ModelKind]]:
        for tag in prompt.tags:
            kind = kind_of_word(tag.kind)
            if kind is None or kind.tag is None or kind.regional:
                continue
            if region_at(prompt, tag.span.start) is not None:
                yield tag, kind

    return told(odd(), _left_out)


def _left_out(found: tuple[Tag, ModelKind]) -> Diagnostic:
    tag, kind = found
    message = f"{quoted(tag.arguments[0])} is not applied: {not_regional(kind)}"
    return kinds.NOT_IN_REGIONS(message, tag.span, NOT_REGIONAL_HINT)


def texts_of(part: Part) -> tuple[Part, ...]:
    """Return all that a part of a prompt says: the text of each region, the base text first, or its own."""
    regions = part.regions
    if regions is None or not regions.texts:
        return (part,)
    return (*([] if regions.base is None else [regions.base]), *regions.texts)
