"""Which units form a block: the network's own block calls, and the rounds of `n x { ... }`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from resdsl.emit.picture.sketch import Unit
from resdsl.ir.lower import FlatGraph
from resdsl.semantics.model import Template

Place = tuple[str, str, str]
_ROUND = re.compile(r"(?:[^.]+\.)?\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are one block.

    Attributes:
        path: their common name.
        block: the block's name, "" for a round of a repetition.
        label: the name that the text gives this call by `as`, else "".
    """

    path: str
    block: str
    label: str
    units: tuple[Unit, ...]


def grouped(units: Iterable[Unit], paths: Mapping[str, Place]) -> list[Unit | Group]:
    """The units in order, those of a block put together, each with its block as its section."""
    members: dict[str, list[Unit]] = {}
    order: list[Unit | str] = []
    for unit in units:
        path = paths.get(unit.ops[0].name, ("", "", ""))[0] if unit.ops and unit.role != "auxiliary" else ""
        if not path:
            order.append(unit)
            continue
        if path not in members:
            members[path] = []
            order.append(path)
        members[path].append(replace(unit, section=path))
    places = {place[0]: place for place in paths.values()}
    return [Group(*places[item], tuple(members[item])) if isinstance(item, str) else item for item in order]


def block_paths(graph: FlatGraph) -> dict[str, Place]:
    """For each op in a block or round its path, the block's name and its label."""
    result: dict[str, Place] = {}
    labels = node_labels(graph)
    nodes = iter(graph.nodes)
    for node in graph.network.nodes:
        if isinstance(node.content, Template):
            for _ in range(node.content.totals.ops):
                result[next(nodes).name] = (node.name, node.content.block, labels.get(node.name, ""))
        else:
            flat = next(nodes)
            found = _ROUND.match(flat.name)
            if found:
                result[flat.name] = (found.group(), "", "")
    return result


def node_labels(graph: FlatGraph) -> dict[str, str]:
    """What the text calls steps and block calls of the network by `as`, by their names."""
    parts = {part.name for part in graph.network.parts}
    nodes = graph.network.nodes
    return {
        nodes[index].name: place for place, index in graph.network.places.items() if index >= 0 and place not in parts
    }
