"""Which brackets of the schedule language mean something, and which are literal.

A bracket's meaning shows only at its closer, so this scan stands between lexer and parser and
retypes lexemes: what is left for the parser always fits the grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from promptengine.prompt.grammar import Lexeme

__all__ = ["OPENERS", "WEIGHT", "Balanced", "Reason", "Rejection", "balance", "unpaired"]

WEIGHT: Final = re.compile(r"\s*[-+]?[.\d]+\s*")
OPENERS: Final = {")": "(", "]": "["}

Reason = Literal["number missing", "too many colons", "colon and bar"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A bracket pair that looks like a schedule and is none.

    Attributes:
        reason: What is wrong with it.
        opener: Its opening bracket.
        closer: Its closing bracket.
    """

    reason: Reason
    opener: Lexeme
    closer: Lexeme


@dataclass(frozen=True, slots=True)
class Balanced:
    """What the scan found.

    Attributes:
        raw: What keeps the whole text from being scheduled: a stray ``|``, or a backslash that
            ends a line. None where nothing does.
        constructs: How many schedules and alternations there are.
        rejections: Pairs that look like one and are none, in the order of their closers.
    """

    raw: Lexeme | None
    constructs: int
    rejections: tuple[Rejection, ...]


# An open bracket, and the colons, bars and number that stand directly inside it.
_Frame: TypeAlias = list[Lexeme]


def balance(lexemes: list[Lexeme]) -> Balanced:
    """Retype the lexemes of a text so that they fit ``schedule.lark``.

    When a closer meets a bracket of the other shape, or one that cannot be closed there, *every*
    open bracket is literal. Brackets already closed keep their meaning, also where the reference's
    ambiguous grammar has no fixed answer: the construct always wins.

    Args:
        lexemes: All lexemes of the text; retyped in place. Where the result's ``raw`` is set, they
            are not fit for the parser.
    """
    stack: list[_Frame] = []
    rejections: list[Rejection] = []
    stray: list[Lexeme] = []
    constructs = 0
    for lexeme in lexemes:
        match lexeme.type:
            case "TEXT" | "TAG":
                pass
            case "LPAR" | "LSQB":
                stack.append([lexeme])
            case "COLON" | "BAR" | "NUMBER" if stack:
                stack[-1].append(lexeme)
            case "RPAR" | "RSQB" if stack and _close(stack[-1], lexeme):
                constructs += stack.pop()[0].type in ("SCHEDULE", "ALTERNATION")
            case "RPAR" | "RSQB":
                if stack and (reason := _why_literal(stack[-1], lexeme)):
                    rejections.append(Rejection(reason, stack[-1][0], lexeme))
                stray += _discard(stack)
                lexeme.type = "TEXT"
            case "COLON" | "NUMBER":
                lexeme.type = "TEXT"
            case _:
                stray.append(lexeme)
    stray += _discard(stack)
    raw = min(stray, key=_start, default=None)
    return Balanced(raw, constructs, tuple(rejections))


def _start(lexeme: Lexeme) -> int:
    return lexeme.start


def _close(frame: _Frame, closer: Lexeme) -> bool:
    """Give a pair its meaning, or return False where it has none."""
    opener, *inside = frame
    # A NUMBER stands between a colon and `]`, so it can only be the whole of the last section.
    match opener.type, closer.type, [lexeme.type for lexeme in inside]:
        case ("LPAR", "RPAR", []) | ("LSQB", "RSQB", []):
            return True
        case "LPAR", "RPAR", ["COLON"]:
            inside[0].type = "TEXT"
            return True
        case "LSQB", "RSQB", ["COLON", "NUMBER"] | ["COLON", "COLON", "NUMBER"]:
            opener.type = "SCHEDULE"
            return True
        case "LSQB", "RSQB", kinds if all(kind == "BAR" for kind in kinds):
            opener.type = "ALTERNATION"
            return True
        case _:
            return False


def _why_literal(frame: _Frame, closer: Lexeme) -> Reason | None:
    """Tell what is wrong with a pair of square brackets that has no meaning."""
    opener, *inside = frame
    if opener.type != "LSQB" or closer.type != "RSQB":
        return None
    if any(lexeme.type == "BAR" for lexeme in inside):
        return "colon and bar"
    return "too many colons" if inside[-1].type == "NUMBER" else "number missing"


def _discard(stack: list[_Frame]) -> list[Lexeme]:
    """Make every open bracket literal, and return the bars that stood in them."""
    bars: list[Lexeme] = []
    for frame in stack:
        for lexeme in frame:
            if lexeme.type == "BAR":
                bars.append(lexeme)
            else:
                lexeme.type = "TEXT"
    stack.clear()
    return bars


def unpaired(
    lexemes: list[Lexeme],
) -> tuple[list[Lexeme], list[tuple[Lexeme, Lexeme, Lexeme]]]:
    """Find brackets without a partner, and weights that are no number.

    Each shape counts for itself, as in the attention language.

    Returns:
        Lonely brackets; the texts that stand for a weight, between the brackets around them.
    """
    lonely: list[Lexeme] = []
    weights: list[tuple[Lexeme, Lexeme, Lexeme]] = []
    opened: dict[str, list[Lexeme]] = {"(": [], "[": []}
    for index, lexeme in enumerate(lexemes):
        bracket = lexeme.text
        if bracket in opened:
            opened[bracket].append(lexeme)
        elif bracket in OPENERS:
            openers = opened[OPENERS[bracket]]
            if not openers:
                lonely.append(lexeme)
                continue
            opener = openers.pop()
            before = lexemes[index - 1]
            after_colon = bracket == ")" and index > 1 and lexemes[index - 2].text == ":"
            if after_colon and before.text not in "()[]:|" and not _is_number(before.text):
                weights.append((opener, before, lexeme))
    lonely += opened["("] + opened["["]
    lonely.sort(key=lambda bracket: bracket.start)
    return lonely, weights


def _is_number(text: str) -> bool:
    try:
        float(text.strip())
    except ValueError:
        return False
    # float() reads more than the weight of an emphasis may be, such as 1e3 or inf.
    return WEIGHT.fullmatch(text) is not None
