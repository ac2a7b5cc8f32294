"""What a file says of its layers beside weights, compared with the network: strides, padding, dilation, groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.weights.layers import SourceLayer
from resdsl.weights.target import TargetLayer

Pads = tuple[tuple[int, int], tuple[int, int]]


def differences(layer: TargetLayer, source: SourceLayer, nodes: Mapping[str, OpNode]) -> Iterator[str]:
    """A sentence for each setting in which a layer of the network and its source differ.

    `nodes` are the network's by name, without an output stride, which changes no function of weights.
    """
    if not source.facts:
        return
    node = nodes[layer.node.name]
    for name, value in settings_of(node, nodes).items():
        stated = source.facts.get(name)
        if stated is None:
            continue
        if name == "padding":
            stated = _their_pads(stated, node, nodes)
        if stated != value:
            what = "padding (top, bottom), (left, right)" if name == "padding" else name
            yield f"{layer.name} has {what} {_text(value)}, in the file {source.name} has {_text(stated)}"


def settings_of(node: OpNode, nodes: Mapping[str, OpNode]) -> dict[str, Any]:
    """Strides, padding, dilation and groups of a convolution, as SourceLayer has them; nothing for other layers."""
    args = node.op.args
    if node.op.spec.family != "conv" or "kernel" not in args:
        return {}
    groups = node.input_shapes[0][0] if node.op.name == "depthwise_conv" else args.get("groups")
    settings = {"strides": args["stride"], "padding": _our_pads(node, nodes), "dilation": args["dilation"]}
    return settings if groups is None else {**settings, "groups": groups}


def flattened_map(layer: TargetLayer, graph: FlatGraph) -> tuple[int, int, int] | None:
    """(C, H, W) of the map that is flattened for a linear layer, where it has more than one place."""
    nodes = {node.name: node for node in graph.nodes}
    name = layer.node.inputs[0]
    while name in nodes:
        node = nodes[name]
        if node.op.name == "flatten":
            shape = tuple(int(str(extent)) for extent in node.input_shapes[0])
            return (shape[0], shape[1], shape[2]) if len(shape) == 3 and shape[1:] != (1, 1) else None
        if node.op.spec.family not in ("activation", "dropout", "identity") or len(node.inputs) != 1:
            return None
        name = node.inputs[0]
    return None


def _text(value: Any) -> str:
    return str(value) if isinstance(value, int) else str(value).strip("()").replace("), (", "; ")


def _our_pads(node: OpNode, nodes: Mapping[str, OpNode]) -> Pads:
    rows, columns = node.op.args["padding"]
    before = nodes.get(node.inputs[0])
    if before is None or before.op.name != "pad":
        return (rows, rows), (columns, columns)
    (top, left), (bottom, right) = before.op.args["before"], before.op.args["after"]
    return (rows + top, rows + bottom), (columns + left, columns + right)


def _their_pads(stated: Any, node: OpNode, nodes: Mapping[str, OpNode]) -> Pads | str:
    if stated == "valid":
        return (0, 0), (0, 0)
    if stated != "same":
        return stated if isinstance(stated, str) else (tuple(stated[0]), tuple(stated[1]))
    before = nodes.get(node.inputs[0])
    shape = (before if before is not None and before.op.name == "pad" else node).input_shapes[0]
    rows, columns = (_same_pads(node.op.args, axis, shape[axis + 1]) for axis in (0, 1))
    return rows, columns


def _same_pads(args: Any, axis: int, extent: object) -> tuple[int, int]:
    """What `same` padding comes to: as much as the output needs, the odd row below or to the right."""
    reach, stride = args["dilation"][axis] * (args["kernel"][axis] - 1), args["stride"][axis]
    # Free sizes are taken as even, for which strided layers pad on one side only.
    size = extent if isinstance(extent, int) else 64
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2
