"""Templates to prompts: drawn by a seed, one after another, or all that there are.

Whatever is drawn is drawn as the ``dynamicprompts`` library draws it, call by call of Python's generator
of random numbers, so that a seed means the same prompt there and here. What is written is bounded:
depth, length and the work for one prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias

from promptengine.errors import RequestError
from promptengine.prompt.templates.parser import parse_template
from promptengine.prompt.templates.tree import (
    Assignment,
    Choice,
    Comment,
    Literal,
    Nodes,
    Template,
    TemplateNode,
    Variable,
    Wildcard,
    Wrap,
    depth,
)
from promptengine.prompt.templates.wildcards import Wildcards

__all__ = ["DEEPEST", "METHODS", "MOST_CHARACTERS", "Method", "combinations", "draw"]

DEEPEST: Final = 50
"""How deep choices, wildcards, variables and wraps may stand in each other, those of files included."""

MOST_CHARACTERS: Final = 100_000
"""Of a prompt that a template gives."""

_MOST_STEPS: Final = 50_000
"""Nodes that are looked at for one prompt."""

_STEPS_BACK: Final = 1_000
"""Of these, how many each further combination gives back."""

_DOTS: Final = re.compile(r"[\u1801\u2026\u22ee\u22ef\u22f0\u22f1\ufe19]+|\.{3,}")

_Value: TypeAlias = "Nodes | str"
"""What an option says: nodes, or a wildcard's value that is not read yet."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds at a place of a template.

    Attributes:
        method: Picks where a choice names no other.
        variables: What is set.
        open: Variables whose values are being written.
        trail: Wildcards around, outermost first.
        level: How deep the place is.
    """

    method: Method
    variables: Mapping[str, Nodes] = field(default_factory=dict[str, Nodes])
    open: frozenset[str] = frozenset()
    trail: tuple[str, ...] = ()
    level: int = 0

    def deeper(self) -> _Scope:
        """Return the scope one level down.

        Raises:
            RequestError: That is too deep.
        """
        if self.level < DEEPEST:
            return replace(self, level=self.level + 1)
        names = " in ".join(f"__{name[:40]}__" for name in reversed(self.trail[-3:]))
        why = f"; wildcards name each other: {names}" if names else ""
        raise _refused(f"the template nests more than {DEEPEST} deep{why}")

    def under(self, mark: str) -> _Scope:
        """Return the scope in which a choice's or wildcard's own method picks.

        One that gives all there is cannot within one that gives one at a time, which then picks itself.
        """
        own = METHODS.get(mark, self.method)
        return (
            self
            if own is self.method or self.method.finite < own.finite
            else replace(self, method=own)
        )


@dataclass(slots=True)
class _Work:
    """What the making of prompts goes on with.

    Attributes:
        wildcards: The files.
        random: The generator of random numbers.
        turn: The number of the prompt, from 0.
        left: Steps left for this prompt.
        read: Values of wildcards that were read.
    """

    wildcards: Wildcards
    random: Random
    turn: int = 0
    left: int = _MOST_STEPS
    read: dict[str, Nodes] = field(default_factory=dict[str, Nodes])

    def step(self) -> None:
        """Count a node.

        Raises:
            RequestError: There were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise _refused(
                f"the template takes too much work: more than {_MOST_STEPS:,} steps for one prompt; write a smaller one"
            )

    def nodes(self, value: _Value) -> Nodes:
        """Return what an option says."""
        if not isinstance(value, str):
            return value
        if value not in self.read:
            nodes = parse_template(value).nodes
            _check_depth(nodes)
            self.read[value] = nodes
        return self.read[value]


@dataclass(frozen=True, slots=True)
class _Options:
    """What is picked from.

    Attributes:
        values: The options.
        weights: One of each.
        low: The fewest that are taken, at most as many as there are.
        high: The most, likewise.
        separator: Stands between them.
    """

    values: Sequence[_Value]
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
    pick: Callable[[_Options, _Work, int], tuple[Sequence[_Value], int]]
    pick_value: Callable[[Sequence[str], Sequence[float], _Work, int], tuple[str, int]]


