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
from typing import Final

from promptengine.prompt.templates.methods import (
    COMBINATORIAL,
    CYCLICAL,
    DEEPEST,
    METHODS,
    RANDOM,
    Method,
    Options,
    Value,
    Work,
    check_depth,
    refused,
)
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
)
from promptengine.prompt.templates.wildcards import Wildcards

__all__ = ["MOST_CHARACTERS", "combinations", "draw"]

MOST_CHARACTERS: Final = 100_000
"""Of a prompt that a template gives."""

_DOTS: Final = re.compile(r"[\u1801\u2026\u22ee\u22ef\u22f0\u22f1\ufe19]+|\.{3,}")


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
        raise refused(f"the template nests more than {DEEPEST} deep{why}")

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
    check_depth(template.nodes)
    work = Work(wildcards, Random(seed), turn)
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
    check_depth(template.nodes)
    work = Work(wildcards, Random(seed))
    every = _every(template.nodes, _Scope(COMBINATORIAL), work)
    while True:
        work.go_on()
        prompt = next(every, None)
        if prompt is None:
            return
        yield prompt
        work.turn += 1


def _join(texts: Sequence[str], separator: str = "") -> str:
    """Join texts; a separator that an end brings itself is taken off there, as the library does."""
    if len(texts) == 1:
        return texts[0]
    length = sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0)
    if length > MOST_CHARACTERS:
        raise refused(f"the template gives a prompt of more than {MOST_CHARACTERS:,} characters")
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


def _written(nodes: Nodes, scope: _Scope, work: Work, turn: int) -> str:
    """Write nodes once."""
    left, scope = _assigned(nodes, scope, lambda value, now: _written(value, now, work, turn))
    return _join([_written_one(node, scope, work, turn) for node in left])


def _written_one(node: TemplateNode, scope: _Scope, work: Work, turn: int) -> str:
    work.step()
    match node:
        case Choice():
            return _picked(_options(node), scope.under(node.method).deeper(), work, turn)
        case Wildcard():
            inner = scope.under(node.method)
            name = _wildcard_name(node, inner, work, turn)
            inner = _called(node, name, inner)
            text, turn = inner.method.pick_value(work.values(name), work, turn)
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


def _options(choice: Choice) -> Options:
    values = [option.nodes for option in choice.options]
    weights = [option.weight for option in choice.options]
    return Options(values, weights, choice.low, choice.high, choice.separator)


def _picked(options: Options, scope: _Scope, work: Work, turn: int) -> str:
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


def _values_as_options(name: str, options: Options, work: Work) -> Options:
    texts = work.values(name).repeated
    work.step(len(texts))
    return replace(options, values=texts, weights=[1.0] * len(texts))


def _wildcard_name(node: Wildcard, scope: _Scope, work: Work, turn: int) -> str:
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
        raise refused(f"variable {name} is not set; write ${{{name}=…}} or ${{{name}:default}}")
    if node.name in scope.open:
        raise refused(f"variable {node.name[:40]} stands for itself")
    return value, replace(scope.deeper(), open=scope.open | {node.name})


def _wrapped(around: str, within: str) -> str:
    match = _DOTS.search(around)
    before, after = (around[: match.start()], around[match.end() :]) if match else (around, "")
    return _join([before, within, after])


def _every(nodes: Nodes, scope: _Scope, work: Work) -> Iterator[str]:
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


def _product(ways: Sequence[Callable[[], Iterator[str]]], work: Work) -> Iterator[tuple[str, ...]]:
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


def _every_one(node: TemplateNode, scope: _Scope, work: Work) -> Iterator[str]:
    work.step()
    match node:
        case Choice():
            yield from _every_choice(_options(node), scope.deeper(), work)
        case Wildcard():
            name = _wildcard_name(node, scope, work, work.turn)
            inner = _called(node, name, scope)
            for text in work.values(name).repeated:
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


def _every_choice(options: Options, scope: _Scope, work: Work) -> Iterator[str]:
    """Yield all ordered selections of a choice, in all that they can say, each text once."""
    nodes = work.nodes(options.values[0]) if len(options.values) == 1 else ()
    if len(nodes) == 1 and isinstance(nodes[0], Wildcard):
        name = _wildcard_name(nodes[0], scope, work, work.turn)
        inner = _called(nodes[0], name, scope)
        yield from _every_choice(_values_as_options(name, options, work), inner, work)
        return
    work.step(len(options.values))
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


def _permutations(values: Sequence[Value], count: int, work: Work) -> Iterator[tuple[Value, ...]]:
    """Yield ordered selections, lazily and without recursion."""
    for chosen in permutations(values, count):
        work.step()
        yield chosen
