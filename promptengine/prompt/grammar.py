"""Languages: a ``.lark`` file each, its terminals as one lexer and its rules as one LALR parser.

Between the two stands a scan, written where the language is used: literal brackets show only at
their closer, which one token of look-ahead cannot see, so the scan retypes lexemes before the
parser reads them (as Lark's own indenter does for indentation). Nothing here recurses: the parser
(``lalr.py``) keeps its own stack and calls a language's functions while it builds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from promptengine.prompt.lalr import Functions, parser_of
from promptengine.prompt.source_map import MappedText

__all__ = ["Language", "Lexeme", "grammar_file", "language", "place"]

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed wheel carries the grammars inside the package; a checkout has them beside it.
_FOLDERS = (_PACKAGE / "grammars", _PACKAGE.parent / "grammars")


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


def grammar_file(name: str) -> Path:
    """Return the path of ``name.lark``, in a checkout or in an installed package.

    Raises:
        FileNotFoundError: If neither place has it.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.lark"
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name}.lark is in none of {', '.join(map(str, _FOLDERS))}")


def language(name: str, functions: Functions) -> Language:
    """Build the language of ``name.lark``.

    Callers cache what they get: building takes some milliseconds.

    Args:
        name: The grammar file's name without ``.lark``.
        functions: By rule, what to make of the list of its children; by terminal, what to make of
            the lexeme. A rule that is missing gives the list.

    Raises:
        FileNotFoundError: If there is no such grammar.
        lark.exceptions.GrammarError: If the grammar is not LALR(1) or not a grammar.
    """
    # Lark takes longer to import than all the rest of a command that parses nothing.
    from lark import Lark

    lark = Lark(grammar_file(name).read_text("utf-8"), parser="lalr", lexer=_no_lexer())
    terminals = sorted(lark.terminals, key=lambda terminal: -terminal.priority)
    alternatives = [f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in terminals if t.pattern]
    pattern = re.compile("|".join([*alternatives, r"[\s\S]"]))
    return Language(pattern, parser_of(lark, functions))


@cache
def _no_lexer() -> type[Any]:
    """Return a lexer class that keeps Lark from making one of its own."""
    from lark.lexer import Lexer

    class NoLexer(Lexer):
        __future_interface__ = 1

        def __init__(self, conf: Any) -> None:
            pass

        def lex(self, lexer_state: Any, parser_state: Any) -> Any:
            return iter(())

    return NoLexer


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