def _drawn(options: _Options, work: _Work, turn: int) -> tuple[Sequence[_Value], int]:
    """Draw options by their weights, none twice."""
    count = work.random.randint(options.low, options.high)
    values, weights, chosen = list(options.values), list(options.weights), list[_Value]()
    if len(values) == 1:
        return values, turn
    for _ in range(count):
        work.step()
        if not sum(weights) > 0:
            raise _refused("a choice has too few options with a weight above 0")
        one = work.random.choices(values, weights=weights)[0]
        chosen.append(one)
        place = values.index(one)
        # It is the first equal weight that goes, be it another option's: as the library does it.
        weights.remove(weights[place])
        values.pop(place)
    return chosen, turn


def _drawn_value(
    values: Sequence[str], weights: Sequence[float], work: _Work, turn: int
) -> tuple[str, int]:
    if len(set(weights)) == 1:
        return work.random.choice(values), turn
    if not sum(weights) > 0:
        raise _refused("a wildcard has no value with a weight above 0")
    # Ten at once, of which the library keeps nine for later.
    return work.random.choices(values, weights=weights, k=10)[0], turn


def _in_turn(options: _Options, work: _Work, turn: int) -> tuple[Sequence[_Value], int]:
    """Take the ordered selections one after another; all of them done, those within them go on."""
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


def _selection(values: list[_Value], count: int, number: int, work: _Work) -> list[_Value]:
    """Return the ordered selection of a number, in the order of the options."""
    chosen: list[_Value] = []
    for position in range(count):
        work.step()
        place, number = divmod(number, _selections(len(values) - 1, count - position - 1))
        chosen.append(values.pop(place))
    return chosen


def _value_in_turn(
    values: Sequence[str], weights: Sequence[float], work: _Work, turn: int
) -> tuple[str, int]:
    repeated = _repeated(values, weights)
    if not repeated:
        raise _refused("a wildcard has no value with a weight of 1 or more")
    turn, place = divmod(turn, len(repeated))
    return repeated[place], turn


def _repeated(values: Sequence[str], weights: Sequence[float]) -> list[str]:
    """Return values as often as their weights say, without fractions."""
    return [v for v, weight in zip(values, weights, strict=True) for _ in range(int(weight))]


RANDOM: Final = Method("random", "~", False, _drawn, _drawn_value)
COMBINATORIAL: Final = Method("combinatorial", "!", True, _in_turn, _value_in_turn)
CYCLICAL: Final = Method("cyclical", "@", False, _in_turn, _value_in_turn)

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {method.mark: method for method in (RANDOM, COMBINATORIAL, CYCLICAL)}
)
"""Every method by its mark."""


def draw(
    template: Template, wildcards: Wildcards, *, seed: int, turn: int = 0, cyclical: bool = False
) -> str:
    """Return one prompt of a template.

    Args:
        template: As read.
        wildcards: The files that it may name.
        seed: Of the random numbers.
        turn: The number of the image, from 0, which cyclical choices go by.
        cyclical: Whether choices that name no method go by that too, instead of by the seed.

    Raises:
        RequestError: A wildcard or a variable that there is not, or a template that is too deep, too long or
            too much work.
    """
    _check_depth(template.nodes)
    work = _Work(wildcards, Random(seed), turn)
    return _written(template.nodes, _Scope(CYCLICAL if cyclical else RANDOM), work, turn)


def combinations(template: Template, wildcards: Wildcards, *, seed: int) -> Iterator[str]:
    """Yield every prompt of a template, one by one; there may be more than anyone can wait for.

    Args:
        template: As read.
        wildcards: The files that it may name.
        seed: For choices within that are random.

    Raises:
        RequestError: As :func:`draw`, also between two prompts.
    """
    _check_depth(template.nodes)
    work = _Work(wildcards, Random(seed))
    every = _every(template.nodes, _Scope(COMBINATORIAL), work)
    while True:
        work.left = min(work.left + _STEPS_BACK, _MOST_STEPS)
        prompt = next(every, None)
        if prompt is None:
            return
        yield prompt
        work.turn += 1


def _refused(message: str) -> RequestError:
    return RequestError(message, field="prompt")


def _check_depth(nodes: Nodes) -> None:
    """Refuse what is too deep before anything goes down into it."""
    levels = depth(nodes) - 1
    if levels > DEEPEST:
        raise _refused(f"the template nests {levels} deep; it must be at most {DEEPEST}")


def _join(texts: Sequence[str], separator: str = "") -> str:
    """Join texts; a separator that an end brings itself is taken off there, as the library does."""
    if len(texts) == 1:
        return texts[0]
    length = sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0)
    if length > MOST_CHARACTERS:
        raise _refused(f"the template gives a prompt of more than {MOST_CHARACTERS:,} characters")
    joined = separator.join(texts)
    return joined.removeprefix(separator).removesuffix(separator) if separator else joined


