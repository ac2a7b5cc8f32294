"""How large each unit is, in points."""

from __future__ import annotations

from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.sketch import Tab, Unit

WORDS = 9.0
SMALL = 7.0
TITLE = 15.0
MAIN_HEIGHT = 17.0
LINE_HEIGHT = 11.0
STRIP_HEIGHT = 10.0
JOIN_SIZE = 13.0
GATE_SIZE = 17.0
POINT_SIZE = 0.0
LEAST_COLUMN = 92.0
TAB_PADDING = 8.0

_FIXED = {"join": (JOIN_SIZE, JOIN_SIZE), "gate": (GATE_SIZE, GATE_SIZE), "concat": (46.0, JOIN_SIZE),
          "point": (POINT_SIZE, POINT_SIZE)}  # fmt: skip
FILLS_COLUMN = frozenset({"box", "pool", "strip", "block", "more", "stage"})


def words_width(unit: Unit) -> float:
    """Width that a unit's words and strips need."""
    widths = [text_width(line, WORDS, is_bold=unit.is_bold and n == 0) + 16 for n, line in enumerate(unit.lines)]
    return max(*widths, strips_width(unit.before), strips_width(unit.after), 0.0, 0.0)


def strips_width(tabs: tuple[Tab, ...]) -> float:
    """Width that strips side by side need."""
    return sum(tab_width(tab) for tab in tabs)


def tab_width(tab: Tab) -> float:
    """Width that one strip needs."""
    return max(22.0, text_width(tab.label, SMALL) + TAB_PADDING)


def main_height(unit: Unit) -> float:
    """Height of a unit without its strips."""
    if unit.kind in _FIXED:
        return _FIXED[unit.kind][1]
    if unit.kind == "strip":
        return 0.0
    if unit.kind in {"stage", "block"}:
        return (12.0 if unit.kind == "stage" else 7.0) + LINE_HEIGHT * len(unit.lines)
    return MAIN_HEIGHT if len(unit.lines) == 1 else 6.0 + LINE_HEIGHT * len(unit.lines)


def unit_height(unit: Unit) -> float:
    """Height of a unit with its strips."""
    return main_height(unit) + STRIP_HEIGHT * (bool(unit.before) + bool(unit.after))


def main_width(unit: Unit, column: float) -> float:
    """Width of a unit's own shape; what stands on the trunk is as wide as its column."""
    if unit.kind in _FIXED:
        return _FIXED[unit.kind][0]
    return max(column, words_width(unit)) if unit.kind in FILLS_COLUMN else words_width(unit)


def outer_width(unit: Unit, column: float) -> float:
    """Width of a unit with its strips."""
    return max(main_width(unit, column), strips_width(unit.before), strips_width(unit.after))
