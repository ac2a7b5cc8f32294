"""Long runs of equal blocks become one block in a plate with its count, so that a picture stays readable.

A run is folded where more than `most` blocks that look alike, rates aside, follow one another and nothing but the next
block uses what is inside them. What is still too long after that loses its middle: one box tells how many units it
stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resdsl.emit.picture.groups import Group
from resdsl.emit.picture.labels import with_ranges, without_rates
from resdsl.emit.picture.sketch import Plate, Sketch, Tab, Unit, Wire, rewired

MAX_UNITS = 1200
KEPT_AT_END = 100


def folded(items: Sequence[Unit | Group], most: int) -> Sketch:
    """All units, with runs of more than `most` equal blocks as one block in a plate."""
    users = _users(items)
    units: list[Unit] = []
    plates: list[Plate] = []
    renamed: dict[str, str] = {}
    position = 0
    while position < len(items):
        item = items[position]
        if isinstance(item, Unit):
            units.append(item)
            position += 1
            continue
        run = _run(items, position, users)
        if len(run) <= most:
            units.extend(unit for group in run for unit in group.units)
        else:
            plates.append(_plate(run))
            units.extend(_in_plate(run))
            renamed.update(
                (gone.key, kept.key) for group in run for gone, kept in zip(group.units, run[0].units, strict=True)
            )
        position += len(run)
    return _without_middle(Sketch(tuple(rewired(unit, renamed) for unit in units), tuple(plates)))


def _users(items: Sequence[Unit | Group]) -> dict[str, set[int]]:
    """For each unit the positions of the items that use it."""
    users: dict[str, set[int]] = {}
    for position, item in enumerate(items):
        for unit in item.units if isinstance(item, Group) else (item,):
            for wire in unit.wires:
                users.setdefault(wire.source, set()).add(position)
    return users


def _run(items: Sequence[Unit | Group], start: int, users: dict[str, set[int]]) -> list[Group]:
    """The group at `start` and those after it that look alike."""
    first = items[start]
    assert isinstance(first, Group)
    run = [first]
    look = _look(first, items[start - 1])
    for position in range(start + 1, len(items)):
        item = items[position]
        if not isinstance(item, Group) or item.units[0].part != first.units[0].part:
            break
        inside = run[-1].units
        if any(users.get(unit.key, set()) - {position - 1, position} for unit in inside):
            break
        if _look(item, run[-1]) != look:
            break
        run.append(item)
    return run


def _look(group: Group, before: Unit | Group) -> tuple[object, ...]:
    """What is drawn of a group: words but for rates, shapes, kinds of wires, and from where each comes."""
    place = {unit.key: index for index, unit in enumerate(group.units)}
    source = {before.key if isinstance(before, Unit) else before.units[-1].key: -1}
    return tuple(
        (
            unit.kind, tuple(map(without_rates, unit.lines)), unit.shape,
            tuple(without_rates(tab.label) for tab in (*unit.before, *unit.after)),
            tuple((wire.kind, wire.label, place.get(wire.source, source.get(wire.source))) for wire in unit.wires),
        )
        for unit in group.units
    )  # fmt: skip


def _plate(run: list[Group]) -> Plate:
    words = "equal blocks" if _merged(run) == list(run[0].units) else "blocks that differ in their rates only"
    return Plate(f"plate {run[0].path}", len(run), f"{len(run)} {words}: {run[0].path} to {run[-1].path}")


def _merged(run: list[Group]) -> list[Unit]:
    """The first block's units with the rates of the whole run in their words."""
    return [_with_ranges(alike) for alike in zip(*(group.units for group in run), strict=True)]


def _with_ranges(units: Sequence[Unit]) -> Unit:
    def merged(rows: Sequence[tuple[Tab, ...]]) -> tuple[Tab, ...]:
        columns = zip(*rows, strict=True)
        return tuple(replace(tabs[0], label=with_ranges([tab.label for tab in tabs])) for tabs in columns)

    lines = tuple(map(with_ranges, zip(*(unit.lines for unit in units), strict=True)))
    before, after = merged([unit.before for unit in units]), merged([unit.after for unit in units])
    return replace(units[0], lines=lines, before=before, after=after)


def _in_plate(run: list[Group]) -> list[Unit]:
    """The first block of a run, with a point inside the plate at which its input arrives."""
    plate = _plate(run).key
    first = _merged(run)
    own = {unit.key for unit in first}
    outside = next(wire.source for unit in first for wire in unit.wires if wire.source not in own)
    point = Unit(
        f"{run[0].path}:in", "point", (), f"input of each of the {len(run)} blocks", first[0].part, (),
        (Wire(outside),), plate=plate, section=first[0].section,
    )  # fmt: skip
    inner = [replace(rewired(unit, {outside: point.key}), plate=plate) for unit in first]
    return [point, *inner]


def _without_middle(sketch: Sketch) -> Sketch:
    """The sketch itself when it is short enough, else its beginning, one box for the middle, and its end."""
    units = sketch.units
    if len(units) <= MAX_UNITS:
        return sketch
    start, end = MAX_UNITS - KEPT_AT_END, len(units) - KEPT_AT_END
    middle = units[start:end]
    kept = (*units[:start], *units[end:])
    key = f"{middle[0].key}:more"
    words = (f"… {len(middle):,} more …",)
    tooltip = f"from {middle[0].key} to {middle[-1].key}"
    source = middle[0].wires[middle[0].primary].source
    box = Unit(key, "more", words, tooltip, middle[0].part, middle[-1].shape, (Wire(source),))
    renamed = dict.fromkeys((unit.key for unit in middle), key)
    plates = {unit.plate for unit in kept}
    return Sketch(
        (*units[:start], box, *(rewired(unit, renamed) for unit in units[end:])),
        tuple(plate for plate in sketch.plates if plate.key in plates),
    )