def _assigned(
    nodes: Nodes, scope: _Scope, written: Callable[[Nodes, _Scope], str]
) -> tuple[Nodes, _Scope]:
    """Return nodes without assignments and comments, and the scope with what is assigned anywhere among them."""
    variables = dict(scope.variables)
    for node in nodes:
        if not isinstance(node, Assignment) or (node.name in variables and not node.overwrites):
            continue
        value = node.value
        if node.immediate:
            now = replace(scope.deeper(), variables=dict(variables))
            value = (Literal(written(value, now), node.span),)
        variables[node.name] = value
    left = tuple(node for node in nodes if not isinstance(node, (Assignment, Comment)))
    if len(variables) == len(scope.variables) and len(left) == len(nodes):
        return left, scope
    return left, replace(scope, variables=variables)


def _written(nodes: Nodes, scope: _Scope, work: _Work, turn: int) -> str:
    """Write nodes once."""
    left, scope = _assigned(nodes, scope, lambda value, now: _written(value, now, work, turn))
    return _join([_written_one(node, scope, work, turn) for node in left])


def _written_one(node: TemplateNode, scope: _Scope, work: _Work, turn: int) -> str:
    work.step()
    match node:
        case Choice():
            return _picked(_options(node), scope.under(node.method).deeper(), work, turn)
        case Wildcard():
            inner = scope.under(node.method)
            name = _wildcard_name(node, inner, work, turn)
            inner = _called(node, name, inner)
            values = work.wildcards.values(name)
            texts, weights = [one.text for one in values], [one.weight for one in values]
            text, turn = inner.method.pick_value(texts, weights, work, turn)
            return _written(work.nodes(text), inner, work, turn)
        case Variable():
            value, inner = _looked_up(node, scope)
            return _written(value, inner, work, turn)
        case Wrap():
            inner = scope.deeper()
            around = _written(node.around, inner, work, turn)
            return _wrapped(around, _written(node.within, inner, work, turn))
        case Literal() | Comment() | Assignment():
            return node.text if isinstance(node, Literal) else ""


def _options(choice: Choice) -> _Options:
    values = [option.nodes for option in choice.options]
    weights = [option.weight for option in choice.options]
    return _Options(values, weights, choice.low, choice.high, choice.separator)


def _picked(options: _Options, scope: _Scope, work: _Work, turn: int) -> str:
    """Write options that are picked; an only one that is a wildcard stands for its values."""
    if len(options.values) == 1:
        nodes = work.nodes(options.values[0])
        if len(nodes) == 1 and isinstance(nodes[0], Wildcard):
            name = _wildcard_name(nodes[0], scope, work, turn)
            inner = _called(nodes[0], name, scope)
            return _picked(_values_as_options(name, options, work), inner, work, turn)
        if scope.method is RANDOM:
            return _written(nodes, scope, work, turn)
    if not options.values:
        return ""
    total = len(options.values)
    bounded = replace(options, low=min(options.low, total), high=min(options.high, total))
    chosen, turn = scope.method.pick(bounded, work, turn)
    texts = [_written(work.nodes(value), scope, work, turn) for value in chosen]
    return _join(texts, options.separator)


def _values_as_options(name: str, options: _Options, work: _Work) -> _Options:
    values = work.wildcards.values(name)
    texts = _repeated([one.text for one in values], [one.weight for one in values])
    return replace(options, values=texts, weights=[1.0] * len(texts))


def _wildcard_name(node: Wildcard, scope: _Scope, work: _Work, turn: int) -> str:
    if scope.method.finite:
        name = next(_every(node.name, scope.deeper(), work), "")
    else:
        name = _written(node.name, scope.deeper(), work, turn)
    return name.strip()


def _called(node: Wildcard, name: str, scope: _Scope) -> _Scope:
    """Return the scope of a wildcard's values."""
    inner = scope.deeper()
    told = {argument.name: argument.value for argument in node.arguments}
    variables = {**inner.variables, **told}
    return replace(inner, variables=variables, trail=(*inner.trail, name))


