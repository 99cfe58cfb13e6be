"""How the options of a choice are picked: by random numbers, one after another, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias

from promptengine.errors import RequestError
from promptengine.prompt.templates.parser import parse_template
from promptengine.prompt.templates.tree import Nodes, depth
from promptengine.prompt.templates.wildcards import Wildcards, WildcardValue

__all__ = [
    "COMBINATORIAL",
    "CYCLICAL",
    "DEEPEST",
    "METHODS",
    "RANDOM",
    "Method",
    "Options",
    "Value",
    "Values",
    "Work",
    "check_depth",
    "refused",
]

DEEPEST: Final = 50
"""How deep choices, wildcards, variables and wraps may stand in each other, those of files included."""

_MOST_STEPS: Final = 50_000
"""Nodes that are looked at for one prompt."""

_STEPS_BACK: Final = 1_000
"""Of these, how many each further combination gives back."""

_MOST_VALUES: Final = 2_000_000

Value: TypeAlias = "Nodes | str"
"""What an option says: nodes, or a wildcard's value that is not read yet."""


def refused(message: str) -> RequestError:
    """Return the error for a template that cannot be used."""
    return RequestError(message, field="prompt")


def check_depth(nodes: Nodes) -> None:
    """Refuse what is too deep before anything goes down into it.

    Raises:
        RequestError: It is.
    """
    levels = depth(nodes) - 1
    if levels > DEEPEST:
        raise refused(f"the template nests {levels} deep; it must be at most {DEEPEST}")


@dataclass(frozen=True, slots=True)
class Values:
    """What a wildcard gives.

    Attributes:
        texts: Its values.
        weights: One of each.
        even: Whether all are as likely.
        repeated: The texts as often as their weights say, without fractions.
    """

    texts: Sequence[str]
    weights: Sequence[float]
    even: bool
    repeated: Sequence[str]


def _values(found: Sequence[WildcardValue]) -> Values:
    texts, weights = [one.text for one in found], [one.weight for one in found]
    if sum(map(int, weights)) > _MOST_VALUES:
        raise refused(
            f"a wildcard's weights come to more than {_MOST_VALUES:,}; write smaller ones"
        )
    repeated = [v for v, weight in zip(texts, weights, strict=True) for _ in range(int(weight))]
    return Values(texts, weights, len(set(weights)) == 1, repeated)


@dataclass(slots=True)
class Work:
    """What the making of prompts goes on with.

    Attributes:
        wildcards: The files.
        random: The generator of random numbers.
        turn: The number of the prompt, from 0.
        left: Steps left for this prompt.
        read: Values of wildcards that were read.
        known: What wildcards give, by their names.
    """

    wildcards: Wildcards
    random: Random
    turn: int = 0
    left: int = _MOST_STEPS
    read: dict[str, Nodes] = field(default_factory=dict[str, Nodes])
    known: dict[str, Values] = field(default_factory=dict[str, Values])

    def step(self, options: int = 0) -> None:
        """Count a node, and what is gone through for it.

        Args:
            options: How many options are looked at, of which a hundred count as a node.

        Raises:
            RequestError: There were too many.
        """
        self.left -= 1 + options // 100
        if self.left < 0:
            raise refused(
                f"the template takes too much work: more than {_MOST_STEPS:,} steps for one prompt; write a smaller one"
            )

    def values(self, name: str) -> Values:
        """Return what a wildcard gives.

        Raises:
            RequestError: As :meth:`Wildcards.values`.
        """
        if name not in self.known:
            self.known[name] = _values(self.wildcards.values(name))
        return self.known[name]

    def go_on(self) -> None:
        """Begin with a further prompt, for which there is less to do than for the first."""
        self.left = min(self.left + _STEPS_BACK, _MOST_STEPS)

    def nodes(self, value: Value) -> Nodes:
        """Return what an option says."""
        if not isinstance(value, str):
            return value
        if value not in self.read:
            nodes = parse_template(value).nodes
            check_depth(nodes)
            self.read[value] = nodes
        return self.read[value]


