"""How the tag of a kind of networks is written and read."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from promptengine.errors import RequestError
from promptengine.kinds.blocks import AskedBlocks, split_blocks, without_blocks
from promptengine.kinds.problem import TagProblem, finite_number
from promptengine.validation import check_type

__all__ = [
    "Curve",
    "ReadCurve",
    "TagProblem",
    "TagReading",
    "TagSyntax",
    "finite_number",
    "plain_tag",
]


@dataclass(frozen=True, slots=True)
class Curve:
    """A multiplier over the steps: 1 is full effect, 0 none.

    Attributes:
        points: Calls of the denoiser from 0 on, ascending, with multipliers there; between two of them it
            changes evenly, before the first and behind the last not at all.
        start: The call from which it holds; before, the multiplier is 0.
        stop: The call from which it holds no longer.
    """

    points: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    start: float = 0.0
    stop: float = math.inf

    @property
    def is_constant(self) -> bool:
        """Whether it is the same at all calls."""
        return len(self.points) == 1 and self.start <= 0 and self.stop == math.inf

    def at(self, call: int) -> float:
        """Return the multiplier at a 0-based call of the denoiser."""
        if not self.start <= call < self.stop:
            return 0.0
        points = self.points
        after = bisect_right(points, call, key=_place)
        if after in (0, len(points)):
            return points[max(after - 1, 0)][1]
        (start, low), (end, high) = points[after - 1], points[after]
        return low + (high - low) * (call - start) / (end - start)

    def within(self, start: float, stop: float) -> Curve:
        """Return it where two calls bound it."""
        return replace(self, start=start, stop=stop)


def _place(point: tuple[float, float]) -> float:
    return point[0]


class ReadCurve(Protocol):
    """Reads multipliers and steps of a tag for one pass."""

    @property
    def over_steps(self) -> bool:
        """Whether multipliers may change over the steps in the prompt's dialect."""
        ...

    @property
    def later(self) -> bool:
        """Whether the pass is the second one, at high resolution."""
        ...

    def __call__(self, text: str) -> Curve | None:
        """Read a multiplier; None where it is no finite number, nor numbers over the steps where these count."""
        ...

    def step(self, text: str) -> float | None:
        """Read a step as a 0-based call: a number with a point is a share of all. None for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class TagReading:
    """What a tag asks for.

    Attributes:
        name: Of the network.
        curve: Its multiplier; for kinds that change text encoders and UNet apart, that of the former.
        unet: That of its changes to the UNet, where it may be another one.
        extra: What else the tag asks for.
        blocks: Its weights by block, where the tag asks for any.
    """

    name: str
    curve: Curve = Curve()
    unet: Curve | None = None
    extra: Hashable = None
    blocks: AskedBlocks | None = None


@dataclass(frozen=True, slots=True)
class TagSyntax:
    """How a tag is written: ``<word:argument:…>``.

    Attributes:
        words: What may open it; they mean the same.
        read: Takes the word, the arguments, of which there is one at least, and what reads multipliers.
            Raises :class:`TagProblem`.
        title: What it is called in messages, such as ``a LoRA tag``.
        usage: What its arguments are, for people.
        idle: Takes the arguments, and whether multipliers may change over the steps, and returns those
            that mean nothing.
        name_in: Takes the arguments, and returns the name of the network, or None where there is none.
        marks: Characters that no name in it can hold, beside ``<``, ``>``, ``:`` and line breaks.
        over_steps: Whether its multiplier may change over the steps.
    """

    words: tuple[str, ...]
    read: Callable[[str, Sequence[str], ReadCurve], TagReading]
    title: str
    usage: str
    idle: Callable[[Sequence[str], bool], Sequence[str]]
    name_in: Callable[[Sequence[str]], str | None]
    marks: str = ""
    over_steps: bool = False

    def holds(self, name: str) -> bool:
        """Return whether a tag can hold a name."""
        return bool(name) and set(f"<>:\r\n{self.marks}").isdisjoint(name)

    def written(self, name: str, multiplier: str) -> str:
        """Write a tag."""
        return f"<{self.words[0]}:{name}:{multiplier}>"


def plain_tag(
    *words: str,
    noun: str,
    article: str = "a",
    over_steps: bool = False,
    by_block: bool = False,
) -> TagSyntax:
    """Describe a tag of a name and a multiplier: ``<word:name:1>``, the multiplier 1 where it is left out.

    Args:
        words: What may open it.
        noun: What a network is called, such as ``hypernetwork``.
        article: Of the noun.
        over_steps: Whether its multiplier may change over the steps.
        by_block: Whether it may have weights by block behind ``lbw=``; its loader applies
            :attr:`promptengine.request.plan.NetworkUse.blocks`.

    Raises:
        RequestError: No word, or one that is no text.
    """
    check_type("noun", noun, str)
    for word in words:
        check_type("words", word, str)
    if not words:
        raise RequestError("words is empty; a tag must have a word that opens it", field="words")
    return TagSyntax(
        words=words,
        read=partial(_read_plain, noun, by_block),
        title=f"{article} {noun}'s tag",
        usage=f"it takes a name and a multiplier: <{words[0]}:name:1>"
        + (", and lbw= for weights by block" if by_block else ""),
        idle=partial(_behind_multiplier, by_block),
        name_in=_first,
        over_steps=over_steps,
    )


def _read_plain(
    noun: str, by_block: bool, word: str, arguments: Sequence[str], read_curve: ReadCurve
) -> TagReading:
    name, *others = arguments
    rest, blocks = split_blocks(others, f"{noun} {name!r}") if by_block else (others, None)
    if not rest:
        return TagReading(name, blocks=blocks)
    curve = read_curve(rest[0])
    if curve is None:
        multiplier = f"multiplier {rest[0]!r}"
        problem = f"{multiplier} of {noun} {name!r} is not a finite number"
        raise TagProblem(f"{multiplier} is not a finite number", problem)
    return TagReading(name, curve, blocks=blocks)


def _behind_multiplier(by_block: bool, arguments: Sequence[str], over_steps: bool) -> Sequence[str]:
    rest = without_blocks(arguments[1:]) if by_block else arguments[1:]
    return [item for item in rest[1:] if item]


def _first(arguments: Sequence[str]) -> str | None:
    return arguments[0]
