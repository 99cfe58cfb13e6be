"""Scheduled text to weighted fragments, and to the tree of emphasis that shows where they come from.

Round and square brackets are closed independently, so they may cross. A fragment's weight is the
product of the factors of all brackets open around it, and those of one shape always nest: two
stacks are enough, and the work is linear at any depth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Final, TypeAlias, cast

from promptengine.garbage import gc_paused
from promptengine.prompt.ast import Break, Emphasis, Fragment, Text
from promptengine.prompt.grammar import Language, Lexeme, language
from promptengine.prompt.source_map import MappedText, whole

__all__ = ["attention", "emphasis"]

_ROUND, _SQUARE = 1.1, 1 / 1.1
_SPECIAL = re.compile(r"[\\()\[\]:]|\bBREAK\b")
# Up to this many brackets deep, factors multiply in the reference's order (closers as they come), so
# that floats are equal to the last bit and neighbors merge where the reference's do. Deeper down
# running products take over; they keep the work linear and agree to about 1e-16 a bracket.
_EXACT_DEPTH = 32
_MOST_KEPT: Final = 4096
"""Characters of a text whose weights are remembered."""

# A leaf, or an emphasis: its opener, what it holds, and its closer, which knows the factor. Public
# nodes are made for those who ask for the tree; weights need none.
_Node: TypeAlias = "Lexeme | _Pair"
_Pair: TypeAlias = "list[_Node]"
_Match: TypeAlias = tuple[int, int, float]
_Piece: TypeAlias = tuple[str, float, int, int]
"""A text, its weight, and where it begins and ends in what was read."""


@gc_paused
def attention(text: str | MappedText) -> tuple[Fragment, ...]:
    """Work out the weights in a text without schedules.

    Args:
        text: A scheduled text; as an excerpt where it was put together from pieces of a source.

    Returns:
        At least one fragment; neighbors of equal weight are merged. Spans point into the source.
        Weights are products of factors, 1.0 where there is no bracket, and -1.0 times that for
        ``BREAK``. A product beyond a float's range is infinite or 0.
    """
    excerpt = whole(text) if isinstance(text, str) else text
    if not _SPECIAL.search(excerpt.text):
        return (Fragment(excerpt.text, 1.0, excerpt.span(0, len(excerpt.text))),)
    known = _kept_pieces if len(excerpt.text) <= _MOST_KEPT else _pieces
    return tuple(
        Fragment(said, weight, excerpt.span(start, end))
        for said, weight, start, end in known(excerpt.text)
    )


def _pieces(text: str) -> tuple[_Piece, ...]:
    """Work out the weights in a text with brackets."""
    found: list[_Piece] = []
    pieces: list[str] = []
    start, end, weight = 0, 0, math.nan
    for leaf, factor in _weighed(_read(text)):
        value = -factor if leaf.type == "BREAK" else factor
        if pieces and value != weight:
            found.append(("".join(pieces), weight, start, end))
            pieces = []
        if not pieces:
            start, weight = leaf.start, value
        pieces.append(_said(leaf))
        end = leaf.end
    found.append(("".join(pieces), weight if pieces else 1.0, start, end))
    return tuple(found)


_kept_pieces = lru_cache(maxsize=32)(_pieces)
"""Whoever edits a prompt asks for the weights of most of its texts again at each key."""


@gc_paused
def emphasis(text: str | MappedText) -> tuple[Text | Break | Emphasis, ...]:
    """Read the brackets of a text without schedules as a tree.

    An unclosed bracket reaches to the end of the text. Where brackets cross, no tree fits: then each
    piece of text stands in an :class:`Emphasis` of its own, with its whole factor.

    Args:
        text: A scheduled text; as an excerpt where it was put together from pieces of a source.
    """
    excerpt = whole(text) if isinstance(text, str) else text
    pending = [iter(_read(excerpt.text))]
    opened: list[_Pair] = []
    done: list[list[Text | Break | Emphasis]] = [[]]
    while pending:
        for node in pending[-1]:
            if isinstance(node, list):
                pending.append(iter(node[1:-1]))
                opened.append(node)
                done.append([])
                break
            span = excerpt.span(node.start, node.end)
            done[-1].append(Break(span) if node.type == "BREAK" else Text(_said(node), span))
        else:
            pending.pop()
            if pending:
                opener, closer = cast(Lexeme, opened[-1][0]), cast(Lexeme, opened[-1][-1])
                opened.pop()
                span = excerpt.span(opener.start, closer.end)
                children = tuple(done.pop())
                done[-1].append(Emphasis(children, closer.factor, span))
    return tuple(done[0])


@cache
def _language() -> Language:
    return language("attention", {"start": list[_Node], "emphasis": list[_Node]})


def _read(text: str) -> list[_Node]:
    """Parse a text."""
    tongue = _language()
    lexemes = _trim_breaks(tongue.lex(text))
    pairs = _pair(lexemes)
    if _tangled(lexemes, pairs):
        lexemes = _flat(lexemes, pairs)
    elif pairs and pairs[-1][1] == len(lexemes):
        # Unclosed brackets, all of one shape, end together.
        end = Lexeme("END", "", len(text), len(text), pairs[-1][2])
        lexemes += [end] * sum(closer == len(lexemes) for _, closer, _ in pairs)
    return tongue.parse(lexemes)


def _said(leaf: Lexeme) -> str:
    """Return the text of a leaf without the backslash of an escape."""
    return leaf.text[1:] if leaf.type == "ESCAPE" else leaf.text


def _trim_breaks(lexemes: list[Lexeme]) -> list[Lexeme]:
    """Take the white space around each BREAK out, and see that text, maybe empty, is around it."""
    trimmed: list[Lexeme] = []
    after_break = False
    for lexeme in lexemes:
        if after_break and lexeme.type == "TEXT":
            lexeme.text = lexeme.text.lstrip()
            lexeme.start = lexeme.end - len(lexeme.text)
        elif after_break:
            trimmed.append(Lexeme("TEXT", "", lexeme.start, lexeme.start))
        after_break = lexeme.type == "BREAK"
        if after_break and trimmed and trimmed[-1].type == "TEXT":
            before = trimmed[-1]
            before.text = before.text.rstrip()
            before.end = before.start + len(before.text)
        elif after_break:
            trimmed.append(Lexeme("TEXT", "", lexeme.start, lexeme.start))
        trimmed.append(lexeme)
    if after_break:
        end = lexemes[-1].end
        trimmed.append(Lexeme("TEXT", "", end, end))
    return trimmed


def _pair(lexemes: list[Lexeme]) -> list[_Match]:
    """Match the brackets, each shape for itself, and retype closers that match none.

    Returns:
        For each opener its index, its closer's, and the factor. They stand in the order in which
        factors multiply: closed ones as they close, then the unclosed round ones, then the unclosed
        square ones. The count of lexemes stands in for the closer of those.
    """
    rounds: list[int] = []
    squares: list[int] = []
    pairs: list[_Match] = []
    for index, lexeme in enumerate(lexemes):
        match lexeme.type:
            case "LPAR":
                rounds.append(index)
            case "LSQB":
                squares.append(index)
            case "RPAR" | "WEIGHT" | "RSQB":
                openers = squares if lexeme.type == "RSQB" else rounds
                factor = _factor(lexeme)
                if openers and factor is not None:
                    lexeme.factor = factor
                    pairs.append((openers.pop(), index, factor))
                else:
                    lexeme.type = "TEXT"
            case _:
                pass
    end = len(lexemes)
    pairs += [(opener, end, _ROUND) for opener in rounds]
    pairs += [(opener, end, _SQUARE) for opener in squares]
    return pairs


def _factor(closer: Lexeme) -> float | None:
    """Return what a closer multiplies by, or None for a weight that is no number."""
    if closer.type == "RPAR":
        return _ROUND
    if closer.type == "RSQB":
        return _SQUARE
    try:
        return float(closer.text[1:-1].strip())
    except ValueError:
        return None


def _tangled(lexemes: list[Lexeme], pairs: list[_Match]) -> bool:
    """Tell whether brackets cross, or brackets of both shapes are unclosed.

    The latter nest, but their factors multiply in another order than that of nesting.
    """
    unclosed = {lexemes[opener].type for opener, closer, _ in pairs if closer == len(lexemes)}
    if len(unclosed) > 1:
        return True
    around: list[int] = []
    for opener, closer, _ in sorted(pairs):
        while around and around[-1] < opener:
            around.pop()
        if around and closer > around[-1]:
            return True
        around.append(closer)
    return False


def _flat(lexemes: list[Lexeme], pairs: list[_Match]) -> list[Lexeme]:
    """Replace brackets by a pair around each piece of text that carries its whole factor."""
    ranks = {opener: (rank, factor) for rank, (opener, _, factor) in enumerate(pairs)}
    rounds, squares = _Open(), _Open()
    factor: float = 1.0
    flat: list[Lexeme] = []
    for index, lexeme in enumerate(lexemes):
        match lexeme.type:
            case "LPAR":
                rounds.push(*ranks[index])
            case "LSQB":
                squares.push(*ranks[index])
            case "RPAR" | "WEIGHT":
                rounds.pop()
            case "RSQB":
                squares.pop()
            case _:
                start, end = lexeme.start, lexeme.end
                if factor == 1:
                    flat.append(lexeme)
                    continue
                opener = Lexeme("OPEN", "", start, start)
                flat += (opener, lexeme, Lexeme("END", "", end, end, factor))
                continue
        factor = _product(rounds, squares)
    return flat


def _weighed(nodes: list[_Node]) -> Iterator[tuple[Lexeme, float]]:
    """Yield the leaves of a tree, each with the product of the factors around it."""
    around = _Open()
    factor = 1.0
    # Nodes by index, not by iterator: what a level of nesting costs decides how deep is cheap.
    levels, indices = [nodes], [-1]
    while levels:
        indices[-1] += 1
        level, index = levels[-1], indices[-1]
        if index < len(level):
            node = level[index]
            if not isinstance(node, list):
                if len(levels) == 1 or 0 < index < len(level) - 1:
                    yield node, factor
                continue
            # Inner factors multiply first.
            around.push(-len(levels), cast(Lexeme, node[-1]).factor)
            levels.append(node)
            indices.append(-1)
        else:
            levels.pop()
            indices.pop()
            if levels:
                around.pop()
        factor = around.product()


@dataclass(slots=True)
class _Open:
    """Brackets that are open, the innermost last.

    Attributes:
        ranks: Each bracket's place in the order of multiplication.
        factors: What each multiplies by.
        mantissas: Before the first and after each bracket the product so far. It may leave a
            float's range on the way and come back into it, hence its own binary exponent.
        exponents: Those of the mantissas.
    """

    ranks: list[int] = field(default_factory=list[int])
    factors: list[float] = field(default_factory=list[float])
    mantissas: list[float] = field(default_factory=lambda: [1.0])
    exponents: list[int] = field(default_factory=lambda: [0])

    def push(self, rank: int, factor: float) -> None:
        self.ranks.append(rank)
        self.factors.append(factor)
        mantissa, shift = math.frexp(self.mantissas[-1] * factor)
        self.mantissas.append(mantissa)
        self.exponents.append(self.exponents[-1] + shift)

    def pop(self) -> None:
        self.ranks.pop()
        self.factors.pop()
        self.mantissas.pop()
        self.exponents.pop()

    def product(self) -> float:
        """Multiply all factors, the innermost first."""
        depth = len(self.factors)
        if depth < 2:
            return self.factors[0] if depth else 1.0
        if depth <= _EXACT_DEPTH:
            return math.prod(reversed(self.factors), start=1.0)
        return _scaled(self)


def _product(*stacks: _Open) -> float:
    """Multiply the factors of all open brackets, in the order of their ranks."""
    depth = sum(len(stack.factors) for stack in stacks)
    if depth == 0:
        return 1.0
    if depth <= _EXACT_DEPTH:
        ordered = sorted(
            pair for stack in stacks for pair in zip(stack.ranks, stack.factors, strict=True)
        )
        return math.prod([1.0, *(factor for _, factor in ordered)])
    return _scaled(*stacks)


def _scaled(*stacks: _Open) -> float:
    """Multiply the running products of all open brackets."""
    mantissa = math.prod(stack.mantissas[-1] for stack in stacks)
    exponent = sum(stack.exponents[-1] for stack in stacks)
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)
