"""Networks as a picture in DOT, Graphviz' language.

Three levels: `stage` has a box for each part, `block` a box for each block with its weighted layers and a shortcut
around it, `layer` every op, a layer and the norm and activation that belong to it as one brick.

The places of all nodes are worked out here (see resdsl.emit.picture.layout) and written as attributes `pos` under
`layout=nop2`, which every Graphviz program keeps; without that attribute Graphviz lays the graph out anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from resdsl.emit.picture.blocks import block_units
from resdsl.emit.picture.canvas import Canvas
from resdsl.emit.picture.draw import TITLE_HEIGHT, NetworkDrawing, draw
from resdsl.emit.picture.folding import folded
from resdsl.emit.picture.groups import block_paths, grouped
from resdsl.emit.picture.layers import layer_units
from resdsl.emit.picture.layout import arrange
from resdsl.emit.picture.legend import draw_legend, entries, legend_size
from resdsl.emit.picture.sketch import Sketch, brief
from resdsl.emit.picture.stages import stage_units
from resdsl.ir.lower import FlatGraph

LEVELS = ("stage", "block", "layer")
MOST_EQUAL = 12
BETWEEN = 34.0
MARGIN = 6.0


def emit_dot(
    graphs: Sequence[FlatGraph], level: str = "block", title: str | None = None, most_equal: int = MOST_EQUAL
) -> str:
    """DOT text of networks side by side; the same text for the same networks.

    Networks with the same parts are aligned part by part, with the same blocks block by block. More than `most_equal`
    equal blocks in a row are drawn once, in a frame with their count. Time and size grow with the number of ops; what
    is longer than 1,200 units even so is drawn without its middle, and a box says how much is missing.

    Args:
        graphs: at least one network.
        level: stage, block or layer.
        title: the graph's name; without one, the networks' names.
        most_equal: how many equal blocks in a row are drawn one by one; large numbers draw them all.

    Raises:
        ValueError: no network, or an unknown level.
    """
    if not graphs or level not in LEVELS:
        raise ValueError(f"level {level!r} of {len(graphs)} networks: wanted one of {', '.join(LEVELS)}, and a network")
    columns = arrange([sketch(graph, level, most_equal) for graph in graphs])
    drawings = [
        NetworkDrawing.of(graph, column, f"{prefix}/")
        for graph, column, prefix in zip(graphs, columns, _prefixes(graphs), strict=True)
    ]
    canvas = Canvas()
    x = MARGIN
    for drawing in drawings:
        draw(drawing, canvas, x - drawing.left, MARGIN + TITLE_HEIGHT)
        x += drawing.right - drawing.left + BETWEEN
    items = entries(drawings)
    draw_legend(items, canvas, max(MARGIN, (canvas.width - legend_size(items)[0]) / 2), canvas.height + 16)
    return canvas.write(title or " and ".join(brief(graph.network.name) for graph in graphs))


def sketch(graph: FlatGraph, level: str, most_equal: int = MOST_EQUAL) -> Sketch:
    """What a picture of a network shows at a level."""
    paths = block_paths(graph)
    units = layer_units(graph, paths)
    if level == "stage":
        return Sketch(stage_units(units, graph))
    groups = grouped(units, paths)
    return folded(block_units(groups) if level == "block" else groups, most_equal)


def _prefixes(graphs: Sequence[FlatGraph]) -> list[str]:
    """Names of the networks, with a number where two are the same."""
    names: list[str] = []
    for graph in graphs:
        name, number = graph.network.name, 2
        while name in names:
            name, number = f"{graph.network.name} {number}", number + 1
        names.append(name)
    return names
