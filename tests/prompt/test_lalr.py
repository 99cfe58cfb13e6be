"""Lark's tables, run by our own loop, give what Lark itself gives."""

from __future__ import annotations

import random
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from lark import Lark, Tree

from promptengine.prompt.grammar import Lexeme, grammar_file
from promptengine.prompt.lalr import parser_of

GRAMMARS = sorted(path.stem for path in grammar_file("tags").parent.glob("*.lark"))


@cache
def made(name: str) -> Lark:
    return Lark(Path(grammar_file(name)).read_text("utf-8"), parser="lalr", lexer="basic")


def drawn(name: str, length: int, dice: random.Random) -> tuple[list[str], Any]:
    """Draw kinds of tokens that fit a grammar, and let Lark parse them."""
    lark = made(name).parse_interactive("")
    kinds: list[str] = []
    while True:
        fitting = sorted(lark.accepts())
        if "$END" in fitting and len(kinds) >= length:
            return kinds, lark.feed_eof()
        if len(kinds) >= length:
            # What closes brackets comes sooner or later.
            fitting = [kind for kind in fitting if kind not in OPENERS] or fitting
        kind = dice.choice([kind for kind in fitting if kind != "$END"] or ["TEXT"])
        lark.feed_token(token(kind, len(kinds)))
        kinds.append(kind)


OPENERS = (
    *("LPAR", "LSQB", "OPEN", "SET", "LQUOTE", "SWAP", "SCHEDULE", "ALTERNATION"),
    *("ALTERNATE", "FROMTO", "CHOICE", "FALLBACK", "ASSIGN", "WRAP", "WILD"),
)


def token(kind: str, place: int) -> Any:
    return Lexeme(kind, f"{kind}{place}", place, place + 1)


def plain(tree: Any) -> Any:
    """Return a tree of Lark's as nested lists, each with its rule's name first."""
    return [str(tree.data), *map(plain, tree.children)] if isinstance(tree, Tree) else tree.text


@pytest.mark.parametrize("name", GRAMMARS)
def test_our_loop_gives_what_lark_gives(name: str) -> None:
    rules = {str(rule.origin.name) for rule in made(name).rules}
    parse = parser_of(made(name), {rule: partial(named, rule) for rule in rules})
    dice = random.Random(name)
    for length in (0, 1, 2, 5, 30):
        for _ in range(40):
            kinds, expected = drawn(name, length, dice)
            tokens = [token(kind, place) for place, kind in enumerate(kinds)]
            found = parse(tokens)
            assert tokens == []
            assert texts(found) == plain(expected), kinds


def named(rule: str, children: list[Any]) -> list[Any]:
    return [rule, *children]


def texts(found: Any) -> Any:
    if isinstance(found, list):
        return [texts(one) for one in found]
    return found if isinstance(found, str) else found.text


def test_tokens_have_functions_too() -> None:
    parse = parser_of(made("tags"), {"start": tuple, "TAG": lambda lexeme: lexeme.text.upper()})
    first, second = token("TEXT", 0), token("TAG", 1)
    assert parse([first, second]) == (first, "TAG1")
    assert parse([]) == ()


def test_what_does_not_fit_is_an_error() -> None:
    parse = parser_of(made("conjunction"), {})
    with pytest.raises(KeyError):
        parse([token("NONE", 0)])


@pytest.mark.parametrize(
    "rules", ['start: "x" A', "start: A -> other", "start: b\n?b: A | A A", "start: [A] A"]
)
def test_what_the_loop_does_not_build_is_refused(rules: str) -> None:
    lark = Lark(f'{rules}\nA: "a"', parser="lalr", lexer="basic")
    with pytest.raises(ValueError, match="has a token without a name"):
        parser_of(lark, {})
