"""Python expressions laid out in lines, as the common formatters do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

WIDTH = 120
STEP = "    "


@dataclass(frozen=True, slots=True)
class Bracket:
    """A bracket with its items: `open` is all before the first item, such as `nn.Sequential(`.

    `comma` is false for a generator, whose parts stand side by side.
    """

    open: str
    items: tuple[Layout, ...]
    close: str = ")"
    comma: bool = True


Layout = Union[str, Bracket]


def call(head: str, items: Sequence[Layout]) -> Bracket:
    """`head(item, item)`"""
    return Bracket(f"{head}(", tuple(items))


def prefixed(prefix: str, layout: Layout) -> Layout:
    """The layout with text before it."""
    if isinstance(layout, str):
        return prefix + layout
    return Bracket(prefix + layout.open, layout.items, layout.close, layout.comma)


def flat(layout: Layout) -> str:
    """The layout in one line."""
    if isinstance(layout, str):
        return layout
    return layout.open + (", " if layout.comma else " ").join(map(flat, layout.items)) + layout.close


def lines(layout: Layout, indent: str, end: str = "") -> list[str]:
    """The layout in as few lines as the width allows; `end` follows its last character."""
    whole = flat(layout)
    if isinstance(layout, str) or len(indent) + len(whole) + len(end) <= WIDTH:
        return [indent + whole + end]
    inner = indent + STEP
    body = (", " if layout.comma else " ").join(map(flat, layout.items))
    result = [indent + layout.open]
    if len(inner) + len(body) <= WIDTH and (layout.comma or len(layout.items) == 1):
        result.append(inner + body)
    else:
        comma = "," if layout.comma and len(layout.items) > 1 else ""
        for item in layout.items:
            result.extend(lines(item, inner, comma))
    result.append(indent + layout.close + end)
    return result


def packed(values: Sequence[str], indent: str) -> list[str]:
    """Many short values, as many to a line as fit."""
    rows = [indent]
    for value in values:
        if len(rows[-1]) + len(value) + 1 > WIDTH:
            rows.append(indent)
        rows[-1] += f"{value}," if rows[-1] == indent else f" {value},"
    return rows
