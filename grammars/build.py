"""Work the grammars out to the tables that the package reads prompts with: ``python grammars/build.py``.

Lark reads a ``.lark`` file and works out its LALR(1) states, which takes longer than reading any prompt, and always
comes to the same. So it is done once, here, and a test does it again and compares. The tables are
``promptengine/prompt/tables/NAME.json``; ``promptengine/prompt/grammar.py`` says what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lark import Lark

GRAMMARS = Path(__file__).parent
TABLES = GRAMMARS.parent / "promptengine" / "prompt" / "tables"


def table_of(grammar: str) -> dict[str, Any]:
    """Work out a grammar.

    States are numbered as they are met on the way from the first one, by the names of symbols, and rules as they
    are met in states, so that the same grammar gives the same table whatever Lark calls its states.

    Args:
        grammar: Of a ``.lark`` file.

    Raises:
        ValueError: It has something that the tables cannot say: aliases, ``?rule``, or terminals without a
            name.
        lark.exceptions.GrammarError: It is no grammar, or not LALR(1).
    """
    lark = Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=False)
    for rule in lark.rules:
        options = rule.options
        plain = not (rule.alias or options.expand1 or options.keep_all_tokens)
        if not plain or any(one.is_term and one.filter_out for one in rule.expansion):
            raise ValueError(f"a table cannot say {rule}")
    found: Any = lark.parser.parser._parse_table
    numbers, rules = {found.start_states["start"]: 0}, dict[str, int]()
    states: list[dict[str, int]] = []
    for state in numbers_as_they_come(numbers):
        actions: dict[str, int] = {}
        for symbol, (action, target) in sorted(found.states[state].items()):
            if action.name == "Shift":
                actions[symbol] = numbers.setdefault(target, len(numbers))
            else:
                names = (one.name for one in target.expansion)
                line = " ".join((f"{target.origin.name}:", *names))
                actions[symbol] = ~rules.setdefault(line, len(rules))
        states.append(actions)
    return {
        "terminals": pattern_of(lark),
        "rules": list(rules),
        "end": numbers[found.end_states["start"]],
        "states": states,
    }


def numbers_as_they_come(numbers: Mapping[Any, int]) -> Any:
    """Yield the keys of a growing mapping in the order in which they are added."""
    done = 0
    while done < len(numbers):
        yield list(numbers)[done]
        done += 1


def pattern_of(lark: Lark) -> str:
    """Return all terminals as one pattern, each a named group, by priority and then by the order in the grammar."""
    terminals = sorted(lark.terminals, key=lambda terminal: -terminal.priority)
    named = [f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in terminals if t.pattern]
    return "|".join([*named, r"[\s\S]"])


def written(table: Mapping[str, Any]) -> str:
    """Write a table as JSON, a rule and a state a line, so that changes can be read."""
    lines = {
        name: ",\n".join(f" {json.dumps(one)}" for one in value)
        for name, value in table.items()
        if isinstance(value, list)
    }
    fields = (
        f"{json.dumps(name)}: " + (f"[\n{lines[name]}\n]" if name in lines else json.dumps(value))
        for name, value in table.items()
    )
    return "{\n" + ",\n".join(fields) + "\n}\n"


def main() -> None:
    """Write the table of every grammar."""
    TABLES.mkdir(exist_ok=True)
    for source in sorted(GRAMMARS.glob("*.lark")):
        table = table_of(source.read_text(encoding="utf-8"))
        (TABLES / f"{source.stem}.json").write_text(written(table), encoding="utf-8")


if __name__ == "__main__":
    main()
