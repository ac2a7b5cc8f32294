"""Where units stand: the trunk on one vertical line, branches and shortcuts in lanes beside it.

Own layout instead of dot's, for three reasons: the trunk stays straight and all shortcuts lie on one side; networks
side by side agree stage by stage; and the time grows with the number of units, not with its square. Lengths are
points, y grows downwards from the network's top, x = 0 is the trunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from resdsl.emit.picture import measures
from resdsl.emit.picture.sketch import Sketch, Unit, Wire

GAP = 9.0
LABEL_GAP = 15.0
EXIT = 4.0
BELOW_EXIT = 10.0
LABEL_HEIGHT = 10.0
PLATE_PADDING = 5.0
PLATE_GAP = 8.0
SIDE_GAP = 13.0


@dataclass(slots=True, eq=False)
class Placed:
    """A unit with its place: x of its middle, y of its top and bottom, width of its own shape and with strips.

    `exit` is how far below its bottom wires leave to the sides, `size_label` its map's size where that is told,
    `label_drop` how much lower than usual.
    """

    unit: Unit
    x: float = 0.0
    top: float = 0.0
    bottom: float = 0.0
    width: float = 0.0
    outer: float = 0.0
    exit: float = EXIT
    label_drop: float = 0.0
    size_label: str = ""

    @property
    def main_top(self) -> float:
        """Top of the unit's own shape, below the strips before it."""
        return self.top + (measures.STRIP_HEIGHT if self.unit.before else 0.0)

    @property
    def middle(self) -> float:
        """Y of the middle of its own shape."""
        return self.main_top + measures.main_height(self.unit) / 2


@dataclass(slots=True, eq=False)
class Chain:
    """Units beside the trunk from a fork to a join (None for an auxiliary head); without units a bare wire."""

    fork: Placed
    units: list[Placed]
    join: Placed | None
    wire: Wire | None
    side: str
    parent: Chain | None = None
    children: list[Chain] = field(default_factory=list)
    lane: float = 0.0


@dataclass(slots=True, eq=False)
class Column:
    """A network on its way to a drawing; `on_trunk` are the keys of the trunk's units."""

    sketch: Sketch
    placed: dict[str, Placed]
    trunk: list[Placed]
    chains: list[Chain]
    on_trunk: frozenset[str]


def arrange(sketches: Sequence[Sketch]) -> list[Column]:
    """Give every unit its y, and every unit on a trunk its x; networks of the same parts agree part by part."""
    columns = [_column(sketch) for sketch in sketches]
    _stack(columns)
    for column in columns:
        _lower_exits(column)
        for chain in column.chains:
            _center(chain)
    return columns


def _column(sketch: Sketch) -> Column:
    end = next(unit for unit in reversed(sketch.units) if unit.role != "auxiliary")
    placed = {unit.key: Placed(unit) for unit in sketch.units}
    trunk = _walk_back(placed, end.key, set())
    width = max([measures.LEAST_COLUMN, *(measures.words_width(p.unit) for p in trunk if _is_wide(p.unit))])
    chains, owner = _find_chains(sketch, placed, trunk)
    for spot in placed.values():
        on_trunk = owner.get(spot.unit.key, 0) is None
        spot.width = measures.main_width(spot.unit, width if on_trunk else 0.0)
        spot.outer = measures.outer_width(spot.unit, width if on_trunk else 0.0)
    _label_sizes(trunk, chains)
    _set_exits(placed, trunk, chains)
    return Column(sketch, placed, trunk, chains, frozenset(spot.unit.key for spot in trunk))


def _is_wide(unit: Unit) -> bool:
    return unit.kind in measures.FILLS_COLUMN


def _walk_back(placed: dict[str, Placed], key: str, known: set[str]) -> list[Placed]:
    """From a unit back along primary wires up to a known unit or the input, in the order of the text."""
    path: list[Placed] = []
    while key not in known:
        spot = placed[key]
        path.append(spot)
        if not spot.unit.wires:
            break
        key = spot.unit.wires[spot.unit.primary].source
    path.reverse()
    return path


