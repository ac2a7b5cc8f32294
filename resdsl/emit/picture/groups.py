"""Which units form a block: the network's own block calls, and the rounds of `n x { ... }`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from resdsl.emit.picture.sketch import Unit
from resdsl.ir.lower import FlatGraph
from resdsl.semantics.model import Template

_ROUND = re.compile(r"(?:[^.]+\.)?\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are one block: `path` is their common name, `block` the block's, "" for a round of a repetition."""

    path: str
    block: str
    units: tuple[Unit, ...]


def grouped(units: Iterable[Unit], paths: Mapping[str, tuple[str, str]]) -> list[Unit | Group]:
    """The units in order, those of a block put together, each with its block as its section."""
    members: dict[str, list[Unit]] = {}
    order: list[Unit | str] = []
    for unit in units:
        path = paths.get(unit.ops[0].name, ("", ""))[0] if unit.ops and unit.role != "auxiliary" else ""
        if not path:
            order.append(unit)
            continue
        if path not in members:
            members[path] = []
            order.append(path)
        members[path].append(replace(unit, section=path))
    blocks = dict(paths.values())
    return [Group(item, blocks[item], tuple(members[item])) if isinstance(item, str) else item for item in order]


def block_paths(graph: FlatGraph) -> dict[str, tuple[str, str]]:
    """For each op in a block or round its path and the block's name."""
    result: dict[str, tuple[str, str]] = {}
    nodes = iter(graph.nodes)
    for node in graph.network.nodes:
        if isinstance(node.content, Template):
            for _ in range(node.content.totals.ops):
                result[next(nodes).name] = (node.name, node.content.block)
        else:
            flat = next(nodes)
            found = _ROUND.match(flat.name)
            if found:
                result[flat.name] = (found.group(), "")
    return result
