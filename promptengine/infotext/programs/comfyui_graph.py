"""ComfyUI's graphs, from both forms in which they are kept, as one.

The prompt of its API holds nodes by their ids, each with its inputs by name: a value, or a link as
``[id, output]``. The workflow of its page holds a list of nodes with the values of their fields in order,
without names, and a list of links; nodes there may be muted or bypassed, and may only pass something on.
Whatever is of another type than it should be is not there. Links may run in circles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from promptengine.infotext.programs.comfyui_nodes import FIELDS
from promptengine.infotext.programs.values import mapping

__all__ = ["Graph", "Link", "Node", "graph_in"]

_MOST_NODES: Final = 20_000
_MOST_HOPS: Final = 200
"""Nodes that only pass something on, one behind the other."""

_MUTED, _BYPASSED = 2, 4
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_AFTER_SEED: Final = frozenset({"fixed", "increment", "decrement", "randomize"})
_PASSING: Final = frozenset({"Reroute"})
_VALUES: Final = ("value", "string", "text", "int", "float", "seed", "Value", "Text", "String")
"""What nodes that hold one value call it."""


class Link(NamedTuple):
    """An output of a node.

    Attributes:
        node: Its id.
        output: Its number.
    """

    node: str
    output: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Attributes:
        id: As written.
        type: The name of its class.
        values: Inputs that are values, by name.
        links: Inputs that come from other nodes, by name.
    """

    id: str
    type: str
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    links: Mapping[str, Link] = field(default_factory=dict[str, Link])

    def __str__(self) -> str:
        return f"node {self.id[:20]} ({self.type[:60]})"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by their ids.

    Attributes:
        nodes: In the order written.
    """

    nodes: Mapping[str, Node]

    def source(self, node: Node, name: str) -> tuple[Node, int] | None:
        """Return the node that an input comes from, and the number of its output; None for none."""
        link = node.links.get(name)
        for _ in range(_MOST_HOPS):
            found = None if link is None else self.nodes.get(link.node)
            if link is None or found is None:
                return None
            if found.type not in _PASSING:
                return found, link.output
            link = next(iter(found.links.values()), None)
        return None

    def value(self, node: Node, name: str) -> object:
        """Return an input's value, also where it comes from a node that holds one value; else None."""
        if name in node.values:
            return node.values[name]
        found = self.source(node, name)
        for _ in range(_MOST_HOPS):
            if found is None:
                return None
            held = found[0].values
            known = next((one for one in _VALUES if one in held), None)
            if known is not None:
                return held[known]
            if len(held) == 1 and not found[0].links:
                return next(iter(held.values()))
            onward = next((one for one in _VALUES if one in found[0].links), None)
            found = None if onward is None else self.source(found[0], onward)
        return None

    def upstream(self, start: Node) -> Iterator[Node]:
        """Yield a node and all that it depends on, the nearest first, each once."""
        seen, pending, place = {start.id}, [start], 0
        while place < len(pending):
            node = pending[place]
            place += 1
            yield node
            for link in node.links.values():
                if link.node in self.nodes and link.node not in seen:
                    seen.add(link.node)
                    pending.append(self.nodes[link.node])

    def ends(self) -> list[Node]:
        """Return the nodes on which no other depends."""
        used = {link.node for node in self.nodes.values() for link in node.links.values()}
        return [node for node in self.nodes.values() if node.id not in used]


def graph_in(document: object) -> Graph | None:
    """Return the graph of a JSON document of either form; None where it is none, or too large."""
    held = mapping(document)
    if isinstance(held.get("nodes"), list):
        return _workflow(held)
    if not _is_api(held):
        # As it is sent to the server, and as some pages export it.
        inner = (mapping(held.get(name)) for name in ("prompt", "output"))
        held = next((one for one in inner if _is_api(one)), {})
    if not held or len(held) > _MOST_NODES:
        return None
    nodes = {id_: _api_node(id_, mapping(value)) for id_, value in held.items()}
    return Graph({id_: node for id_, node in nodes.items() if node.type})


def _is_api(held: Mapping[str, object]) -> bool:
    return any("class_type" in mapping(value) for value in held.values())


def _api_node(id_: str, held: Mapping[str, object]) -> Node:
    kind, inputs = held.get("class_type"), mapping(held.get("inputs"))
    links = {name: link for name, value in inputs.items() if (link := _api_link(value))}
    values = {name: value for name, value in inputs.items() if name not in links}
    return Node(id_, kind if isinstance(kind, str) else "", values, links)


def _api_link(value: object) -> Link | None:
    if not isinstance(value, list) or len(cast("list[object]", value)) != 2:
        return None
    node, output = cast("list[object]", value)
    if isinstance(output, bool) or not isinstance(output, int) or not isinstance(node, (str, int)):
        return None
    return Link(str(node)[:_MOST_HOPS], output)


def _workflow(held: Mapping[str, object]) -> Graph | None:
    listed = cast("list[object]", held["nodes"])
    if len(listed) > _MOST_NODES:
        return None
    links = dict(_workflow_links(held.get("links")))
    nodes: dict[str, Node] = {}
    for one in map(mapping, listed):
        id_, kind, mode = _id(one.get("id")), one.get("type"), one.get("mode")
        if id_ is None or not isinstance(kind, str) or mode == _MUTED:
            continue
        joined = _joined(one.get("inputs"), links)
        if mode == _BYPASSED:
            # What it would have changed goes on as it came.
            nodes[id_] = Node(id_, "Reroute", {}, joined)
            continue
        values = {name: v for name, v in _named(kind, one).items() if name not in joined}
        nodes[id_] = Node(id_, kind, values, joined)
    return Graph(nodes)


def _id(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    return str(value) if isinstance(value, str) or abs(value) < 1 << 64 else None


def _workflow_links(listed: object) -> Iterator[tuple[str, Link]]:
    """Yield links by their ids, from lists of six or, as newer pages write them, objects."""
    for one in cast("list[object]", listed) if isinstance(listed, list) else ():
        if isinstance(one, list) and len(cast("list[object]", one)) >= 3:
            number, node, output = (_id(value) for value in cast("list[object]", one)[:3])
        else:
            named = mapping(one)
            keys = ("id", "origin_id", "origin_slot")
            number, node, output = (_id(named.get(key)) for key in keys)
        if number and node and output and output.isdecimal() and len(output) < 5:
            yield number, Link(node, int(output))


def _joined(inputs: object, links: Mapping[str, Link]) -> dict[str, Link]:
    """Return the links of a node's inputs by name."""
    found: dict[str, Link] = {}
    for one in map(mapping, cast("list[object]", inputs) if isinstance(inputs, list) else ()):
        name, number = one.get("name"), _id(one.get("link"))
        if isinstance(name, str) and number is not None and number in links:
            found[name] = links[number]
    return found


def _named(kind: str, node: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a node's fields by name; those without a known name are numbered."""
    held = node.get("widgets_values")
    if not isinstance(held, list):
        return dict(mapping(held))
    values = cast("list[object]", held)
    names = iter(FIELDS.get(kind, ()))
    found: dict[str, object] = {}
    after_seed = False
    for number, value in enumerate(values):
        if after_seed and isinstance(value, str) and value in _AFTER_SEED:
            after_seed = False
            continue
        name = next(names, None) or ("value" if len(values) == 1 else f"field {number + 1}")
        after_seed = name in _SEEDS
        found[name] = value
    return found
