"""Blocks as boxes that list their weighted layers; a shortcut around a box stays a wire of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from resdsl.emit.picture.groups import Group
from resdsl.emit.picture.sketch import Unit, Wire, brief, group_tooltip
from resdsl.ir.lower import OpNode

MAX_LINES = 9
SHORTCUTS = frozenset({"identity", "changed"})


def block_units(items: Iterable[Unit | Group]) -> list[Unit | Group]:
    """Each group with its units contracted to boxes and joins; loose units without their strips."""
    renamed: dict[str, str] = {}
    result: list[Unit | Group] = []
    for item in items:
        if isinstance(item, Group):
            units = _contract(item, renamed)
            result.append(Group(item.path, item.block, tuple(_bare(unit, renamed) for unit in units)))
        else:
            result.append(_bare(item, renamed))
    return result


def _bare(unit: Unit, renamed: dict[str, str]) -> Unit:
    """A unit without strips, its wires led to the boxes that now hold their sources."""
    wires = tuple(replace(wire, source=renamed.get(wire.source, wire.source)) for wire in unit.wires)
    if not unit.ops or unit.kind in {"block", "image", "end"}:
        return replace(unit, wires=wires)
    tooltip = group_tooltip(unit.key, unit.ops) if len(unit.ops) > 1 else unit.tooltip
    lines, kind = unit.lines, unit.kind
    if kind == "strip":
        lines, kind = (brief(" → ".join(tab.label for tab in unit.before)),), "box"
    return replace(unit, wires=wires, before=(), after=(), tooltip=tooltip, lines=lines, kind=kind)


def _contract(group: Group, renamed: dict[str, str]) -> list[Unit]:
    """The group's units as segments: a box for what lies between two joins that end a shortcut, and these joins."""
    by_key = {unit.key: unit for unit in group.units}
    joins = _shortcut_joins(by_key, group.units[-1])
    carried = _carried_units(by_key, joins)
    ends = {unit.key for unit in joins}
    forks = {_shortcut_start(wire, carried) for join in joins for wire in join.wires if wire.kind in SHORTCUTS}
    result: list[Unit] = []
    segment: list[Unit] = []
    for unit in group.units:
        if unit.key in carried:
            continue
        is_end = unit.key in ends
        if not is_end:
            segment.append(unit)
        if segment and (is_end or (unit.key in forks and any(member.kind != "strip" for member in segment))):
            result.append(_box(group, segment, len(result), renamed))
            segment = []
        if is_end:
            result.append(_join_of_segment(unit, by_key, carried, result, renamed))
    if segment:
        result.append(_box(group, segment, len(result), renamed))
    return result


def _shortcut_start(wire: Wire, carried: dict[str, tuple[Unit, ...]]) -> str:
    """Where the shortcut that ends in a wire leaves."""
    chain = carried.get(wire.source, ())
    return chain[0].wires[0].source if chain else wire.source


def _shortcut_joins(by_key: dict[str, Unit], last: Unit) -> list[Unit]:
    """The joins on the group's trunk that end a shortcut; before a join of branches no path is the trunk."""
    joins = []
    unit: Unit | None = last
    while unit is not None:
        if len(unit.wires) > 1:
            if not any(wire.kind in SHORTCUTS for wire in unit.wires):
                break
            joins.append(unit)
        unit = by_key.get(unit.wires[unit.primary].source)
    return joins


def _carried_units(by_key: dict[str, Unit], joins: list[Unit]) -> dict[str, tuple[Unit, ...]]:
    """Units that lie on a shortcut, each with all the units of its shortcut from the start on."""
    result: dict[str, tuple[Unit, ...]] = {}
    for unit in joins:
        for wire in unit.wires:
            chain: list[Unit] = []
            source = by_key.get(wire.source)
            while wire.kind in SHORTCUTS and source is not None and source.role == "shortcut":
                chain.insert(0, source)
                source = by_key.get(source.wires[0].source)
            result |= {link.key: tuple(chain) for link in chain}
    return result


