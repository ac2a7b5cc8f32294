"""The op graph as a networkx DiGraph, and its verification. The only user of networkx."""

from __future__ import annotations

from typing import Any

import networkx as nx

from resdsl.diagnostics import InternalError
from resdsl.ir.lower import INPUT, FlatGraph
from resdsl.ops import ShapeFault


def build_digraph(graph: FlatGraph) -> nx.DiGraph[str]:
    """A DiGraph whose nodes are keyed by their full names.

    Node attributes: `op` (name), `args`, `inputs` (names in order), `shape` ((C, H, W) or (F,)), `part`, `block`,
    `role`, `place` (file:line:column), `parameters`. The node `input` has `op` "input". Edges carry `position`, the
    index among the inputs. The graph's attributes name the network, its output and its auxiliary outputs.
    """
    result: nx.DiGraph[str] = nx.DiGraph(
        name=graph.network.name,
        output=graph.output,
        auxiliaries={name: node for name, _, node in graph.auxiliaries},
    )
    result.add_node(INPUT, op="input", args={}, inputs=(), shape=graph.input_shape, part="", block="", role="trunk",
                    place=graph.network.span.place(), parameters=0)  # fmt: skip
    for node in graph.nodes:
        weights = node.op.spec.weights(node.op.args, node.input_shapes)
        attributes: dict[str, Any] = {
            "op": node.op.name,
            "args": dict(node.op.args),
            "inputs": node.inputs,
            "shape": node.shape,
            "part": node.part,
            "block": node.block,
            "role": node.role,
            "place": node.place.place(),
            "parameters": sum(weight.count for weight in weights if not weight.is_buffer),
        }
        result.add_node(node.name, **attributes)
        for position, name in enumerate(node.inputs):
            result.add_edge(name, node.name, position=position)
    return result


def verify_graph(graph: FlatGraph) -> None:
    """Check what lowering promises.

    Raises:
        InternalError: a name twice, a cycle, an unknown input, a wrong number of inputs, a shape that the op's rule
            does not give, or an op that reaches no output. Each is a bug of resdsl.
    """
    digraph = build_digraph(graph)
    if digraph.number_of_nodes() != len(graph.nodes) + 1:
        raise InternalError(f"{graph.network.name}: node names are not unique, or an input is unknown")
    if not nx.is_directed_acyclic_graph(digraph):
        raise InternalError(f"{graph.network.name}: the graph has a cycle")
    shapes = {INPUT: graph.input_shape}
    for node in graph.nodes:
        if len(node.inputs) < 1 or (len(node.inputs) > 1) != node.op.spec.is_join:
            raise InternalError(f"{node.name}: {node.op.name} has {len(node.inputs)} inputs")
        try:
            shape = node.op.spec.shape(node.op.args, tuple(shapes[name] for name in node.inputs))
        except (KeyError, ShapeFault) as error:
            raise InternalError(f"{node.name}: {error!r}") from error
        if shape != node.shape:
            raise InternalError(f"{node.name}: shape {node.shape}, its rule gives {shape}")
        shapes[node.name] = shape
    outputs = [graph.output, *(node for _, _, node in graph.auxiliaries)]
    reaching = set(outputs).union(*(nx.ancestors(digraph, output) for output in outputs))
    unused = [node.name for node in graph.nodes if node.name not in reaching]
    if unused:
        raise InternalError(f"{unused[0]}: its result is used nowhere")


__all__ = ["build_digraph", "verify_graph"]
