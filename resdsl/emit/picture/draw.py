"""A laid-out network onto the canvas: units in the colours of their stages, wires, plates, sizes, titles."""

from __future__ import annotations

from dataclasses import dataclass

from resdsl.emit.picture import measures, palette
from resdsl.emit.picture.canvas import Canvas
from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.layout import PLATE_PADDING, Column, Placed
from resdsl.emit.picture.routes import OPTION_SIZE, SIZE_GAP, Route, extent, route
from resdsl.emit.picture.sketch import Tab, brief
from resdsl.emit.picture.text import Value, hover, words
from resdsl.ir.lower import FlatGraph

BRACKET_GAP = 10.0
TITLE_HEIGHT = 44.0
WIRE_STYLES: dict[str, dict[str, Value | None]] = {
    "trunk": {},
    "branch": {},
    "gate": {"style": "dashed", "color": '"#555555"'},
    "identity": {"penwidth": 1.1},
    "changed": {"style": "dotted", "penwidth": 1.7, "arrowsize": 0.42},
}
_SHAPES = {"join": "circle", "gate": "diamond", "point": "point", "pool": "box", "image": "plaintext",
           "end": "plaintext"}  # fmt: skip


@dataclass(slots=True, eq=False)
class NetworkDrawing:
    """One network with its wires; `left` and `right` are how far it reaches from its trunk."""

    graph: FlatGraph
    column: Column
    prefix: str
    routes: list[Route]
    left: float
    right: float
    bottom: float

    @classmethod
    def of(cls, graph: FlatGraph, column: Column, prefix: str) -> NetworkDrawing:
        """Route the wires and measure."""
        routes = route(column)
        left, right = extent(column, routes)
        counts = [_count_text(plate.count) for plate in column.sketch.plates]
        left -= max((text_width(count, 11, is_bold=True) + 2 * PLATE_PADDING + 4 for count in counts), default=0.0)
        right += 2 * PLATE_PADDING if counts else 0.0
        brackets = [
            text_width(name, measures.WORDS, is_bold=True) + BRACKET_GAP + 6 for name in map(brief, _stages(graph))
        ]
        if any(spot.unit.kind != "stage" and spot.unit.part in _stages(graph) for spot in column.placed.values()):
            left -= max(brackets, default=0.0)
        titles = [text_width(line, size, is_bold=bold) / 2 for line, size, bold in title_lines(graph)]
        bottom = max(spot.bottom for spot in column.placed.values()) + 14
        return cls(graph, column, prefix, routes, min(left, -max(titles)), max(right, *titles), bottom)


def title_lines(graph: FlatGraph) -> list[tuple[str, float, bool]]:
    """The network's name, and what it is and costs, with font size and weight."""
    network = graph.network
    facts = [f"{network.geometry.depth:,} layers, {_short(network.totals.parameters)} parameters"]
    if isinstance(network.totals.macs, int):
        facts.append(f"{_short(network.totals.macs)} multiply-adds")
    if network.auxiliaries:
        facts[-1] += ", without auxiliary heads"
    return [(brief(network.name), measures.TITLE, True), *((fact, 8.0, False) for fact in facts)]


