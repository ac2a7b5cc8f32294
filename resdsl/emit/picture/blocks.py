"""Blocks as boxes that list their weighted layers; a shortcut around a box stays a wire of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from resdsl.emit.picture.groups import Group
from resdsl.emit.picture.labels import is_told, op_label
from resdsl.emit.picture.sketch import Unit, Wire, brief, group_tooltip, rewired

MAX_LINES = 9
SHORTCUTS = frozenset({"identity", "changed"})


def block_units(items: Iterable[Unit | Group]) -> list[Unit | Group]:
    """Each group with its units contracted to boxes and joins; loose units without their strips."""
    renamed: dict[str, str] = {}
    result: list[Unit | Group] = []
    for item in items:
        if isinstance(item, Group):
            units = _contract(item, renamed)
            result.append(replace(item, units=tuple(rewired(unit, renamed) for unit in units)))
        else:
            result.append(_bare(item, renamed))
    return result


def _bare(unit: Unit, renamed: dict[str, str]) -> Unit:
    """A unit with such strips only as are told, its wires led to the boxes that now hold their sources."""
    unit = rewired(unit, renamed)
    if not unit.ops or unit.kind in {"image", "end"}:
        return unit
    tooltip = group_tooltip(unit.key, unit.ops) if len(unit.ops) > 1 else unit.tooltip
    if unit.kind == "strip":
        lines = (brief(" → ".join(tab.label for tab in unit.before)),)
        return replace(unit, before=(), tooltip=tooltip, lines=lines, kind="box")
    told = {node.name for node in unit.ops if is_told(node.op)}
    before, after = (tuple(tab for tab in tabs if tab.key in told) for tabs in (unit.before, unit.after))
    return replace(unit, before=before, after=after, tooltip=tooltip)


def _contract(group: Group, renamed: dict[str, str]) -> list[Unit]:
    """The group's units as segments: a box for what lies between two joins that end a shortcut, and these joins."""
    by_key = {unit.key: unit for unit in group.units}
    joins = _shortcut_joins(by_key, group.units[-1])
    carried = _carried_units(by_key, joins)
    ends = {unit.key for unit in joins}
    forks = {_shortcut_start(wire, carried) for join in joins for wire in join.wires if wire.kind in SHORTCUTS}
    result: list[Unit] = []
    segment: list[Unit] = []
    boxes = 0
    for unit in group.units:
        if unit.key in carried:
            continue
        is_end = unit.key in ends
        if not is_end:
            segment.append(unit)
        if unit.key in forks and segment == [unit] and unit.kind == "strip":
            # A pre-activation that branch and shortcut share stays what it is: the shortcut starts behind it.
            result.append(unit)
            segment = []
        elif segment and (is_end or unit.key in forks):
            result.append(_box(group, segment, boxes, renamed))
            boxes += 1
            segment = []
        if is_end:
            result.append(_bare(_join_of_segment(unit, carried), {}))
    if segment:
        result.append(_box(group, segment, boxes, renamed))
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
            waiting = [wire.source] if wire.kind in SHORTCUTS else []
            found: set[str] = set()
            while waiting:
                source = by_key.get(waiting.pop())
                if source is not None and source.role == "shortcut" and source.key not in found:
                    found.add(source.key)
                    waiting += [inner.source for inner in source.wires]
            if found:
                result |= dict.fromkeys(found, tuple(link for key, link in by_key.items() if key in found))
    return result


def _join_of_segment(join: Unit, carried: dict[str, tuple[Unit, ...]]) -> Unit:
    """The join with one wire from the box and one for the shortcut, whose own ops are told in the wire's tooltip."""
    wires: list[Wire] = []
    for wire in join.wires:
        if wire.kind == "gate":
            continue
        chain = carried.get(wire.source, ())
        source = _shortcut_start(wire, carried)
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
    is_branched = any(len(unit.wires) > 1 for unit in segment)
    title = group.label if position == 0 and group.label else group.block if is_branched else ""
    header = (title,) if title else ()
    lines = _lines(segment, group) or [group.block or group.path]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"… {len(lines) - MAX_LINES + 1} more layers"]
    name = f"{group.path} ({group.block})" if group.block else group.path
    return Unit(
        key, "block", tuple(map(brief, (*header, *lines))), group_tooltip(name, ops), segment[0].part,
        segment[-1].shape, wires, 0,
        ops=ops, section=group.path, is_bold=bool(header),
    )  # fmt: skip


def _lines(segment: list[Unit], group: Group) -> list[str]:
    """One line for each layer on the trunk, one for each branch, and one for how branches join."""
    chains = _branches(segment)
    is_multiplied = any(node.op.name == "multiply" for unit in segment for node in unit.ops)
    is_gated = any(unit.role == "gate" for unit in segment)
    prefixes = {"gate": "gate: " if is_multiplied else "T: ", "trunk": "H: " if is_gated and not is_multiplied else ""}
    lines: list[str] = []
    for unit in segment:
        chain = chains.get(unit.key, [unit])
        if chain[0] is not unit:
            continue
        prefix = prefixes.get(unit.role, "")
        words = [
            op_label(node.op) for link in chain for node in link.ops if is_told(node.op) and not node.op.spec.is_join
        ]
        if len(unit.wires) > 1 and not (is_gated and unit.ops[0].op.name == "multiply"):
            lines.append(_join_words(unit, segment, group))
        lines += [prefix + " → ".join(words)] if words and unit.key in chains else [prefix + word for word in words]
    return lines


def _branches(segment: list[Unit]) -> dict[str, list[Unit]]:
    """For each unit on a branch that joins others all units of this branch."""
    by_key = {unit.key: unit for unit in segment}
    uses: dict[str, int] = {}
    for unit in segment:
        for wire in unit.wires:
            uses[wire.source] = uses.get(wire.source, 0) + 1
    chains: dict[str, list[Unit]] = {}
    for unit in segment:
        if len(unit.wires) < 2:
            continue
        for wire in unit.wires:
            chain: list[Unit] = []
            source = by_key.get(wire.source)
            while source is not None and len(source.wires) == 1 and uses[source.key] == 1:
                chain.insert(0, source)
                source = by_key.get(source.wires[0].source)
            chains |= {link.key: chain for link in chain}
    return chains


def _join_words(join: Unit, segment: list[Unit], group: Group) -> str:
    """`concat`, `concat with the input`."""
    name = {"add": "sum", "multiply": "product", "gate": "gated sum"}.get(join.ops[0].op.name, join.ops[0].op.name)
    by_key = {unit.key: unit for unit in segment}
    for wire in join.wires:
        source = wire.source
        while source in by_key and all(node.op.spec.family == "identity" for node in by_key[source].ops):
            source = by_key[source].wires[0].source
        if source == group.units[0].wires[0].source:
            return f"{name} with the input"
    return name
