"""NovelAI's prompts: ``{more}``, ``[less]`` and ``1.5::exactly::``.

Each brace multiplies by 1.05 and each square bracket divides by it, as NovelAI documents; a number and two
colons multiply what follows by the number, up to the next two colons. What is not closed reaches to the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from promptengine.garbage import gc_paused
from promptengine.prompt import diagnostic_kinds as kinds
from promptengine.prompt.ast import Diagnostic, Fragment, Part, Prompt, Span, Text
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.other_syntax import foreign_syntax
from promptengine.prompt.quoting import quoted
from promptengine.prompt.source_map import MappedText, whole
from promptengine.prompt.weighing import fragments

__all__ = ["FACTOR", "read_novelai", "weigh"]

FACTOR = 1.05
"""What a brace multiplies by."""

_CLOSERS = {"RBRACE": "LBRACE", "RSQB": "LSQB", "END": "NUMBER"}


def read_novelai(text: str, *, comments: bool, negative: bool) -> Prompt:
    """Read a prompt of NovelAI.

    Args:
        text: Any string.
        comments: Not looked at: ``#`` is text there.
        negative: Not looked at: both prompts are of one language.
    """
    span = Span(0, len(text))
    part = Part(text, 1.0, (Text(text, span),), span, weigh)
    excerpt = whole(text)
    found = (*_diagnostics(excerpt), *foreign_syntax(excerpt, "novelai").diagnostics)
    return Prompt(text, (), (part,), found, "novelai")


@gc_paused
def weigh(excerpt: MappedText) -> tuple[Fragment, ...]:
    """Work out the weights of a text."""
    lexemes = _language().lex(excerpt.text)
    _balance(lexemes)
    kept = (
        (lexeme.text, lexeme.factor, lexeme.start, lexeme.end)
        for lexeme in _language().parse(lexemes)
        if lexeme.type == "TEXT"
    )
    return fragments(kept, excerpt)


def _diagnostics(excerpt: MappedText) -> Iterator[Diagnostic]:
    lexemes = _language().lex(excerpt.text)
    unclosed = _balance(lexemes)
    stray = (one for one in lexemes if one.type == "TEXT" and one.text in ("}", "]", "::"))
    if (closer := next(stray, None)) is not None:
        yield kinds.UNOPENED_BRACKET(
            f"{quoted(closer.text)} closes nothing and is text",
            excerpt.span(closer.start, closer.end),
            "open it before, or take it out",
        )
    if unclosed:
        opener = unclosed[0]
        yield kinds.UNCLOSED_BRACKET(
            f"{quoted(opener.text)} is not closed, so it reaches to the end",
            excerpt.span(opener.start, opener.end),
            "close it where its weight shall end",
        )


@cache
def _language() -> Language:
    return language("novelai", {"start": list})


@dataclass(slots=True)
class _Open:
    """What is open: counts of brackets, and numbers with the products up to each.

    Products leave out zeros, which are counted, so that closing needs no division.
    """

    braces: list[Lexeme] = field(default_factory=list[Lexeme])
    squares: list[Lexeme] = field(default_factory=list[Lexeme])
    numbers: list[Lexeme] = field(default_factory=list[Lexeme])
    products: list[float] = field(default_factory=lambda: [1.0])

    def of(self, kind: str) -> list[Lexeme]:
        return {"LBRACE": self.braces, "LSQB": self.squares, "NUMBER": self.numbers}[kind]

    def push(self, lexeme: Lexeme) -> None:
        self.of(lexeme.type).append(lexeme)
        if lexeme.type == "NUMBER":
            self.products.append(self.products[-1] * float(lexeme.text[:-2]))

    def pop(self, kind: str) -> bool:
        if not self.of(kind):
            return False
        self.of(kind).pop()
        if kind == "NUMBER":
            self.products.pop()
        return True

    def factor(self) -> float:
        depth = len(self.braces) - len(self.squares)
        try:
            return self.products[-1] * FACTOR**depth
        except OverflowError:
            return math.copysign(math.inf, self.products[-1])


def _balance(lexemes: list[Lexeme]) -> list[Lexeme]:
    """Give each text its factor, and return what is never closed, in order."""
    opened = _Open()
    factor = 1.0
    for lexeme in lexemes:
        if lexeme.type in ("LBRACE", "LSQB", "NUMBER"):
            opened.push(lexeme)
        elif lexeme.type in _CLOSERS and opened.pop(_CLOSERS[lexeme.type]):
            pass
        else:
            lexeme.type, lexeme.factor = "TEXT", factor
            continue
        factor = opened.factor()
    left = [*opened.braces, *opened.squares, *opened.numbers]
    return sorted(left, key=lambda one: one.start)
