"""Which ops may overwrite their input: the same answer for the module and for the emitted source."""

from __future__ import annotations

from collections import Counter

from resdsl.ir.lower import FlatGraph, OpNode

# Results that nobody needs again for a gradient: what convolutions, linear layers, normalisations and sums give.
_FRESH_FAMILIES = frozenset({"conv", "linear", "norm"})
_FRESH_JOINS = frozenset({"add", "concat"})


def overwriting_nodes(graph: FlatGraph, kept: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the nodes that may overwrite their first input.

    That is so where the input was just made by an op of the same block whose gradient does not need it, and nothing
    else reads it; `kept` are nodes whose results are outputs of the module.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    by_name = graph.by_name()
    held = kept | {graph.output} | {node for _, _, node in graph.auxiliaries}

    def is_free(node: OpNode) -> bool:
        producer = by_name.get(node.inputs[0])
        if producer is None or readers[producer.name] != 1 or producer.name in held or producer.block != node.block:
            return False
        return producer.op.spec.family in _FRESH_FAMILIES or producer.op.name in _FRESH_JOINS

    return frozenset(
        node.name
        for node in graph.nodes
        if (node.op.name == "add" or node.op.spec.family == "activation") and is_free(node)
    )
