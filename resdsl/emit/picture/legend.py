"""What the signs of a picture mean: only those that occur in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resdsl.emit.picture import palette
from resdsl.emit.picture.canvas import Canvas
from resdsl.emit.picture.draw import WIRE_STYLES, NetworkDrawing
from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.text import hover, words

SIZE = 8.0
ROW = 15.0
SAMPLE = 26.0
SIGN_SIZE = 7.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A sign, its meaning, and the words on the sign where these are the network's own."""

    sign: str
    meaning: str
    sample: str = ""

    @property
    def width(self) -> float:
        """Width of the sign."""
        return max(SAMPLE, text_width(self.sample, SIGN_SIZE) + 6)


def entries(drawings: Sequence[NetworkDrawing]) -> list[Entry]:
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
    samples = {"strips": _strip_sample(drawings)}
    return [
        Entry(sign, meaning, samples.get(sign, "")) for sign, meaning in known.items() if sign in kinds or sign in lines
    ]


def _strip_sample(drawings: Sequence[NetworkDrawing]) -> str:
    """The words of the strip that occurs most often, of several the shortest."""
    spots = [spot for drawing in drawings for spot in drawing.column.placed.values()]
    labels = [tab.label for spot in spots for tab in (*spot.unit.before, *spot.unit.after)]
    return min(labels, key=lambda label: (-labels.count(label), len(label)), default="")


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


def draw_legend(items: list[Entry], canvas: Canvas, x: float, y: float) -> None:
    """One entry below the other, from the top left corner at (x, y)."""
    widest = _widest_sign(items)
    for entry in items:
        middle = y + ROW / 2
        _draw_sign(entry, canvas, x + (widest - entry.width) / 2, middle)
        canvas.text(x + widest + 8, middle, entry.meaning, SIZE, align="left")
        y += ROW


def legend_size(items: list[Entry]) -> tuple[float, float]:
    """Width and height of the legend."""
    words = max((text_width(entry.meaning, SIZE) for entry in items), default=0.0)
    return words + _widest_sign(items) + 10, ROW * len(items)


def _widest_sign(items: list[Entry]) -> float:
    return max((entry.width for entry in items), default=SAMPLE)


def _draw_sign(entry: Entry, canvas: Canvas, x: float, y: float) -> None:
    sign = entry.sign
    key, middle = f"legend {sign}", x + entry.width / 2
    look = {"tooltip": hover("legend"), "fillcolor": '"white"'}
    match sign:
        case "+" | "×":
            canvas.node(key, middle, y, 12, 12, shape="circle", label=words(sign), color=f'"{palette.INK}"', **look)
        case "gate":
            canvas.node(key, middle, y, 15, 15, shape="diamond", label=words("T"), fontsize=7,
                        color=f'"{palette.INK}"', **look)  # fmt: skip
        case "strips":
            canvas.node(
                key, middle, y, entry.width, 9, label=words(entry.sample), fontsize=SIGN_SIZE, penwidth=0.5, **look
            )
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
