"""The network as matching sees it: its layers with weights, what feeds them, and the orders others may keep them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from resdsl.emit.torch_module import graph_of
from resdsl.emit.torch_names import module_path
from resdsl.ir.lower import INPUT, FlatGraph, OpNode
from resdsl.weights.errors import WeightsError


@dataclass(frozen=True, slots=True)
class TargetLayer:
    """One layer with weights.

    `shapes` are those of its tensors by role. `is_first` says that no layer with weights feeds it, `is_last` that it
    feeds none, `is_present` that the module has it: one made without auxiliary heads, or for taps only, lacks some.
    `norm` is the place in Target.layers of the normalisation that alone reads a convolution or linear layer.
    """

    name: str
    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    node: OpNode
    is_first: bool
    is_last: bool
    is_present: bool
    norm: int | None

    @property
    def role(self) -> str:
        """The part it plays in its block: trunk, shortcut, gate or auxiliary."""
        return self.node.role

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what tells the layer from others: its weight, else its first tensor."""
        return self.shapes["weight"] if "weight" in self.shapes else next(iter(self.shapes.values()))


class Target:
    """The layers of a module that `Net.to_torch` made, in the order in which they run.

    Raises:
        WeightsError: the module was not made so.
    """

    def __init__(self, module: nn.Module) -> None:
        graph = graph_of(module)
        if graph is None:
            raise WeightsError("the module does not come from Net.to_torch, or was pickled: its graph is not known")
        self.graph = graph
        self.present = {name for name, _ in module.named_modules()}
        self.layers = _layers(graph, self.present)

    @cached_property
    def feeding(self) -> tuple[frozenset[int], ...]:
        """For each layer the places in `layers` of those that feed it, through any number without weights."""
        place = {layer.node.name: index for index, layer in enumerate(self.layers)}
        through: dict[str, frozenset[int]] = {INPUT: frozenset()}
        fed: list[frozenset[int]] = []
        for node in self.graph.nodes:
            sources = frozenset[int]().union(*(through[name] for name in node.inputs))
            own = place.get(node.name)
            if own is not None:
                fed.append(sources)
                sources = frozenset((own,))
            through[node.name] = sources
        return tuple(fed)

    @cached_property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """The orders in which a library may define or store the layers, the order of running first.

        Shortcuts come first or last in their block, gates too; auxiliary heads where they leave, before the head, or
        at the end.
        """
        keys = _OrderKeys(self.graph)
        found = {self._places(order): None for order in [*keys.orders(), *keys.orders_by_distance()]}
        return tuple(found)

    @cached_property
    def order_in_keras(self) -> tuple[int, ...]:
        """By the distance from the output; at one distance shortcuts first, as they come first in Keras' sums."""
        return self._places(_OrderKeys(self.graph).orders_by_distance()[0])

    def _places(self, order: Sequence[OpNode]) -> tuple[int, ...]:
        place = {layer.node.name: index for index, layer in enumerate(self.layers)}
        return tuple(place[node.name] for node in order if node.name in place)


def _layers(graph: FlatGraph, present: set[str]) -> tuple[TargetLayer, ...]:
    weighted = [node for node in graph.nodes if node.op.spec.weights(node.op.args, node.input_shapes)]
    firsts, lasts = _firsts(graph, weighted), _lasts(graph, weighted)
    norms = _norms(graph, weighted)
    layers = []
    for node in weighted:
        shapes = {weight.name: weight.shape for weight in node.op.spec.weights(node.op.args, node.input_shapes)}
        name = module_path(node.name)
        layers.append(
            TargetLayer(
                name, _kind(node, shapes), shapes, node,
                node.name in firsts, node.name in lasts, name in present, norms.get(node.name),
            )
        )  # fmt: skip
    return tuple(layers)


