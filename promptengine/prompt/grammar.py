"""Languages: the terminals of a grammar as one lexer and its rules as one LALR(1) parser.

Between the two stands a scan, written where the language is used: literal brackets show only at
their closer, which one token of look-ahead cannot see, so the scan retypes lexemes before the
parser reads them (as Lark's own indenter does for indentation). Nothing here recurses: the parser
(``lalr.py``) keeps its own stack and calls a language's functions while it builds.

The grammars are Lark's files in ``grammars/``; what an LALR(1) parser does in which state is worked out from them
once, by ``grammars/build.py``, and read from ``tables/NAME.json``:

- ``terminals``: all terminals as one pattern, each a named group;
- ``rules``: as ``origin: symbols``;
- ``states``: for each symbol that may come next, the state to go on in, or -1 - n to apply rule n first;
- ``end``: the state behind a whole text.

A rule whose name begins with ``_`` is no node: what it holds becomes part of what holds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptengine.prompt.lalr import Functions, parser_of
from promptengine.prompt.source_map import MappedText

__all__ = ["Language", "Lexeme", "language", "place"]

_TABLES: Final = Path(__file__).with_name("tables")


@dataclass(slots=True)
class Lexeme:
    """A token on its way to the parser; scans may retype it.

    Attributes:
        type: The terminal's name, or ``""`` for a character that no terminal matches.
        text: The characters.
        start: Offset of the first character: in the text that was lexed, then (see :func:`place`)
            in the source.
        end: Offset past the last one.
        factor: For an emphasis's closer, what it multiplies by.
    """

    type: str
    text: str
    start: int
    end: int
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Language:
    """A grammar, ready for use.

    Attributes:
        terminals: All terminals as one pattern, each a named group, by priority and then by the
            order in the grammar.
        parse: The LALR parser: lexemes to whatever the language's ``start`` function returns. It
            empties the list it is given.
    """

    terminals: re.Pattern[str]
    parse: Callable[[list[Lexeme]], Any]

    def lex(self, text: str, end: int | None = None) -> list[Lexeme]:
        """Split ``text`` (up to ``end``) into lexemes that cover every character of it."""
        return [
            Lexeme(match.lastgroup or "", match[0], match.start(), match.end())
            for match in self.terminals.finditer(text, 0, len(text) if end is None else end)
        ]

    def marks(self, text: str) -> list[Lexeme]:
        """Return the lexemes of a text that are not of type TEXT."""
        return [
            Lexeme(match.lastgroup or "", match[0], match.start(), match.end())
            for match in self.terminals.finditer(text)
            if match.lastgroup != "TEXT"
        ]


def language(name: str, functions: Functions) -> Language:
    """Read the language of ``tables/NAME.json``.

    Callers cache what they get: it takes about a millisecond.

    Args:
        name: The grammar file's name without ``.lark``.
        functions: By rule, what to make of the list of its children; by terminal, what to make of
            the lexeme. A rule that is missing gives the list.

    Raises:
        FileNotFoundError: If there is no such table.
    """
    table = json.loads((_TABLES / f"{name}.json").read_text(encoding="utf-8"))
    return Language(re.compile(table["terminals"]), parser_of(table, functions))


def place(lexemes: list[Lexeme], excerpt: MappedText) -> list[Lexeme]:
    """Move lexemes from offsets in an excerpt's text to offsets in the source.

    Neighbors of type TEXT become one, as far as they are one run of the source: each lexeme of text
    is the source at its place.

    Args:
        lexemes: Of the whole excerpt. Those that are not TEXT are moved, not copied.
        excerpt: What was lexed.
    """
    placed: list[Lexeme] = []
    start = 0
    for lexeme in lexemes:
        if lexeme.type == "TEXT":
            continue
        if start < lexeme.start:
            placed += _runs(excerpt, start, lexeme.start)
        start = lexeme.end
        span = excerpt.span(lexeme.start, lexeme.end)
        lexeme.start, lexeme.end = span.start, span.end
        placed.append(lexeme)
    if start < len(excerpt.text) or not placed:
        placed += _runs(excerpt, start, len(excerpt.text))
    return placed


def _runs(excerpt: MappedText, start: int, end: int) -> list[Lexeme]:
    """Return a stretch of an excerpt as text, one lexeme for each run of the source."""
    return [
        Lexeme("TEXT", excerpt.text[first:last], origin, origin + last - first)
        for first, last, origin in excerpt.runs(start, end)
    ]
