"""How the tag of a kind of networks is written and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from promptengine.errors import RequestError
from promptengine.validation import check_type

__all__ = [
    "Points",
    "ReadPoints",
    "TagProblem",
    "TagReading",
    "TagSyntax",
    "finite_number",
    "plain_tag",
]

Points = tuple[tuple[float, float], ...]
"""A multiplier over the steps: calls of the denoiser, ascending, with multipliers there."""

ReadPoints = Callable[[str], Points | None]
"""Reads a multiplier; None where it is no finite number, nor numbers over the steps where these count."""


class TagProblem(ValueError):
    """A tag cannot be used.

    Args:
        reason: Why, in a few words.
        problem: The same as a sentence that names the network.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.problem = problem


@dataclass(frozen=True, slots=True)
class TagReading:
    """What a tag asks for.

    Attributes:
        name: Of the network.
        points: Its multiplier; 1 is full effect, 0 none. One point holds at all steps.
        unet_multiplier: That of its changes to the UNet, where it may be another one.
        extra: What else the tag asks for.
    """

    name: str
    points: Points = ((0.0, 1.0),)
    unet_multiplier: float | None = None
    extra: Hashable = None


@dataclass(frozen=True, slots=True)
class TagSyntax:
    """How a tag is written: ``<word:argument:…>``.

    Attributes:
        words: What may open it; they mean the same.
        read: Takes the word, the arguments, of which there is one at least, and what reads multipliers.
            Raises :class:`TagProblem`.
        title: What it is called in messages, such as ``a LoRA tag``.
        usage: What its arguments are, for people.
        idle: Takes the arguments, and returns those that mean nothing.
        name_in: Takes the arguments, and returns the name of the network, or None where there is none.
        marks: Characters that no name in it can hold, beside ``<``, ``>``, ``:`` and line breaks.
        over_steps: Whether its multiplier may change over the steps.
    """

    words: tuple[str, ...]
    read: Callable[[str, Sequence[str], ReadPoints], TagReading]
    title: str
    usage: str
    idle: Callable[[Sequence[str]], Sequence[str]]
    name_in: Callable[[Sequence[str]], str | None]
    marks: str = ""
    over_steps: bool = False

    def holds(self, name: str) -> bool:
        """Return whether a tag can hold a name."""
        return bool(name) and not any(mark in name for mark in f"<>:\r\n{self.marks}")

    def written(self, name: str, multiplier: str) -> str:
        """Write a tag."""
        return f"<{self.words[0]}:{name}:{multiplier}>"


def plain_tag(*words: str, noun: str, article: str = "a", over_steps: bool = False) -> TagSyntax:
    """Describe a tag of a name and a multiplier: ``<word:name:1>``, the multiplier 1 where it is left out.

    Args:
        words: What may open it.
        noun: What a network is called, such as ``hypernetwork``.
        article: Of the noun.
        over_steps: Whether its multiplier may change over the steps.

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
        read=partial(_read_plain, noun),
        title=f"{article} {noun}'s tag",
        usage=f"it takes a name and a multiplier: <{words[0]}:name:1>",
        idle=_behind_multiplier,
        name_in=_first,
        over_steps=over_steps,
    )


def _read_plain(
    noun: str, word: str, arguments: Sequence[str], read_points: ReadPoints
) -> TagReading:
    name, *rest = arguments
    if not rest:
        return TagReading(name)
    points = read_points(rest[0])
    if points is None:
        multiplier = f"multiplier {rest[0]!r}"
        problem = f"{multiplier} of {noun} {name!r} is not a finite number"
        raise TagProblem(f"{multiplier} is not a finite number", problem)
    return TagReading(name, points)


def _behind_multiplier(arguments: Sequence[str]) -> Sequence[str]:
    return [item for item in arguments[2:] if item]


def _first(arguments: Sequence[str]) -> str | None:
    return arguments[0]


def finite_number(text: str) -> float | None:
    """Read what Python's ``float`` reads, as in WebUI; None for anything else, infinities and NaN included."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
