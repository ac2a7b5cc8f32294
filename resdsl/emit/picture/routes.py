"""Lanes beside the trunk and the curves of all wires, as Bezier points in the layout's own directions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resdsl.emit.picture import measures
from resdsl.emit.picture.fonts import text_width
from resdsl.emit.picture.layout import Chain, Column, Placed
from resdsl.emit.picture.sketch import Wire

ARROW = 5.0
LANE_GAP = 13.0
CHAIN_GAP = 16.0
BEND = 55.0
TURN = 58.0
OPTION_SIZE = 8.0
OPTION_GAP = 6.0
SIZE_GAP = 7.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Route:
    """A wire as drawn: Bezier points up to the arrow, the arrow's tip, and where its label begins or ends."""

    source: Placed
    target: Placed
    wire: Wire
    points: tuple[Point, ...]
    tip: Point
    label_at: Point | None = None
    label_align: str = "left"


def route(column: Column) -> list[Route]:
    """Give all chains their lanes, then draw every wire."""
    lanes = _Lanes(column)
    tops = [chain for chain in column.chains if chain.parent is None]
    tops.sort(key=lambda chain: _bottom(chain) - _top(chain))
    # Of two auxiliary heads that reach beside each other the earlier one stands farther out: no wire crosses the other.
    heads = iter(sorted((chain for chain in tops if chain.join is None), key=_top, reverse=True))
    for chain in tops:
        lanes.place(next(heads) if chain.join is None else chain)
    chain_of = {spot.unit.key: chain for chain in column.chains for spot in chain.units}
    bare = {(chain.join.unit.key, id(chain.wire)): chain for chain in column.chains if chain.join and not chain.units}
    routes = []
    for spot in column.placed.values():
        for position, wire in enumerate(spot.unit.wires):
            source = column.placed[wire.source]
            lane = bare.get((spot.unit.key, id(wire)))
            if lane is not None:
                routes.append(_arc(source, spot, wire, lane))
            elif position == spot.unit.primary:
                routes.append(_descent(source, spot, wire, is_last=source is column.trunk[-1]))
            else:
                routes.append(_entry(source, spot, wire, chain_of.get(wire.source)))
    return routes


def _top(chain: Chain) -> float:
    leaves_at = chain.units[0].unit.wires[chain.units[0].unit.primary].leaves_at if chain.units else None
    if leaves_at is not None:
        return chain.fork.top + leaves_at
    return chain.fork.bottom + chain.fork.exit


def _bottom(chain: Chain) -> float:
    return chain.join.middle if chain.join else chain.units[-1].bottom


class _Lanes:
    """How far out each side is taken, as rectangles (top, bottom, how far out)."""

    def __init__(self, column: Column) -> None:
        self._taken: dict[str, list[tuple[float, float, float]]] = {"left": [], "right": []}
        for spot in column.trunk:
            for taken in self._taken.values():
                taken.append((spot.top, spot.bottom, spot.outer / 2))
            if spot.size_label:
                width = text_width(spot.size_label, measures.SMALL) + SIZE_GAP + 2
                self._taken["left"].append((spot.bottom, spot.bottom + 12, width))

    def place(self, chain: Chain) -> None:
        """Take the innermost free lane for a chain, then for the chains that hang on it."""
        top, bottom = _top(chain) + 1, _bottom(chain) - 1
        label = (
            text_width(chain.wire.label, OPTION_SIZE, is_bold=True) + OPTION_GAP + 2
            if chain.wire and chain.wire.label
            else 0.0
        )
        taken = self._taken[chain.side]
        inner = max((out for y0, y1, out in taken if y0 < bottom and y1 > top), default=0.0)
        if chain.units:
            half = max(spot.outer for spot in chain.units) / 2
            lane, out = inner + CHAIN_GAP + half, inner + CHAIN_GAP + 2 * half
            out = max(out, lane + label)
        else:
            lane = inner + LANE_GAP
            out = lane + label
        taken.append((top, bottom, out))
        chain.lane = lane if chain.side == "right" else -lane
        for spot in chain.units:
            spot.x = chain.lane
        for child in sorted(chain.children, key=lambda child: _bottom(child) - _top(child)):
            self.place(child)


