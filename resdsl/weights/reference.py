"""The network that a retargeted one was made of, which still has the strides that an output stride took away."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from resdsl.compiler import Compilation, compile_network
from resdsl.diagnostics import CompileError
from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.net import Net
from resdsl.semantics.model import Network
from resdsl.semantics.retarget import Changes

_PLAIN = (1, 1)


def is_dilated(graph: FlatGraph) -> bool:
    """Whether some op leaves out places of its map, as an output stride makes it."""
    return any(node.op.args.get("dilation", _PLAIN) != _PLAIN for node in graph.nodes)


@lru_cache(maxsize=8)
def unchanged(network: Network) -> Net | None:
    """The network of this name as its spec has it, with the sizes and numbers of this one; None where there is none."""
    numbers = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in network.arguments.items()
        if (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, tuple) and all(isinstance(item, int) for item in value))
    }
    arguments = ", ".join(f"{name} = {value}" for name, value in numbers.items())
    try:
        return compile_network(network.source, network.name, arguments=arguments)
    except CompileError:
        return None


def undilated_nodes(graph: FlatGraph) -> dict[str, OpNode]:
    """The nodes by name; of a network with an output stride those that the same network has without it, if known."""
    own = graph.by_name()
    if not is_dilated(graph):
        return own
    net = unchanged(graph.network)
    if net is None:
        return own
    return own | {name: node for name, node in net.flat.by_name().items() if name in own and _is_same(node, own[name])}


def siblings(network: Network) -> Iterator[Net]:
    """The other networks of the same spec that need no arguments, for the same input."""
    text = " x ".join(map(str, network.input_shape))
    changes = Changes([("input", "input=", text)] if len(network.input_shape) == 3 else [])
    for other in Compilation(network.source).own_networks():
        if other.name.name != network.name and all(one.default is not None for one in other.parameters):
            try:
                yield compile_network(network.source, other.name.name, changes=changes)
            except CompileError:
                continue


def _is_same(node: OpNode, other: OpNode) -> bool:
    def shapes(one: OpNode) -> list[tuple[int, ...]]:
        return [weight.shape for weight in one.op.spec.weights(one.op.args, one.input_shapes)]

    return node.op.name == other.op.name and shapes(node) == shapes(other)