def _join_of_segment(
    join: Unit, by_key: dict[str, Unit], carried: dict[str, tuple[Unit, ...]], done: list[Unit], renamed: dict[str, str]
) -> Unit:
    """The join with one wire from the box and one for the shortcut, whose own ops are told in the wire's tooltip."""
    wires: list[Wire] = []
    for position, wire in enumerate(join.wires):
        if wire.kind == "gate":
            continue
        chain = carried.get(wire.source, ())
        source = _shortcut_start(wire, carried)
        is_strip = source in by_key and by_key[source].kind == "strip"
        if position != join.primary and is_strip and done and renamed.get(source) == done[-1].key:
            # The shortcut starts behind a shared pre-activation: in the picture that is the box's own input.
            source = done[-1].wires[0].source
        ops = tuple(node for link in chain for node in link.ops)
        tooltip = f"{wire.tooltip}\n{group_tooltip('through', ops)}" if ops else wire.tooltip
        wires.append(replace(wire, source=source, tooltip=tooltip))
    primary = next(i for i, wire in enumerate(wires) if wire.kind == "trunk")
    ops = (*(node for wire in join.wires for link in carried.get(wire.source, ()) for node in link.ops), *join.ops)
    return replace(join, wires=tuple(wires), primary=primary, ops=ops, tooltip=group_tooltip(join.key, join.ops))


def _box(group: Group, segment: list[Unit], position: int, renamed: dict[str, str]) -> Unit:
    ops = tuple(node for unit in segment for node in unit.ops)
    key = group.path if position == 0 else f"{group.path}:{position}"
    keys = {unit.key for unit in segment}
    outside = list(dict.fromkeys(wire.source for unit in segment for wire in unit.wires if wire.source not in keys))
    wires = tuple(Wire(source, "trunk" if n == 0 else "branch") for n, source in enumerate(outside))
    renamed.update(dict.fromkeys(keys, key))
    header = (group.block,) if group.block and any(len(unit.wires) > 1 for unit in segment) else ()
    lines = _lines(segment) or [group.block or group.path]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"… {len(lines) - MAX_LINES + 1} more layers"]
    name = f"{group.path} ({group.block})" if group.block else group.path
    return Unit(
        key, "block", tuple(map(brief, (*header, *lines))), group_tooltip(name, ops), segment[0].part,
        segment[-1].shape, wires, 0,
        ops=ops, section=group.path, is_bold=bool(header),
    )  # fmt: skip


def _lines(segment: list[Unit]) -> list[str]:
    """One line for each weighted layer, and one for each branch of several layers."""
    by_key = {unit.key: unit for unit in segment}
    uses: dict[str, int] = {}
    for unit in segment:
        for wire in unit.wires:
            uses[wire.source] = uses.get(wire.source, 0) + 1
    line_of: dict[str, list[Unit]] = {}
    for unit in segment:
        if len(unit.wires) < 2:
            continue
        for wire in unit.wires:
            chain: list[Unit] = []
            source = by_key.get(wire.source)
            while source is not None and len(source.wires) == 1 and uses[source.key] == 1:
                chain.insert(0, source)
                source = by_key.get(source.wires[0].source)
            line_of |= {link.key: chain for link in chain}
    gate = "gate: " if any(node.op.name == "multiply" for unit in segment for node in unit.ops) else "T: "
    is_gated = gate == "T: " and any(unit.role == "gate" for unit in segment)
    prefixes = {"gate": gate, "trunk": "H: " if is_gated else ""}
    lines = []
    for unit in segment:
        chain = line_of.get(unit.key, [unit])
        words = [node.op.label() for link in chain for node in link.ops if _is_told(node, len(chain) > 1)]
        if chain[0] is unit and words:
            lines.append(prefixes.get(unit.role, "") + " → ".join(words))
    return lines


def _is_told(node: OpNode, is_branch: bool) -> bool:
    return node.op.spec.has_weights_layer or (is_branch and node.op.spec.family == "pool")
