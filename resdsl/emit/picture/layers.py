"""Every op of a network as units: a layer with the norm and activation that belong to it is one brick.

A norm, activation or dropout that alone uses the op before it becomes a strip of that op's unit; one whose input is
used elsewhere too (pre-activation) opens the unit of the layer that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from resdsl.emit.picture.groups import Place, node_labels
from resdsl.emit.picture.labels import STRIP_FAMILIES, op_label
from resdsl.emit.picture.sketch import Tab, Unit, Wire, brief, op_tooltip, size_text
from resdsl.ir.lower import INPUT, FlatGraph, OpNode


class _Draft:
    """A unit in the making: its ops in order, and which of them has the words."""

    __slots__ = ("main", "ops")

    def __init__(self, node: OpNode) -> None:
        self.ops = [node]
        self.main = None if _is_strip(node) else node

    @property
    def key(self) -> str:
        return (self.main or self.ops[0]).name


def _is_strip(node: OpNode) -> bool:
    return node.op.spec.family in STRIP_FAMILIES


def layer_units(graph: FlatGraph, paths: Mapping[str, Place]) -> tuple[Unit, ...]:
    """All ops; each is a DOT node of its own name with its own tooltip. A unit stays within one of the `paths`."""
    drafts, owner = _draft_units(graph, paths)
    units = [_input_unit(graph), *(_finished(draft, owner) for draft in drafts)]
    labels = node_labels(graph)
    units = [_titled(unit, labels) for unit in units]
    units = _mark_shortcuts(units)
    for name, weight, node in graph.auxiliaries:
        source = owner[node].key if node in owner else INPUT
        position = next(index for index, unit in enumerate(units) if unit.key == source)
        units.insert(position + 1, _auxiliary_end(graph, name, weight, source))
    return tuple(units)


def _draft_units(graph: FlatGraph, paths: Mapping[str, Place]) -> tuple[list[_Draft], dict[str, _Draft]]:
    uses: dict[str, int] = dict.fromkeys((graph.output, *(node for _, _, node in graph.auxiliaries)), 1)
    for node in graph.nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    drafts: list[_Draft] = []
    owner: dict[str, _Draft] = {}
    for node in graph.nodes:
        before = owner.get(node.inputs[0])
        if before is not None and uses[node.inputs[0]] == 1 and _belongs(node, before, paths):
            before.ops.append(node)
            before.main = before.main or (None if _is_strip(node) else node)
        else:
            before = _Draft(node)
            drafts.append(before)
        owner[node.name] = before
    return drafts, owner


def _belongs(node: OpNode, draft: _Draft, paths: Mapping[str, Place]) -> bool:
    last = draft.ops[-1]
    if paths.get(last.name) != paths.get(node.name):
        return False
    if (last.role, last.part) != (node.role, node.part) or len(node.inputs) > 1 or node.inputs[0] != last.name:
        return False
    return _is_strip(node) or draft.main is None


def _finished(draft: _Draft, owner: dict[str, _Draft]) -> Unit:
    main, first = draft.main, draft.ops[0]
    tabs = [Tab(node.name, brief(op_label(node.op)), op_tooltip(node)) for node in draft.ops if node is not main]
    at = draft.ops.index(main) if main else len(tabs)
    wires = tuple(Wire(owner[name].key if name in owner else INPUT) for name in first.inputs)
    unit = Unit(
        draft.key, _kind(main), (brief(op_label(main.op)),) if main else (), op_tooltip(main or first), first.part,
        draft.ops[-1].shape, wires, 0, tuple(tabs[:at]), tuple(tabs[at:]), tuple(draft.ops), role=first.role,
        section=first.part,
    )  # fmt: skip
    return _with_sides(unit, first) if len(wires) > 1 else unit


def _titled(unit: Unit, labels: Mapping[str, str]) -> Unit:
    """A layer under the name that the text gives it or one of its strips by `as`."""
    label = next((labels[node.name] for node in reversed(unit.ops) if node.name in labels), "")
    if not label or unit.kind not in {"box", "pool"}:
        return unit
    return replace(unit, lines=(brief(label), *unit.lines), is_bold=True)


def _kind(main: OpNode | None) -> str:
    match main:
        case None:
            return "strip"
        case OpNode() if main.op.spec.is_join:
            return main.op.name if main.op.name in {"gate", "concat"} else "join"
        case _:
            return "pool" if main.op.spec.family == "pool" else "box"


def _with_sides(unit: Unit, join: OpNode) -> Unit:
    """A join's wires with their kinds; branches spread to both sides of the one that stays on the trunk."""
    wires = list(unit.wires)
    if join.op.name == "gate":
        label = f"1 − T, {brief(join.option)}" if join.is_shape_changed else "1 − T"
        carried = replace(wires[0], kind=_shortcut_kind(join), label=label, tooltip=_shortcut_tooltip(join))
        gate = replace(wires[2], kind="gate", side="left", label="T", tooltip="the gate T(x)")
        return replace(unit, wires=(carried, wires[1], gate), primary=1)
    if join.shortcut_from:
        wires[1] = replace(
            wires[1], kind=_shortcut_kind(join), label=brief(join.option), tooltip=_shortcut_tooltip(join)
        )
        return replace(unit, wires=tuple(wires))
    primary = (len(wires) - 1) // 2
    for index, wire in enumerate(wires):
        if index != primary:
            wires[index] = replace(wire, kind="branch", side="left" if index < primary else "right")
    return replace(unit, wires=tuple(wires), primary=primary)


def _shortcut_kind(join: OpNode) -> str:
    return "changed" if join.is_shape_changed else "identity"


def _shortcut_tooltip(join: OpNode) -> str:
    words = "changes the shape" if join.is_shape_changed else "keeps the shape"
    return f"shortcut {join.option}: from {join.shortcut_from} to {join.name}, {words}\n{join.place.place()}"


def _mark_shortcuts(units: list[Unit]) -> list[Unit]:
    """Give the ops on a shortcut the look of the shortcut, and take its name from shortcuts that do nothing."""
    by_key = {unit.key: unit for unit in units}
    for unit in units:
        for position, wire in enumerate(unit.wires):
            if wire.kind not in {"identity", "changed"}:
                continue
            key = wire.source
            while by_key[key].role == "shortcut" and len(by_key[key].wires) == 1 and unit.role != "shortcut":
                inner = by_key[key]
                by_key[key] = replace(inner, wires=(replace(inner.wires[0], kind=wire.kind, tooltip=wire.tooltip),))
                key = inner.wires[0].source
            is_bare = by_key[key].role != "shortcut" or unit.role == "shortcut"
            if key == wire.source and is_bare and wire.kind == "identity" and unit.kind != "gate":
                wires = list(by_key[unit.key].wires)
                wires[position] = replace(wire, label="")
                by_key[unit.key] = replace(by_key[unit.key], wires=tuple(wires))
    return [by_key[unit.key] for unit in units]


def _input_unit(graph: FlatGraph) -> Unit:
    text = size_text(graph.input_shape)
    tooltip = f"input {text}\n{graph.network.span.place()}"
    return Unit(INPUT, "image", (f"input {text}",), tooltip, "", graph.input_shape, ())


def _auxiliary_end(graph: FlatGraph, name: str, weight: float, source: str) -> Unit:
    node = next(head for head in graph.network.auxiliaries if head.name == name)
    tooltip = f"auxiliary head {name}: its loss counts times {weight}\n{node.span.place()}"
    words = (brief(name), f"loss × {weight:g}")
    return Unit(f"{name}:output", "end", words, tooltip, "", (), (Wire(source),), role="auxiliary")