@dataclass(frozen=True, slots=True)
class Options:
    """What is picked from.

    Attributes:
        values: The options.
        weights: One of each.
        low: The fewest that are taken, at most as many as there are.
        high: The most, likewise.
        separator: Stands between them.
    """

    values: Sequence[Value]
    weights: Sequence[float]
    low: int
    high: int
    separator: str


@dataclass(frozen=True, slots=True)
class Method:
    """How options are picked.

    Attributes:
        name: As users write it.
        mark: As templates write it: ``{~a|b}``.
        finite: Whether it gives all that there is, one after another, and then ends.
        pick: Picks options for one prompt, with the turn that holds within them.
        pick_value: Picks one of a wildcard's values, likewise.
    """

    name: str
    mark: str
    finite: bool
    pick: Callable[[Options, Work, int], tuple[Sequence[Value], int]]
    pick_value: Callable[[Values, Work, int], tuple[str, int]]


def _drawn(options: Options, work: Work, turn: int) -> tuple[Sequence[Value], int]:
    """Draw options by their weights, none twice."""
    count = work.random.randint(options.low, options.high)
    values, weights, chosen = list(options.values), list(options.weights), list[Value]()
    if len(values) == 1:
        return values, turn
    for _ in range(count):
        work.step(len(values))
        if not sum(weights) > 0:
            raise refused("a choice has too few options with a weight above 0")
        one = work.random.choices(values, weights=weights)[0]
        chosen.append(one)
        place = values.index(one)
        # It is the first equal weight that goes, be it another option's: as the library does it.
        weights.remove(weights[place])
        values.pop(place)
    return chosen, turn


def _drawn_value(values: Values, work: Work, turn: int) -> tuple[str, int]:
    if values.even:
        return work.random.choice(values.texts), turn
    work.step(len(values.texts))
    if not sum(values.weights) > 0:
        raise refused("a wildcard has no value with a weight above 0")
    # Ten at once, of which the library keeps nine for later.
    return work.random.choices(values.texts, weights=values.weights, k=10)[0], turn


def _in_turn(options: Options, work: Work, turn: int) -> tuple[Sequence[Value], int]:
    """Take the ordered selections one after another; all of them done, those within them go on."""
    work.step(len(options.values))
    values = options.values if options.high <= 1 else list(dict.fromkeys(options.values))
    high = min(options.high, len(values))
    counts = range(min(options.low, high), high + 1)
    sizes = [_selections(len(values), count) for count in counts]
    turn, number = divmod(turn, sum(sizes))
    for count, size in zip(counts, sizes, strict=True):
        if number < size:
            return _selection(list(values), count, number, work), turn
        number -= size
    return (), turn


def _selections(total: int, count: int) -> int:
    """Return how many ordered selections there are, but no more than any turn needs."""
    product = 1
    for factor in range(total, total - count, -1):
        product *= factor
        if product > 1 << 80:
            break
    return product


def _selection(values: list[Value], count: int, number: int, work: Work) -> list[Value]:
    """Return the ordered selection of a number, in the order of the options."""
    chosen: list[Value] = []
    for position in range(count):
        work.step(len(values))
        place, number = divmod(number, _selections(len(values) - 1, count - position - 1))
        chosen.append(values.pop(place))
    return chosen


def _value_in_turn(values: Values, work: Work, turn: int) -> tuple[str, int]:
    if not values.repeated:
        raise refused("a wildcard has no value with a weight of 1 or more")
    turn, place = divmod(turn, len(values.repeated))
    return values.repeated[place], turn


RANDOM: Final = Method("random", "~", False, _drawn, _drawn_value)
COMBINATORIAL: Final = Method("combinatorial", "!", True, _in_turn, _value_in_turn)
CYCLICAL: Final = Method("cyclical", "@", False, _in_turn, _value_in_turn)

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {method.mark: method for method in (RANDOM, COMBINATORIAL, CYCLICAL)}
)
"""Every method by its mark."""
