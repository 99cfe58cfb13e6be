"""From brackets that are read to fragments of text with weights, for dialects that keep no other tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, cast

from promptengine.prompt.ast import Fragment
from promptengine.prompt.grammar import Lexeme
from promptengine.prompt.source_map import MappedText

__all__ = ["BREAK_WEIGHT", "Leaf", "Tree", "fragments", "leaves"]

Tree: TypeAlias = "list[Lexeme | Tree]"
"""A pair of brackets with what it holds, its opener first. The opener knows the factor."""

Leaf: TypeAlias = tuple[str, float, int, int]
"""A text, its weight, and where it begins and ends in the excerpt."""

BREAK_WEIGHT = -1.0
"""The weight of the word BREAK where it is the break between chunks."""


def leaves(tree: Tree, *, sets: str = "") -> Iterator[tuple[Lexeme, float, int]]:
    """Yield the lexemes of a tree, its brackets too, with their weights and how deep they stand.

    Args:
        tree: As parsed; at any depth of nesting.
        sets: Type of the openers whose factor is the weight itself, whatever is around them.
    """
    pending = [iter(tree)]
    weights = [1.0]
    while pending:
        for node in pending[-1]:
            if isinstance(node, list):
                opener = cast(Lexeme, node[0])
                outer = 1.0 if opener.type == sets else weights[-1]
                weights.append(outer * opener.factor)
                pending.append(iter(node))
                break
            yield node, weights[-1], len(weights) - 1
        else:
            pending.pop()
            weights.pop()


def fragments(found: Iterable[Leaf], excerpt: MappedText) -> tuple[Fragment, ...]:
    """Join neighbors of equal weight.

    Args:
        found: In their order; breaks between chunks have the weight :data:`BREAK_WEIGHT` and the text
            ``BREAK``.
        excerpt: What they stand in.

    Returns:
        At least one fragment.
    """
    made: list[Fragment] = []
    pieces: list[str] = []
    start, end, weight = 0, 0, 1.0
    broken = False
    for text, own, first, last in found:
        breaks = text == "BREAK" and own == BREAK_WEIGHT
        if pieces and (own != weight or breaks or broken):
            made.append(Fragment("".join(pieces), weight, excerpt.span(start, end)))
            pieces = []
        if not pieces:
            start, weight = first, own
        pieces.append(text)
        end, broken = last, breaks
    if pieces or not made:
        made.append(Fragment("".join(pieces), weight, excerpt.span(start, end)))
    return tuple(made)
