"""What a network is and costs, as plain data: the content of `summary --json` and of the tables."""

from __future__ import annotations

import hashlib
from typing import Any

from resdsl.ir.geometry import minimum_input
from resdsl.ir.lower import FlatGraph, OpNode, dump
from resdsl.semantics.expectations import measures
from resdsl.semantics.model import REGION_INPUT, Network, Node, Part, Template, Totals, op_totals
from resdsl.sizes import Amount, Extent


def meaning_hash(graph: FlatGraph) -> str:
    """A hash of what the network computes and how its parts are called: not of text, comments or its own name."""
    return hashlib.sha256(dump(graph).encode()).hexdigest()


def summarize(graph: FlatGraph, *, layers: bool = False) -> dict[str, Any]:
    """The summary of a network: numbers, or string expressions where a size is free.

    `macs` are multiply-adds of convolutions and linear layers, `activations` their output elements, `depth` counts
    weighted layers on the trunk; `receptive_field` and `stride` are of the last map; shapes are (C, H, W).
    """
    network = graph.network
    measured = measures(network)
    summary: dict[str, Any] = {
        "network": network.name,
        "spec": network.source.name,
        "hash": meaning_hash(graph),
        "input": [_plain(extent) for extent in graph.input_shape],
        "output": [_plain(extent) for extent in network.shape],
        "depth": measured["depth"],
        "parameters": measured["parameters"],
        "buffers": measured["buffers"],
        "macs": _plain(measured["macs"]),
        "activations": _plain(measured["activations"]),
        "stride": measured["stride"],
        "minimum_input": list(minimum_input(graph)),
        "receptive_field": measured["receptive_field"],
        "stages": [_stage(network, part) for part in network.parts],
        "published": None if network.published is None else network.published.as_dict(),
    }
    if layers:
        summary["layers"] = [_layer(node) for node in graph.nodes]
    return summary


def _plain(value: Extent | Amount | float) -> int | float | str:
    return value if isinstance(value, (int, float)) else str(value)


def _stage(network: Network, part: Part) -> dict[str, Any]:
    nodes = [node for node in network.nodes[part.start : part.end] if node.role != "auxiliary"]
    totals = Totals.of([_totals(network, node) for node in nodes])
    return {
        "name": part.name,
        "output": [_plain(extent) for extent in part.shape],
        "blocks": sum(isinstance(node.content, Template) for node in nodes),
        "parameters": totals.parameters,
        "macs": _plain(totals.macs),
    }


def _totals(network: Network, node: Node) -> Totals:
    if isinstance(node.content, Template):
        return node.content.totals
    inputs = tuple(network.input_shape if i == REGION_INPUT else network.nodes[i].shape for i in node.inputs)
    return op_totals(node.content, inputs, node.shape)


def node_totals(node: OpNode) -> Totals:
    """Parameters, buffers, multiply-adds and activations of one op."""
    return op_totals(node.op, node.input_shapes, node.shape)


def _layer(node: OpNode) -> dict[str, Any]:
    totals = node_totals(node)
    # Of the spec itself, whichever library the op's own line stands in.
    line, column = node.spec_place.source.line_and_column(node.spec_place.start)
    return {
        "name": node.name,
        "op": node.op.name,
        "inputs": list(node.inputs),
        "output": [_plain(extent) for extent in node.shape],
        "parameters": totals.parameters,
        "macs": _plain(totals.macs),
        "line": line,
        "column": column,
    }
