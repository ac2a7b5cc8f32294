"""A network's module as a chain of regions, one a block: equal blocks share one function, so it is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import groupby
from typing import Any

from torch import fx, nn

from resdsl.emit.torch_module import NODE, graph_of

Function = Callable[..., Any]


class RegionMaker:
    """Makes chains of regions. `wrap`, `torch.compile` for example, gets the function of each distinct region once,
    however many regions of however many modules are equal.
    """

    def __init__(self, wrap: Callable[[Function], Function]) -> None:
        self._wrap = wrap
        self._kinds: dict[Hashable, type[nn.Module]] = {}

    def __call__(self, module: nn.Module) -> nn.Module:
        """A module that computes what `module`, a NetModule, does, of the same layers.

        They are shared, under other names: save and load the original.
        """
        assert isinstance(module, fx.GraphModule)
        return _Chain([self._region(module, piece) for piece in _pieces(module)])

    def _region(self, module: fx.GraphModule, piece: _Piece) -> tuple[nn.Module, list[int], list[int]]:
        flow, layers = piece.flow(module)
        key = (flow.python_code("self").src, piece.shapes, tuple(_layer_key(layer) for layer in layers.values()))
        kind = self._kinds.get(key)
        if kind is None:
            written = fx.GraphModule(dict(layers), flow, class_name="Region")
            kind = self._kinds[key] = type("Region", (_Region,), {"forward": self._wrap(type(written).forward)})
        return kind(layers), piece.inputs, piece.outputs


class _Region(nn.Module):
    """A part of a network; its kind has the function."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class _Chain(nn.Module):
    """Regions one after the other; each takes and gives some of the numbered values. The last gives the result."""

    def __init__(self, regions: list[tuple[nn.Module, list[int], list[int]]]) -> None:
        super().__init__()
        self.regions = nn.ModuleList(region for region, _, _ in regions)
        self._ends = [(inputs, outputs) for _, inputs, outputs in regions]

    def forward(self, inputs: Any) -> Any:
        values = {0: inputs}
        results: tuple[Any, ...] = ()
        for region, (taken, given) in zip(self.regions, self._ends, strict=True):
            results = region(*(values[number] for number in taken))
            values.update(zip(given, results, strict=False))
        return results[-1]


class _Piece:
    """Some nodes in a row. `inputs` are the numbers of the values from before that they read, `outputs` those of their
    own that are read behind them; a value's number is its place in the module's graph. `shapes` are those that the
    spec's nodes among them take, since the same function over other shapes is compiled again.
    """

    def __init__(self, nodes: list[fx.Node], number: dict[fx.Node, int], shapes: tuple[Hashable, ...]) -> None:
        self._nodes, self.shapes = nodes, shapes
        inside = set(nodes)
        read = dict.fromkeys(value for node in nodes for value in node.all_input_nodes if value not in inside)
        self._read = list(read)
        self._given = [node for node in nodes if any(user not in inside for user in node.users)]
        self.inputs = [number[value] for value in self._read]
        self.outputs = [number[value] for value in self._given]

    def flow(self, module: fx.GraphModule) -> tuple[fx.Graph, dict[str, nn.Module]]:
        """The same as a graph by itself, its layers under names that tell nothing of their place."""
        flow = fx.Graph()
        values = {value: flow.placeholder(f"x{place}") for place, value in enumerate(self._read)}
        layers: dict[str, nn.Module] = {}
        results: list[Any] = []
        for node in self._nodes:
            if node.op == "output":
                results.append(fx.map_arg(node.args[0], values.__getitem__))
                continue
            made = flow.node_copy(node, values.__getitem__)
            if node.op == "call_module":
                made.target = f"layer{len(layers)}"
                layers[made.target] = module.get_submodule(str(node.target))
            made.name = f"v{len(values)}"
            values[node] = made
        flow.output(tuple([values[value] for value in self._given] + results))
        return flow, layers


def _pieces(module: fx.GraphModule) -> Iterator[_Piece]:
    """The graph cut where blocks begin and end, the result with what comes last."""
    nodes = [node for node in module.graph.nodes if node.op != "placeholder"]
    number = {node: place for place, node in enumerate(module.graph.nodes)}
    graph = graph_of(module)
    known = graph.by_name() if graph is not None else {}
    scopes: list[str] = []
    for node in reversed(nodes):
        # A sum of several values is a few nodes, of which the last one bears the name.
        found = known.get(node.meta.get(NODE, ""))
        scopes.append(found.block if found is not None else scopes[-1] if scopes else "")
    scopes.reverse()
    for _, members in groupby(zip(nodes, scopes, strict=True), key=lambda pair: pair[1]):
        piece = [node for node, _ in members]
        of_spec = (known.get(node.meta.get(NODE, "")) for node in piece)
        yield _Piece(piece, number, tuple(node.input_shapes for node in of_spec if node is not None))


def _layer_key(layer: nn.Module) -> Hashable:
    """Equal for layers that differ by their numbers only."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    shapes = tuple((name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for name, tensor in tensors)
    return type(layer), repr(layer), shapes
