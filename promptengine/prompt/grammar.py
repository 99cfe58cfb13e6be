"""Languages: the terminals of a grammar as one lexer and its rules as one LALR(1) parser.

Between the two stands a scan, written where the language is used: literal brackets show only at
their closer, which one token of look-ahead cannot see, so the scan retypes lexemes before the
parser reads them (as Lark's own indenter does for indentation). Nothing here recurses: the parser keeps
its own stack and calls a language's functions while it builds.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from promptengine.prompt.source_map import MappedText

__all__ = ["Language", "Lexeme", "language", "place"]

_TABLES: Final = Path(__file__).with_name("tables")
_END: Final = "$END"

_Make: TypeAlias = Callable[[Any], Any]
_Rule: TypeAlias = tuple[str, int, _Make]
"""What it makes, of how many symbols, and what that is for the list of theirs."""


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
        rules: As they are numbered in states.
        states: What each symbol means in each.
        end: The state behind a whole text.
        leaves: By terminal, what to make of a lexeme; others stay what they are.
    """

    terminals: re.Pattern[str]
    rules: Sequence[_Rule]
    states: Sequence[Mapping[str, int]]
    end: int
    leaves: Mapping[str, _Make]

    def lex(self, text: str, end: int | None = None) -> list[Lexeme]:
        """Split ``text`` (up to ``end``) into lexemes that cover every character of it."""
        return [
            Lexeme(match.lastgroup or "", match[0], match.start(), match.end())
            for match in self.terminals.finditer(text, 0, len(text) if end is None else end)
        ]

    def parse(self, lexemes: list[Lexeme]) -> Any:
        """Return whatever the language's ``start`` function does.

        Args:
            lexemes: Of a whole text. The list is emptied: what lives on is what garbage collection looks at.

        Raises:
            KeyError: They fit no rule, which a language's scan sees to.
        """
        rules, states, end, leaves = self.rules, self.states, self.end, self.leaves
        path, values = [0], list[Any]()
        lexemes.reverse()
        while True:
            kind = lexemes[-1].type if lexemes else _END
            action = states[path[-1]][kind]
            while action < 0:
                origin, size, make = rules[~action]
                children: list[Any] = []
                if size:
                    children = values[-size:]
                    del values[-size:], path[-size:]
                values.append(make(children))
                path.append(states[path[-1]][origin])
                if path[-1] == end and not lexemes:
                    return values[0]
                action = states[path[-1]][kind]
            path.append(action)
            leaf = leaves.get(kind)
            values.append(lexemes.pop() if leaf is None else leaf(lexemes.pop()))


def language(name: str, functions: Mapping[str, _Make]) -> Language:
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
    lines: list[str] = table["rules"]
    return Language(
        terminals=re.compile(table["terminals"]),
        rules=[_rule(*line.split(), functions=functions) for line in lines],
        states=table["states"],
        end=table["end"],
        leaves={symbol: make for symbol, make in functions.items() if symbol.isupper()},
    )


def _rule(origin: str, *symbols: str, functions: Mapping[str, _Make]) -> _Rule:
    """Return a rule, ready to be applied."""
    origin = origin.removesuffix(":")
    make = functions.get(origin, _unchanged)
    nodes = [not symbol.startswith("_") for symbol in symbols]
    if all(nodes):
        return origin, len(symbols), make

    def spliced(children: list[Any]) -> Any:
        # Repetition is a rule that begins with itself. Adding to its list keeps that linear.
        first, *rest = children
        found: list[Any] = [first] if nodes[0] else first
        for child, node in zip(rest, nodes[1:], strict=True):
            if node:
                found.append(child)
            else:
                found += child
        return make(found)

    return origin, len(symbols), spliced


def _unchanged(children: list[Any]) -> list[Any]:
    return children


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
