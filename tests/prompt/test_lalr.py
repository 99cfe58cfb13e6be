"""Tables run by our own loop: what it makes of tokens, and what it refuses. ``test_grammar.py`` compares with Lark."""

from __future__ import annotations

import pytest

from grammars.build import GRAMMARS, table_of
from promptengine.prompt.grammar import Lexeme
from promptengine.prompt.lalr import parser_of


def token(kind: str, place: int) -> Lexeme:
    return Lexeme(kind, f"{kind}{place}", place, place + 1)


def test_tokens_have_functions_too() -> None:
    table = table_of((GRAMMARS / "tags.lark").read_text("utf-8"))
    parse = parser_of(table, {"start": tuple, "TAG": lambda lexeme: lexeme.text.upper()})
    first, second = token("TEXT", 0), token("TAG", 1)
    assert parse([first, second]) == (first, "TAG1")
    assert parse([]) == ()


def test_what_does_not_fit_is_an_error() -> None:
    parse = parser_of(table_of((GRAMMARS / "conjunction.lark").read_text("utf-8")), {})
    with pytest.raises(KeyError):
        parse([token("NONE", 0)])


@pytest.mark.parametrize("rules", ['start: "x" A', "start: A -> other", "start: b\n?b: A | A A"])
def test_what_tables_cannot_say_is_refused(rules: str) -> None:
    with pytest.raises(ValueError, match="a table cannot say"):
        table_of(f'{rules}\nA: "a"')
