"""The tables of a grammar, which Lark worked out, run by a loop of our own.

Lark's loop calls four functions for each token, and the grammars here have lists of some hundred tokens. Whoever
edits a prompt waits for it at each key; this loop takes a fifth of the time and builds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

__all__ = ["Functions", "Token", "parser_of"]


class Token(Protocol):
    """What is parsed."""

    type: str


Functions: TypeAlias = Mapping[str, Callable[[Any], Any]]
"""What to make of the children of a rule, or of a token, by name."""

_END = "$END"


@dataclass(slots=True, eq=False)
class _Reduction:
    """A rule that is complete.

    Attributes:
        size: How many symbols it has.
        origin: Its name.
        repeats: Whether it adds one to a list, as the rules behind ``*`` and ``+`` do.
        passes: Whether it is another name for a list.
        lists: Which of its children are lists that become part of its own.
        function: Makes something of the children; None for a list that becomes part of another.
    """

    size: int
    origin: str
    repeats: bool
    passes: bool
    lists: tuple[int, ...]
    function: Callable[[Any], Any] | None

    def made(self, children: list[Any]) -> Any:
        """Return what becomes of the children."""
        if self.lists:
            # The first list goes on, so that what repeats takes time in proportion.
            flat: list[Any] = children[0] if 0 in self.lists else children[:1]
            for place, child in enumerate(children[1:], start=1):
                if place in self.lists:
                    flat += child
                else:
                    flat.append(child)
            children = flat
        return children if self.function is None else self.function(children)


@dataclass(slots=True, eq=False)
class _Row:
    """A state of the parser.

    Attributes:
        shifts: By token, the next state, and what to make of the token; None for the token itself.
        reductions: By token, the rule that is complete before it.
        gotos: By rule, the state behind one that is complete.
    """

    shifts: dict[str, tuple[_Row, Callable[[Any], Any] | None]] = field(
        default_factory=dict[str, "tuple[_Row, Callable[[Any], Any] | None]"]
    )
    reductions: dict[str, _Reduction] = field(default_factory=dict[str, _Reduction])
    gotos: dict[str, _Row] = field(default_factory=dict[str, "_Row"])


def parser_of(table: Mapping[str, Any], functions: Functions) -> Callable[[list[Any]], Any]:
    """Return what parses the tokens of a grammar.

    Args:
        table: What ``grammars/build.py`` made of the grammar: ``rules``, ``states`` and ``end``.
        functions: By rule, what to make of the list of its children, among which stand those of rules whose names
            begin with ``_``; by terminal, what to make of the token. A rule that is missing gives the list.

    Returns:
        Takes tokens, which it takes out of their list, and returns what is made of the first rule. Tokens that do
        not fit the grammar raise KeyError.
    """
    reductions = [_reduction(line, functions) for line in table["rules"]]
    rows = [_Row() for _ in table["states"]]
    for row, actions in zip(rows, table["states"], strict=True):
        for symbol, target in actions.items():
            if target < 0:
                row.reductions[symbol] = reductions[~target]
            elif symbol.isupper():
                row.shifts[symbol] = rows[target], functions.get(symbol)
            else:
                row.gotos[symbol] = rows[target]
    first, last = rows[0], rows[table["end"]]
    return lambda tokens: _parsed(tokens, first, last)


def _reduction(line: str, functions: Functions) -> _Reduction:
    """Return the rule of a line, ``origin: symbols``."""
    name, *symbols = line.split()
    name = name.removesuffix(":")
    lists = tuple(place for place, symbol in enumerate(symbols) if symbol.startswith("_"))
    inlined, size = name.startswith("_"), len(symbols)
    repeats, passes = (inlined and size == wanted and lists == (0,) for wanted in (2, 1))
    function = None if inlined else functions.get(name)
    return _Reduction(size, name, repeats, passes, lists, function)


def _parsed(tokens: list[Token], first: _Row, last: _Row) -> Any:
    states, values, row = [first], list[Any](), first
    # Each token goes once it is read: what lives on is what garbage collection looks at.
    tokens.reverse()
    while True:
        token = tokens.pop() if tokens else None
        kind = _END if token is None else token.type
        while (step := row.shifts.get(kind)) is None:
            rule = row.reductions[kind]
            if rule.repeats:
                item = values.pop()
                values[-1].append(item)
                del states[-2:]
            elif rule.passes:
                states.pop()
            else:
                size = rule.size
                children = values[len(values) - size :]
                del values[len(values) - size :], states[len(states) - size :]
                values.append(rule.made(children))
            row = states[-1].gotos[rule.origin]
            states.append(row)
            if row is last and token is None:
                return values[-1]
        row, function = step
        states.append(row)
        values.append(token if function is None else function(token))
