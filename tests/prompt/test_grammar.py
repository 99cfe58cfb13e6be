"""The tables that prompts are read with are what the grammars come to, and are read as Lark reads them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from grammars.build import GRAMMARS, TABLES, table_of, written
from promptengine.prompt.grammar import Lexeme, language

SOURCES = sorted(GRAMMARS.glob("*.lark"))
DEEPEST = 12


class Given(Lexer):
    """Hands Lark the tokens that it is given."""

    __future_interface__ = 1

    def __init__(self, conf: object) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any) -> Any:
        yield from lexer_state.text


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_tables_are_what_the_grammars_come_to(source: Path) -> None:
    table = TABLES / f"{source.stem}.json"
    text = source.read_text(encoding="utf-8")
    assert table.read_text(encoding="utf-8") == written(table_of(text)), "run grammars/build.py"


def test_every_table_has_its_grammar() -> None:
    assert {path.stem for path in TABLES.iterdir()} == {path.stem for path in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_sentences_are_read_as_lark_reads_them(source: Path) -> None:
    lark = Lark(source.read_text(encoding="utf-8"), parser="lalr", lexer=Given)
    lines = json.loads((TABLES / f"{source.stem}.json").read_text(encoding="utf-8"))["rules"]
    rules: dict[str, list[list[str]]] = {}
    for line in lines:
        origin, *symbols = line.split()
        rules.setdefault(origin.removesuffix(":"), []).append(symbols)
    ours = language(source.stem, {name: partial(node, name) for name in rules if name[0] != "_"})
    terminals = sorted({one for some in rules.values() for each in some for one in each} - {*rules})
    random, longest, refused = Random(source.stem), 0, 0
    for _ in range(300):
        kinds = sentence("start", rules, random)
        longest = max(longest, len(kinds))
        found = read_by_lark(lark, kinds)
        assert found is not None
        assert ours.parse(lexemes(kinds)) == found
        # Of what is one terminal off, the same is read and the same refused.
        place = random.randrange(len(kinds) + 1)
        kinds[place : place + random.randrange(2)] = random.sample(terminals, 1)
        found = read_by_lark(lark, kinds)
        refused += found is None
        if found is None:
            with pytest.raises(KeyError):
                ours.parse(lexemes(kinds))
        else:
            assert ours.parse(lexemes(kinds)) == found
    assert longest > 6
    assert refused or source.stem in ("novelai", "tags")


def sentence(
    symbol: str, rules: dict[str, list[list[str]]], random: Random, depth: int = 0
) -> list[str]:
    """Terminals that a symbol may stand for; far down, by the rules that end soonest."""
    if symbol not in rules:
        return [symbol]
    choices = rules[symbol]
    if depth > DEEPEST:
        fewest = min(sum(one in rules for one in choice) for choice in choices)
        choices = [one for one in choices if sum(each in rules for each in one) == fewest]
    chosen = random.choice(choices)
    return [kind for one in chosen for kind in sentence(one, rules, random, depth + 1)]


def lexemes(kinds: list[str]) -> list[Lexeme]:
    return [Lexeme(kind, "", place, place) for place, kind in enumerate(kinds)]


def node(name: str, children: list[Any]) -> tuple[str, list[Any]]:
    return name, [one if isinstance(one, tuple) else (one.type, one.start) for one in children]


def read_by_lark(lark: Lark, kinds: list[str]) -> tuple[str, list[Any]] | None:
    """What Lark reads, written as :func:`node` does; None where it refuses."""
    tokens: Any = [Token(kind, "", start_pos=place) for place, kind in enumerate(kinds)]
    try:
        return told(lark.parse(tokens))
    except UnexpectedToken:
        return None


def told(tree: Tree[Any]) -> tuple[str, list[Any]]:
    return str(tree.data), [
        told(one) if isinstance(one, Tree) else (one.type, one.start_pos) for one in tree.children
    ]