def _short(value: int) -> str:
    """Three significant digits, as in `7.00 M`, or more before the point."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size - size / 2000:  # what three digits round up to the unit belongs to it
            share = value / size
            digits = 2 if share < 9.995 else 1 if share < 99.95 else 0
            return f"{share:,.{digits}f} {unit}"
    return str(value)


def _count_text(count: int) -> str:
    return f"× {count:,}"


def _stages(graph: FlatGraph) -> dict[str, int]:
    names = [part.name for part in graph.network.parts if part.kind == "stage"]
    return {name: index for index, name in enumerate(names)}


def _resolutions(column: Column) -> dict[tuple[object, ...], int]:
    """Map sizes in the order of the trunk: they colour a network that has no stages."""
    sizes = dict.fromkeys(spot.unit.shape[1:] for spot in column.trunk if spot.unit.shape)
    return {size: index for index, size in enumerate(sizes)}


def draw(drawing: NetworkDrawing, canvas: Canvas, x: float, y: float) -> None:
    """Put a network on the canvas, its trunk at x, its first unit's top at y."""
    stages = _stages(drawing.graph)
    resolutions = _resolutions(drawing.column)
    _draw_title(drawing, canvas, x, y - TITLE_HEIGHT)
    _draw_plates(drawing, canvas, x, y)
    _draw_brackets(drawing, canvas, x, y, stages)
    for spot in drawing.column.placed.values():
        color = stages.get(spot.unit.part) if stages else resolutions.get(spot.unit.shape[1:])
        _draw_unit(spot, drawing.prefix, canvas, x, y, palette.stage_colors(color))
        if spot.size_label:
            height = y + spot.bottom + spot.label_drop + 6.5
            canvas.text(x - SIZE_GAP, height, spot.size_label, measures.SMALL, align="right", color=palette.FAINT_INK)
    for way in drawing.routes:
        _draw_route(way, drawing.prefix, canvas, x, y)


def _draw_title(drawing: NetworkDrawing, canvas: Canvas, x: float, y: float) -> None:
    place = drawing.graph.network.span.place()
    for line, size, is_bold in title_lines(drawing.graph):
        canvas.text(x, y + size / 2, line, size, is_bold=is_bold, tooltip=f"{line}\n{place}",
                    color=palette.INK if is_bold else palette.FAINT_INK)  # fmt: skip
        y += size + (5 if is_bold else 3)


def _draw_plates(drawing: NetworkDrawing, canvas: Canvas, x: float, y: float) -> None:
    for plate in drawing.column.sketch.plates:
        inside = [spot for spot in drawing.column.placed.values() if spot.unit.plate == plate.key]
        keys = {spot.unit.key for spot in inside}
        xs = [point[0] for way in drawing.routes if way.target.unit.key in keys for point in way.points]
        labels = [way.label_at[0] + text_width(way.wire.label, OPTION_SIZE, is_bold=True) for way in drawing.routes
                  if way.target.unit.key in keys and way.label_at]  # fmt: skip
        left = min([*xs, *(spot.x - spot.outer / 2 for spot in inside)]) - PLATE_PADDING
        right = max([*xs, *labels, *(spot.x + spot.outer / 2 for spot in inside)]) + PLATE_PADDING
        top = min(spot.top for spot in inside) - 2
        bottom = max(spot.bottom for spot in inside) + PLATE_PADDING
        canvas.frame(
            f"{drawing.prefix}{plate.key}", x + left, y + top, x + right, y + bottom, style="rounded",
            color=f'"{palette.FRAME_LINE}"', penwidth=0.8, tooltip=hover(plate.tooltip),
        )  # fmt: skip
        canvas.text(x + left - 4, y + (top + bottom) / 2, _count_text(plate.count), 11, align="right", is_bold=True,
                    tooltip=plate.tooltip)  # fmt: skip


def _draw_brackets(drawing: NetworkDrawing, canvas: Canvas, x: float, y: float, stages: dict[str, int]) -> None:
    """A line beside each stage with its name."""
    for name, index in stages.items():
        members = [
            spot
            for spot in drawing.column.placed.values()
            if spot.unit.part == name and spot.unit.kind != "stage" and spot.unit.role != "auxiliary"
        ]
        if not members:
            continue
        top, bottom = min(spot.top for spot in members), max(spot.bottom for spot in members)
        line = x + drawing.left + max(text_width(brief(other), measures.WORDS, is_bold=True) for other in stages) + 6
        color = palette.stage_colors(index)[1]
        canvas.node(f"{drawing.prefix}{name} line", line, y + (top + bottom) / 2, 2, bottom - top,
                    fillcolor=f'"{color}"', penwidth=0, tooltip=hover(name))  # fmt: skip
        canvas.text(line - 5, y + top + 5.5, brief(name), measures.WORDS, align="right", is_bold=True, color=color)