def _kind(node: OpNode, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """`conv`, `linear`, `norm` or `other`; of a class of torch.nn by its tensors, as in a checkpoint."""
    if node.op.spec.family in ("conv", "linear", "norm"):
        return node.op.spec.family
    extents = len(shapes.get("weight", ()))
    if set(shapes) <= {"weight", "bias"} and extents in (2, 4):
        return "conv" if extents == 4 else "linear"
    return "norm" if {"weight", "bias"} <= set(shapes) and extents == 1 else "other"


def _firsts(graph: FlatGraph, weighted: Sequence[OpNode]) -> set[str]:
    names = {node.name for node in weighted}
    bare = {INPUT}
    found = set()
    for node in graph.nodes:
        if bare.issuperset(node.inputs):
            if node.name in names:
                found.add(node.name)
            else:
                bare.add(node.name)
    return found


def _lasts(graph: FlatGraph, weighted: Sequence[OpNode]) -> set[str]:
    names = {node.name for node in weighted}
    feeding: set[str] = set()
    found = set()
    for node in reversed(graph.nodes):
        leads_on = node.name in feeding
        if node.name in names and not leads_on and len(node.shape) == 1:
            found.add(node.name)
        if leads_on or node.name in names:
            feeding.update(node.inputs)
    return found


def _norms(graph: FlatGraph, weighted: Sequence[OpNode]) -> dict[str, int]:
    """For each convolution or linear layer that only a batch normalisation reads, the place of that."""
    readers: dict[str, list[OpNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    place = {node.name: index for index, node in enumerate(weighted)}
    norms = {}
    for node in weighted:
        read_by = readers.get(node.name, [])
        if len(read_by) == 1 and read_by[0].op.name == "bn" and node.op.spec.has_weights_layer:
            norms[node.name] = place[read_by[0].name]
    return norms


class _OrderKeys:
    """Orders of a graph's nodes, each made by moving some of them."""

    def __init__(self, graph: FlatGraph) -> None:
        self._nodes = graph.nodes
        self._index = {node.name: index for index, node in enumerate(graph.nodes)}
        self._joins = self._joins_of_sides()
        head = graph.network.parts[-1].name if graph.network.parts else ""
        self._head = next((i for i, node in enumerate(graph.nodes) if node.part == head != ""), len(graph.nodes))

    def orders(self) -> list[list[OpNode]]:
        """Each choice for shortcuts and gates with each for auxiliary heads."""
        places = (None, self._head, len(self._nodes))
        return [self._moved(side, place) for side in ("", "shortcut", "gate") for place in places]

    def orders_by_distance(self) -> list[list[OpNode]]:
        """The farthest from the output first; at one distance shortcuts first, then as they run, then gates last."""
        distances = self._distances()
        made = [self._moved(side, None) for side in ("shortcut", "", "gate")]
        return [sorted(order, key=lambda node: -distances[node.name]) for order in made]

    def _moved(self, side: str, auxiliary: int | None) -> list[OpNode]:
        def key(node: OpNode) -> tuple[float, int]:
            own = self._index[node.name]
            if node.role == "auxiliary" and auxiliary is not None:
                return auxiliary - 0.5, own
            if node.role == side and node.name in self._joins:
                start, end = self._joins[node.name]
                return (start - 0.5 if side == "shortcut" else end - 0.5), own
            return own, own

        return sorted(self._nodes, key=key)

    def _joins_of_sides(self) -> dict[str, tuple[int, int]]:
        """For each node of a shortcut or gate the places of its block's first node and of the join it leads to."""
        first_of: dict[str, int] = {}
        waiting: list[str] = []
        found: dict[str, tuple[int, int]] = {}
        for index, node in enumerate(self._nodes):
            for block in _prefixes(node.block):
                first_of.setdefault(block, index)
            if node.role in ("shortcut", "gate"):
                waiting.append(node.name)
            elif node.op.spec.is_join and waiting:
                leaves = self._index.get(node.shortcut_from, -1) + 1 if node.shortcut_from else index
                start = first_of[node.block] if node.block else leaves
                mine = [name for name in waiting if self._index[name] >= start]
                found.update(dict.fromkeys(mine, (start, index)))
                waiting = [name for name in waiting if self._index[name] < start]
        return found

    def _distances(self) -> dict[str, int]:
        """Steps from each node to the output, the longest way."""
        distances: dict[str, int] = {}
        for node in reversed(self._nodes):
            own = distances.setdefault(node.name, 0)
            for name in node.inputs:
                distances[name] = max(distances.get(name, 0), own + 1)
        return distances


def _prefixes(path: str) -> list[str]:
    pieces = path.split(".") if path else []
    return [".".join(pieces[: end + 1]) for end in range(len(pieces))]