def _find_chains(
    sketch: Sketch, placed: dict[str, Placed], trunk: list[Placed]
) -> tuple[list[Chain], dict[str, Chain | None]]:
    """All chains, those of the trunk's joins first, and for each unit the chain it is on (None for the trunk)."""
    owner: dict[str, Chain | None] = {spot.unit.key: None for spot in trunk}
    chains: list[Chain] = []
    waiting = list(trunk)
    ends = [unit.key for unit in reversed(sketch.units)]
    while waiting or ends:
        if not waiting:
            key = ends.pop()
            if key not in owner and not _is_source(key, sketch, placed, owner):
                _add_chain(placed, key, None, None, "left", owner, chains, waiting)
            continue
        spot = waiting.pop(0)
        for position, wire in enumerate(spot.unit.wires):
            if position != spot.unit.primary:
                _add_chain(placed, wire.source, spot, wire, wire.side, owner, chains, waiting)
    return chains, owner


def _is_source(key: str, sketch: Sketch, placed: dict[str, Placed], owner: dict[str, Chain | None]) -> bool:
    return placed[key].unit.kind != "end" and any(
        wire.source == key for unit in sketch.units if unit.key not in owner for wire in unit.wires
    )


def _add_chain(
    placed: dict[str, Placed],
    key: str,
    join: Placed | None,
    wire: Wire | None,
    side: str,
    owner: dict[str, Chain | None],
    chains: list[Chain],
    waiting: list[Placed],
) -> None:
    units = _walk_back(placed, key, set(owner))
    fork_key = units[0].unit.wires[units[0].unit.primary].source if units else key
    parent = owner[join.unit.key] if join else owner[fork_key]
    if join is None and units[0].unit.wires[0].leaves_at is not None:
        side = units[0].unit.wires[0].side
    chain = Chain(placed[fork_key], units, join, wire, parent.side if parent else side, parent)
    for spot in units:
        owner[spot.unit.key] = chain
    (parent.children if parent else chains).append(chain)
    if parent:
        chains.append(chain)
    waiting.extend(units)


def _label_sizes(trunk: list[Placed], chains: Iterable[Chain]) -> None:
    """Note the size where it changes along the trunk; beside a branch or shortcut only a change of the map counts."""
    rank = {spot.unit.key: index for index, spot in enumerate(trunk)}
    inside: set[int] = set()
    for chain in chains:
        if chain.join and chain.fork.unit.key in rank and chain.join.unit.key in rank:
            inside.update(range(rank[chain.fork.unit.key] + 1, rank[chain.join.unit.key]))
    is_branched = {
        index
        for chain in chains
        if chain.join and chain.units and chain.wire and chain.wire.kind == "branch" and chain.fork.unit.key in rank
        for index in range(rank[chain.fork.unit.key] + 1, rank.get(chain.join.unit.key, 0))
    }
    told = trunk[0].unit.shape
    for index, spot in enumerate(trunk):
        shape = spot.unit.shape
        if not shape or index in is_branched:
            continue
        if spot.unit.is_shape_told:
            told = shape
            continue
        if shape != told and (index not in inside or shape[1:] != told[1:]):
            told = shape
            spot.size_label = _shape_words(shape)


def _set_exits(placed: dict[str, Placed], trunk: list[Placed], chains: Iterable[Chain]) -> None:
    """Wires to the sides leave below a size that stands on their side, and below the plate that ends here."""
    for chain in chains:
        if chain.side == "left" and chain.fork.size_label:
            chain.fork.exit = EXIT + LABEL_HEIGHT
    for below in trunk[1:]:
        source = placed[below.unit.wires[below.unit.primary].source]
        if source.unit.plate and source.unit.plate != below.unit.plate:
            source.exit += PLATE_PADDING
            source.label_drop = PLATE_PADDING


def _shape_words(shape: tuple[object, ...]) -> str:
    text = " × ".join(str(extent) for extent in shape)
    return text if len(text) <= 40 else text[:39] + "…"


