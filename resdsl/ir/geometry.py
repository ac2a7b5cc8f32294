"""The smallest map for which every step of a network is legal."""

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


def _plain(extent: int | Size) -> int | str:
    return extent if isinstance(extent, int) else str(extent)