def _descent(source: Placed, target: Placed, wire: Wire, *, is_last: bool) -> Route:
    """Straight down, or out to another lane and down; behind the trunk's last unit no other wire leads to its start."""
    tip = (target.x, target.top)
    end = (target.x, target.top - ARROW)
    if abs(source.x - target.x) < 0.5:
        return Route(source, target, wire, _line((source.x, source.bottom), end), tip)
    start = (source.x, source.bottom + source.exit)
    if wire.leaves_at is not None:
        reach = source.width / 2 if target.x > source.x else -source.width / 2
        start = (source.x + reach, source.top + wire.leaves_at)
    bend = (target.x, min(end[1], start[1] + BEND))
    points = _turn_down(start, bend)
    if is_last and wire.leaves_at is None:
        points = (*_line((source.x, source.bottom), start)[:-1], *points)
    if end[1] - bend[1] > 0.5:
        points += _line(bend, end)[1:]
    return Route(source, target, wire, points, tip)


def _entry(source: Placed, target: Placed, wire: Wire, chain: Chain | None) -> Route:
    """From the end of a chain into the side of its join."""
    sign = 1 if source.x > target.x else -1
    tip = (target.x + sign * target.width / 2, target.middle)
    end = (tip[0] + sign * ARROW, tip[1])
    start = (source.x, source.bottom)
    bend = (source.x, max(start[1], end[1] - BEND))
    points = (*_line(start, bend)[:-1], *_turn_in(bend, end)) if bend[1] - start[1] > 0.5 else _turn_in(start, end)
    label = None
    if wire.label and chain is not None:
        label = (source.x + sign * OPTION_GAP, source.bottom + 7)
    return Route(source, target, wire, points, tip, label, "left" if sign > 0 else "right")


def _arc(source: Placed, target: Placed, wire: Wire, chain: Chain) -> Route:
    """Out to a lane, down beside the trunk, and into the side of the join."""
    sign = 1 if chain.side == "right" else -1
    start = (source.x, source.bottom + source.exit)
    tip = (target.x + sign * target.width / 2, target.middle)
    end = (tip[0] + sign * ARROW, tip[1])
    bend = min((end[1] - start[1]) / 2, BEND)
    upper, lower = (chain.lane, start[1] + bend), (chain.lane, end[1] - bend)
    points = _turn_down(start, upper)
    if lower[1] - upper[1] > 0.5:
        points += _line(upper, lower)[1:]
    points += _turn_in(lower, end)[1:]
    label = (chain.lane + sign * OPTION_GAP, (start[1] + end[1]) / 2) if wire.label else None
    return Route(source, target, wire, points, tip, label, "left" if sign > 0 else "right")


def _line(start: Point, end: Point) -> tuple[Point, ...]:
    third = ((end[0] - start[0]) / 3, (end[1] - start[1]) / 3)
    return (start, (start[0] + third[0], start[1] + third[1]), (end[0] - third[0], end[1] - third[1]), end)


def _turn_down(start: Point, end: Point) -> tuple[Point, ...]:
    """A curve that leaves sideways and stays high until it is past what stands below its start."""
    reach = end[0] - start[0]
    flat = (end[0] - max(-TURN, min(TURN, reach)), start[1])
    curve = (flat, (flat[0] + 0.75 * (end[0] - flat[0]), start[1]), (end[0], start[1]), end)
    return curve if abs(reach) <= TURN else (*_line(start, flat)[:-1], *curve)


def _turn_in(start: Point, end: Point) -> tuple[Point, ...]:
    """A curve that comes down and ends sideways, low all the way in."""
    return tuple((x, start[1] + end[1] - y) for x, y in reversed(_turn_down((end[0], start[1]), (start[0], end[1]))))


def extent(column: Column, routes: Iterable[Route]) -> tuple[float, float]:
    """Leftmost and rightmost x of units, wires and their labels."""
    left = [spot.x - spot.outer / 2 for spot in column.placed.values()]
    right = [spot.x + spot.outer / 2 for spot in column.placed.values()]
    for way in routes:
        left.extend(point[0] for point in way.points)
        right.extend(point[0] for point in way.points)
        if way.label_at:
            width = text_width(way.wire.label, OPTION_SIZE, is_bold=True)
            (right if way.label_align == "left" else left).append(
                way.label_at[0] + (width if way.label_align == "left" else -width)
            )
    for spot in column.trunk:
        width = text_width(spot.size_label, measures.SMALL) + SIZE_GAP + 2
        left.append(-width)
    return min(left), max(right)
