"""DOT statements with their places, collected in page coordinates (points, y downwards) and written bottom-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resdsl.emit.picture import palette, text
from resdsl.emit.picture.fonts import FONT, text_width
from resdsl.emit.picture.text import Value, attributes, bold_words, hover, name, words

Point = tuple[float, float]


class Canvas:
    """A page of the size of what was put on it."""

    def __init__(self) -> None:
        self.width = 0.0
        self.height = 0.0
        self._frames: list[tuple[str, float, float, float, float, dict[str, Value | None]]] = []
        self._nodes: list[tuple[str, Point, dict[str, Value | None]]] = []
        self._edges: list[tuple[str, str, Sequence[Point], Point | None, dict[str, Value | None]]] = []
        self._texts = 0

    def frame(self, key: str, left: float, top: float, right: float, bottom: float, **style: Value | None) -> None:
        """A frame behind everything: a cluster without members."""
        self._frames.append((key, left, top, right, bottom, style))
        self._grow(right, bottom)

    def node(self, key: str, x: float, y: float, width: float, height: float, **style: Value | None) -> None:
        """A node with its middle at (x, y)."""
        self._put(key, x, y, width, height, **style)
        self._grow(x + width / 2, y + height / 2)

    def _put(self, key: str, x: float, y: float, width: float, height: float, **style: Value | None) -> None:
        self._nodes.append((key, (x, y), {"width": width / 72, "height": height / 72, **style}))

    def text(
        self,
        x: float,
        y: float,
        content: str,
        size: float,
        *,
        align: str = "center",
        is_bold: bool = False,
        color: str = palette.INK,
        tooltip: str = "",
    ) -> None:
        """One line of words whose left end, middle or right end is at x."""
        width = text_width(content, size, is_bold=is_bold)
        middle = x + width / 2 if align == "left" else x - width / 2 if align == "right" else x
        self._texts += 1
        label = bold_words(content) if is_bold else words(content)
        # Wider than measured, as other fonts are: Graphviz warns of words wider than their node.
        self._put(
            f"text {self._texts}", middle, y, width * 1.2 + 6, size * 1.3 + 2, shape="plaintext", style='""',
            label=label, fontsize=size,
            fontcolor=f'"{color}"' if color != palette.INK else None,
            tooltip=hover(tooltip or content),
        )  # fmt: skip
        self._grow(middle + width / 2, y + size / 2 + 2)

    def edge(self, tail: str, head: str, points: Sequence[Point], tip: Point | None, **style: Value | None) -> None:
        """A wire along Bezier points; with a tip it ends in an arrow."""
        self._edges.append((tail, head, points, tip, style))
        for x, y in points:
            self._grow(x, y)

    def _grow(self, right: float, bottom: float) -> None:
        self.width, self.height = max(self.width, right), max(self.height, bottom)

    def write(self, title: str) -> str:
        """The page as DOT; `nop2` makes every Graphviz program keep the places."""
        lines = [f"digraph {name(title)} {{"]
        lines.extend(f"  {line}" for line in self._defaults(title))
        for key, left, top, right, bottom, style in self._frames:
            box = ",".join(text.number(value) for value in (left, self.height - bottom, right, self.height - top))
            values = {"bb": f'"{box}"', **style}
            settings = "; ".join(f"{item}={text.number(value)}" for item, value in values.items() if value is not None)
            lines.append(f"  subgraph {name('cluster ' + key)} {{ {settings} }}")
        for key, point, style in self._nodes:
            values = {"pos": f'"{self._at(point)}"', **style}
            lines.append(f"  {name(key)} {attributes(values)}")
        for tail, head, points, tip, style in self._edges:
            place = " ".join([*([f"e,{self._at(tip)}"] if tip else []), *self._all_at(points)])
            values = {"pos": f'"{place}"', **style}
            lines.append(f"  {name(tail)} -> {name(head)} {attributes(values)}")
        return "\n".join([*lines, "}"]) + "\n"

    def _defaults(self, title: str) -> list[str]:
        corner = f"{text.number(self.width)},{text.number(self.height)}"
        page: dict[str, Value | None] = {
            "layout": "nop2", "bb": f'"0,0,{corner}"', "pad": 0.15, "bgcolor": '"white"', "outputorder": "nodesfirst",
            "fontname": f'"{FONT}"', "tooltip": hover(title),
        }  # fmt: skip
        node: dict[str, Value | None] = {
            "shape": "box", "fixedsize": "true", "margin": 0, "style": "filled", "label": '""', "penwidth": 0.8,
            "fillcolor": f'"{palette.NEUTRAL_FILL}"', "color": f'"{palette.NEUTRAL_LINE}"',
            "fontname": f'"{FONT}"', "fontsize": 9, "fontcolor": f'"{palette.INK}"',
        }  # fmt: skip
        edge: dict[str, Value | None] = {"color": f'"{palette.INK}"', "penwidth": 0.9, "arrowsize": 0.5}
        return [f"graph {attributes(page)}", f"node {attributes(node)}", f"edge {attributes(edge)}"]

    def _at(self, point: Point) -> str:
        return f"{text.number(point[0])},{text.number(self.height - point[1])}"

    def _all_at(self, points: Iterable[Point]) -> list[str]:
        return [self._at(point) for point in points]