def _draw_unit(spot: Placed, prefix: str, canvas: Canvas, x: float, y: float, colors: tuple[str, str]) -> None:
    unit = spot.unit
    fill, line = colors
    left_x, top = x + spot.x, y + spot.top
    if unit.before:
        _draw_strips(unit.before, prefix, canvas, left_x, top, spot, line)
    if unit.kind != "strip":
        canvas.node(
            f"{prefix}{unit.key}", left_x, y + spot.middle, spot.width, measures.main_height(unit),
            tooltip=hover(unit.tooltip), **_look(spot, fill, line),
        )  # fmt: skip
        if unit.is_bold:
            first = y + spot.middle - measures.LINE_HEIGHT * (len(unit.lines) - 1) / 2
            canvas.text(left_x, first, unit.lines[0], measures.WORDS, is_bold=True, tooltip=unit.tooltip)
    if unit.after:
        after_top = y + spot.main_top + measures.main_height(unit)
        _draw_strips(unit.after, prefix, canvas, left_x, after_top, spot, line)


def _look(spot: Placed, fill: str, line: str) -> dict[str, Value | None]:
    unit = spot.unit
    # A bold line is a node of its own: the label leaves room for it.
    label = "\n".join((" ", *unit.lines[1:]) if unit.is_bold else unit.lines)
    look: dict[str, Value | None] = {
        "shape": _SHAPES.get(unit.kind),
        "fillcolor": f'"{fill}"',
        "color": f'"{line}"',
        "label": words(label) if label else None,
    }
    match unit.kind:
        case "pool" | "more":
            look |= {"style": '"filled,rounded"', "fillcolor": f'"{palette.NEUTRAL_FILL}"'}
        case "join" | "gate":
            symbol = "T" if unit.kind == "gate" else "".join(unit.lines)
            look |= {"label": words(symbol), "fillcolor": '"white"', "color": f'"{palette.INK}"'}
            look["fontsize"] = 11 if unit.kind == "join" else 8
        case "image" | "end":
            look |= {"style": '""', "fontsize": 8}
        case "point":
            look |= {"style": "invis"}
    return look


def _draw_strips(
    tabs: tuple[Tab, ...], prefix: str, canvas: Canvas, x: float, top: float, spot: Placed, line: str
) -> None:
    """Strips side by side, together as wide as the unit."""
    natural = [measures.tab_width(tab) for tab in tabs]
    spare = max(0.0, spot.width - sum(natural)) / len(tabs) if spot.unit.kind in {"box", "pool", "strip"} else 0.0
    left = x - (sum(natural) + spare * len(tabs)) / 2
    for tab, own in zip(tabs, natural, strict=True):
        width = own + spare
        canvas.node(
            f"{prefix}{tab.key}", left + width / 2, top + measures.STRIP_HEIGHT / 2, width, measures.STRIP_HEIGHT,
            label=words(tab.label), fontsize=measures.SMALL, color=f'"{line}"', fillcolor=f'"{palette.STRIP_FILL}"',
            penwidth=0.5, tooltip=hover(tab.tooltip),
        )  # fmt: skip
        left += width


def _draw_route(way: Route, prefix: str, canvas: Canvas, x: float, y: float) -> None:
    tooltip = way.wire.tooltip or f"{way.source.unit.last} to {way.target.unit.first}"
    points = [(x + px, y + py) for px, py in way.points]
    tip = None if way.target.unit.kind == "point" else (x + way.tip[0], y + way.tip[1])
    if tip is None:
        points[-1] = (x + way.tip[0], y + way.tip[1])
    canvas.edge(
        f"{prefix}{way.source.unit.last}", f"{prefix}{way.target.unit.first}", points, tip,
        tooltip=hover(tooltip), **WIRE_STYLES[way.wire.kind],
    )  # fmt: skip
    if way.label_at:
        canvas.text(x + way.label_at[0], y + way.label_at[1], way.wire.label, OPTION_SIZE, align=way.label_align,
                    is_bold=True, tooltip=tooltip)  # fmt: skip
