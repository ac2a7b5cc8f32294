"""What a file says of its layers beside weights, compared with the network: strides, padding, dilation, groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.weights.layers import SourceLayer
from resdsl.weights.target import TargetLayer

Pads = tuple[tuple[int, int], tuple[int, int]]


def differences(layer: TargetLayer, source: SourceLayer, nodes: dict[str, OpNode]) -> Iterator[str]:
    """A sentence for each setting in which a layer of the network and its source differ."""
    args = layer.node.op.args
    if layer.kind != "conv" or "kernel" not in args:
        return
    groups = layer.node.input_shapes[0][0] if layer.node.op.name == "depthwise_conv" else args.get("groups")
    ours = {"strides": args["stride"], "dilation": args["dilation"], "groups": groups}
    for name, value in ours.items():
        stated = source.facts.get(name)
        if stated is not None and stated != value:
            yield _sentence(layer, source, name, value, stated)
    stated = source.facts.get("padding")
    if stated is not None:
        own, theirs = _our_pads(layer, nodes), _their_pads(stated, layer, nodes)
        if own != theirs:
            yield _sentence(layer, source, "padding (top, bottom), (left, right)", own, theirs)


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


def _sentence(layer: TargetLayer, source: SourceLayer, what: str, ours: object, theirs: object) -> str:
    return f"{layer.name} has {what} {_text(ours)}, in the file {source.name} has {_text(theirs)}"


def _text(value: Any) -> str:
    return str(value) if isinstance(value, int) else str(value).strip("()").replace("), (", "; ")


def _our_pads(layer: TargetLayer, nodes: dict[str, OpNode]) -> Pads:
    rows, columns = layer.node.op.args["padding"]
    before = nodes.get(layer.node.inputs[0])
    if before is None or before.op.name != "pad":
        return (rows, rows), (columns, columns)
    (top, left), (bottom, right) = before.op.args["before"], before.op.args["after"]
    return (rows + top, rows + bottom), (columns + left, columns + right)


def _their_pads(stated: Any, layer: TargetLayer, nodes: dict[str, OpNode]) -> Pads | str:
    if stated == "valid":
        return (0, 0), (0, 0)
    if stated != "same":
        return stated if isinstance(stated, str) else (tuple(stated[0]), tuple(stated[1]))
    before = nodes.get(layer.node.inputs[0])
    shape = (before if before is not None and before.op.name == "pad" else layer.node).input_shapes[0]
    rows, columns = (_same_pads(layer.node.op.args, axis, shape[axis + 1]) for axis in (0, 1))
    return rows, columns


def _same_pads(args: Any, axis: int, extent: object) -> tuple[int, int]:
    """What `same` padding comes to: as much as the output needs, the odd row below or to the right."""
    reach, stride = args["dilation"][axis] * (args["kernel"][axis] - 1), args["stride"][axis]
    # Free sizes are taken as even, for which strided layers pad on one side only.
    size = extent if isinstance(extent, int) else 64
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2
