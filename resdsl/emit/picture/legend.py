"""What the signs of a picture mean: only those that occur in it."""

from __future__ import annotations

from collections.abc import Sequence

from resdsl.emit.picture import palette
from resdsl.emit.picture.canvas import Canvas
from resdsl.emit.picture.draw import WIRE_STYLES, NetworkDrawing
from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.text import hover, words

SIZE = 8.0
ROW = 15.0
SAMPLE = 26.0


def entries(drawings: Sequence[NetworkDrawing]) -> list[tuple[str, str]]:
    """Sign and meaning, in a fixed order."""
    kinds: set[str] = set()
    lines: set[str] = set()
    for drawing in drawings:
        kinds |= {"gate wire" if way.wire.kind == "gate" else way.wire.kind for way in drawing.routes}
        for spot in drawing.column.placed.values():
            kinds.add(spot.unit.kind)
            lines.update(spot.unit.lines if spot.unit.kind == "join" else ())
            kinds |= {"strips"} if spot.unit.before or spot.unit.after else set()
        kinds |= {"plate"} if drawing.column.sketch.plates else set()
    keeping = _options(drawings, "identity")
    known = {
        "identity": f"shortcut that keeps the shape{keeping}" if keeping else "identity shortcut",
        "changed": f"shortcut that changes the shape{_options(drawings, 'changed')}",
        "+": "sum of branch and shortcut",
        "×": "product of its inputs",
        "gate": "gated sum: T · H(x) + (1 − T) · x",
        "gate wire": "the gate T(x)",
        "strips": "ops that follow or precede a layer",
        "plate": "the frame’s content, that many times",
    }
    return [(sign, meaning) for sign, meaning in known.items() if sign in kinds or sign in lines]


def _options(drawings: Sequence[NetworkDrawing], kind: str) -> str:
    """The options with which shortcuts of a kind are labelled, ` (option A, B)`."""
    found = {
        way.wire.label
        for drawing in drawings
        for way in drawing.routes
        if way.wire.kind == kind and way.target.unit.kind != "gate"
    }
    names = sorted(found - {""})
    return f" (option {', '.join(names)})" if names else ""


def draw_legend(items: list[tuple[str, str]], canvas: Canvas, x: float, y: float) -> None:
    """One entry below the other, from the top left corner at (x, y)."""
    for sign, meaning in items:
        middle = y + ROW / 2
        _draw_sign(sign, canvas, x, middle)
        canvas.text(x + SAMPLE + 8, middle, meaning, SIZE, align="left")
        y += ROW


def legend_size(items: list[tuple[str, str]]) -> tuple[float, float]:
    """Width and height of the legend."""
    return max((text_width(meaning, SIZE) for _, meaning in items), default=0.0) + SAMPLE + 10, ROW * len(items)


def _draw_sign(sign: str, canvas: Canvas, x: float, y: float) -> None:
    key, middle = f"legend {sign}", x + SAMPLE / 2
    look = {"tooltip": hover("legend"), "fillcolor": '"white"'}
    match sign:
        case "+" | "×":
            canvas.node(key, middle, y, 12, 12, shape="circle", label=words(sign), color=f'"{palette.INK}"', **look)
        case "gate":
            canvas.node(key, middle, y, 15, 15, shape="diamond", label=words("T"), fontsize=7,
                        color=f'"{palette.INK}"', **look)  # fmt: skip
        case "strips":
            canvas.node(key, middle, y, SAMPLE, 9, label=words("bn"), fontsize=7, penwidth=0.5, **look)
        case "plate":
            canvas.frame(key, x, y - 5.5, x + SAMPLE, y + 5.5, style="rounded",
                         color=f'"{palette.FRAME_LINE}"', penwidth=0.8, tooltip=hover("legend"))  # fmt: skip
            canvas.text(middle, y, "× n", 7, is_bold=True)
        case _:
            for end, at in (("from", x), ("to", x + SAMPLE)):
                canvas.node(f"{key} {end}", at, y, 1, 1, style="invis", tooltip=look["tooltip"])
            points = [(x, y), (x + SAMPLE / 3, y), (x + SAMPLE / 2, y), (x + SAMPLE - 5, y)]
            canvas.edge(f"{key} from", f"{key} to", points, (x + SAMPLE, y), tooltip=hover("legend"),
                        **WIRE_STYLES[sign.removesuffix(" wire")])  # fmt: skip