def _looked_up(node: Variable, scope: _Scope) -> tuple[Nodes, _Scope]:
    """Return what a variable stands for, and where.

    Raises:
        RequestError: It is not set, or stands for itself.
    """
    value = scope.variables.get(node.name, node.default)
    if value is None:
        name = node.name[:40]
        raise _refused(f"variable {name} is not set; write ${{{name}=…}} or ${{{name}:default}}")
    if node.name in scope.open:
        raise _refused(f"variable {node.name[:40]} stands for itself")
    return value, replace(scope.deeper(), open=scope.open | {node.name})


def _wrapped(around: str, within: str) -> str:
    match = _DOTS.search(around)
    before, after = (around[: match.start()], around[match.end() :]) if match else (around, "")
    return _join([before, within, after])


def _every(nodes: Nodes, scope: _Scope, work: _Work) -> Iterator[str]:
    """Yield all that nodes can say."""
    left, scope = _assigned(nodes, scope, lambda value, now: next(_every(value, now, work), ""))
    finite = [_is_finite(node, scope) for node in left]
    ways = [
        partial(_every_one, node, scope, work)
        for node, counts in zip(left, finite, strict=True)
        if counts
    ]
    for texts in _product(ways, work):
        rest = iter(texts)
        # What a method of its own gives takes part in each combination anew, and makes none.
        yield _join(
            [
                next(rest) if counts else _written_one(node, scope, work, work.turn)
                for node, counts in zip(left, finite, strict=True)
            ]
        )


def _is_finite(node: TemplateNode, scope: _Scope) -> bool:
    method = node.method if isinstance(node, (Choice, Wildcard)) else ""
    return scope.under(method).method.finite


def _product(ways: Sequence[Callable[[], Iterator[str]]], work: _Work) -> Iterator[tuple[str, ...]]:
    """Yield every combination, the last varying fastest; what begins anew is asked for anew."""
    running: list[Iterator[str]] = []
    texts: list[str] = []
    while True:
        while len(running) < len(ways):
            running.append(ways[len(running)]())
            text = next(running[-1], None)
            if text is None:
                running.pop()
                break
            texts.append(text)
        else:
            yield tuple(texts)
        while running:
            work.step()
            text = next(running[-1], None)
            if text is not None:
                texts[-1] = text
                break
            running.pop()
            texts.pop()
        if not running:
            return


def _every_one(node: TemplateNode, scope: _Scope, work: _Work) -> Iterator[str]:
    work.step()
    match node:
        case Choice():
            yield from _every_choice(_options(node), scope.deeper(), work)
        case Wildcard():
            name = _wildcard_name(node, scope, work, work.turn)
            inner = _called(node, name, scope)
            values = work.wildcards.values(name)
            for text in _repeated([v.text for v in values], [v.weight for v in values]):
                yield from _every(work.nodes(text), inner, work)
        case Variable():
            value, inner = _looked_up(node, scope)
            yield from _every(value, inner, work)
        case Wrap():
            inner = scope.deeper()
            for around in _every(node.around, inner, work):
                for within in _every(node.within, inner, work):
                    yield _wrapped(around, within)
        case Literal() | Comment() | Assignment():
            yield node.text if isinstance(node, Literal) else ""


def _every_choice(options: _Options, scope: _Scope, work: _Work) -> Iterator[str]:
    """Yield all ordered selections of a choice, in all that they can say, each text once."""
    nodes = work.nodes(options.values[0]) if len(options.values) == 1 else ()
    if len(nodes) == 1 and isinstance(nodes[0], Wildcard):
        name = _wildcard_name(nodes[0], scope, work, work.turn)
        inner = _called(nodes[0], name, scope)
        yield from _every_choice(_values_as_options(name, options, work), inner, work)
        return
    total, values = len(options.values), list(dict.fromkeys(options.values))
    if len(values) < options.low:
        values = list(options.values)
    seen: set[tuple[str, ...]] = set()
    for count in range(min(options.low, total), min(options.high, total) + 1):
        for chosen in _permutations(values, count, work):
            ways = [partial(_every, work.nodes(value), scope, work) for value in chosen]
            for texts in _product(ways, work):
                if len(set(texts)) == count and texts not in seen:
                    seen.add(texts)
                    yield _join(texts, options.separator)


def _permutations(
    values: Sequence[_Value], count: int, work: _Work
) -> Iterator[tuple[_Value, ...]]:
    """Yield ordered selections, lazily and without recursion."""
    for chosen in permutations(values, count):
        work.step()
        yield chosen
