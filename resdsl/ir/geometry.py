"""Maps of a network: the smallest input for which every step is legal, and the strides from place to place."""

from __future__ import annotations

from resdsl.ir.lower import INPUT, FlatGraph
from resdsl.ops import Shape, ShapeFault
from resdsl.sizes import Size


def minimum_input(graph: FlatGraph) -> tuple[int | str, ...]:
    """The least input, (C, H, W) or (F,), for which no window is larger than its map.

    A network that flattens a map, or whose sides agree at some sizes only, takes no other size than its own.
    """
    if len(graph.input_shape) != 3:
        return tuple(_plain(extent) for extent in graph.input_shape)
    channels, height, width = graph.input_shape
    symbols = ("H", "W") if height != width or not isinstance(height, Size) else (height.symbol, height.symbol)
    free: Shape = (channels, Size(symbols[0]), Size(symbols[1]))
    shapes: dict[str, Shape] = {INPUT: free}
    least = dict.fromkeys(symbols, 1)
    try:
        for node in graph.nodes:
            shape = node.op.spec.shape(node.op.args, tuple(shapes[name] for name in node.inputs))
            shapes[node.name] = shape
            for extent in shape:
                if isinstance(extent, Size) and extent.steps:
                    least[extent.symbol] = max(least[extent.symbol], extent.least_for(1))
    except ShapeFault:
        return tuple(_plain(extent) for extent in graph.input_shape)
    return (_plain(channels), least[symbols[0]], least[symbols[1]])


def strides_from(graph: FlatGraph, begin: str = INPUT) -> dict[str, tuple[float, float]]:
    """The strides (height, width) of the values behind a node, in steps of that node's map; below 1 where it grew.

    A global pool keeps that of the map before it.
    """
    strides = {begin: (1.0, 1.0)}
    for node in graph.nodes:
        before = next((strides[name] for name in node.inputs if name in strides), None)
        if before is None or node.name == begin:
            continue
        window = node.op.spec.window and node.op.spec.window(node.op.args)
        if window:
            before = (
                before[0] * window.stride[0] / window.enlarge[0],
                before[1] * window.stride[1] / window.enlarge[1],
            )
        strides[node.name] = before
    return strides


def _plain(extent: int | Size) -> int | str:
    return extent if isinstance(extent, int) else str(extent)