def _stack(columns: list[Column]) -> None:
    """Every unit below its inputs; sections that all networks have begin at one height."""
    keys = [list(dict.fromkeys(_section(spot.unit) for spot in column.trunk)) for column in columns]
    by_part = [list(dict.fromkeys(spot.unit.part for spot in column.trunk)) for column in columns]
    if all(own == keys[0] for own in keys):
        _stack_by(columns, keys[0], by_block=True)
    elif all(own == by_part[0] for own in by_part):
        _stack_by(columns, by_part[0], by_block=False)
    else:
        for column in columns:
            _stack_by([column], [""], by_block=False, is_one=True)


def _section(unit: Unit) -> str:
    return unit.section or unit.part


def _stack_by(columns: list[Column], keys: list[str], *, by_block: bool, is_one: bool = False) -> None:
    floors = [0.0] * len(columns)
    rank = {key: index for index, key in enumerate(keys)}
    sections: list[list[list[Placed]]] = []
    for column in columns:
        own: list[list[Placed]] = [[] for _ in keys]
        current = 0
        for spot in column.placed.values():
            key = _section(spot.unit) if by_block else spot.unit.part
            # Units come in order: what has no section of its own (an auxiliary head's end) stays with those before it.
            current = 0 if is_one else max(current, rank.get(key, current))
            own[current].append(spot)
        sections.append(own)
    gaps = [_gaps_below(column) for column in columns]
    for index in range(len(keys)):
        floor = max(floors)
        for n, column in enumerate(columns):
            for spot in sections[n][index]:
                spot.top = max([floor, *(_least_top(column, spot, wire, gaps[n]) for wire in spot.unit.wires)])
                spot.bottom = spot.top + measures.unit_height(spot.unit)
                if spot.unit.key in column.on_trunk:
                    floors[n] = max(floors[n], spot.bottom + gaps[n][spot.unit.key])


def _gaps_below(column: Column) -> dict[str, float]:
    forks = {chain.fork.unit.key for chain in column.chains}
    gaps: dict[str, float] = {}
    for key, spot in column.placed.items():
        gap = LABEL_GAP if spot.size_label else GAP
        gaps[key] = max(gap, spot.exit + BELOW_EXIT) if key in forks and spot.unit.kind != "point" else gap
    for below in column.trunk[1:]:
        source = column.placed[below.unit.wires[below.unit.primary].source]
        if source.unit.plate != below.unit.plate:
            gaps[source.unit.key] += PLATE_GAP
    return gaps


def _least_top(column: Column, spot: Placed, wire: Wire, gaps: dict[str, float]) -> float:
    source = column.placed[wire.source]
    if wire.leaves_at is not None:
        return source.top + wire.leaves_at + SIDE_GAP
    is_primary = spot.unit.wires[spot.unit.primary] is wire
    if is_primary and spot.unit.key in column.on_trunk:
        return source.bottom + gaps[wire.source]
    return source.bottom + (source.exit + SIDE_GAP if is_primary and source.unit.key in column.on_trunk else GAP)


def _lower_exits(column: Column) -> None:
    """Where a section begins lower for its neighbours' sake, its branches leave the trunk just above it."""
    forked: dict[str, list[Chain]] = {}
    for chain in column.chains:
        forked.setdefault(chain.fork.unit.key, []).append(chain)
    for fork, below in pairwise(column.trunk):
        lowest = below.top - BELOW_EXIT
        chains = forked.get(fork.unit.key, [])
        if all(not chain.units or chain.units[0].top >= lowest + BELOW_EXIT for chain in chains):
            fork.exit = max(fork.exit, lowest - fork.bottom)


def _center(chain: Chain) -> None:
    """Move a chain's units to the middle between its fork and its join."""
    if chain.join is None or not chain.units or chain.children:
        return
    slack = chain.join.top - GAP - chain.units[-1].bottom
    if slack > 0 and all(len(spot.unit.wires) == 1 for spot in chain.units):
        for spot in chain.units:
            spot.top += slack / 2
            spot.bottom += slack / 2
