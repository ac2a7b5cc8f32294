"""A box for each part: stem, stages, head; steps that stand outside of parts come as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from resdsl.emit.picture.sketch import Unit, Wire, amount_text, brief, group_tooltip, size_text, sum_totals
from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.semantics.model import Part, Template

LOOSE = "loose steps"


def stage_units(units: tuple[Unit, ...], graph: FlatGraph) -> tuple[Unit, ...]:
    """Contract the units of each part, and of each auxiliary head, to one box."""
    boxes: dict[str, list[Unit]] = {}
    loose = 0
    previous = ""
    for unit in units:
        key = _box_key(unit)
        if not key:
            # Steps outside of parts are one box only where nothing stands between them.
            loose += previous != LOOSE
            key = f"{LOOSE} {loose}"
        if unit.role != "auxiliary":
            previous = LOOSE if key.startswith(LOOSE) else key
        boxes.setdefault(key, []).append(unit)
    renamed = {unit.key: key for key, members in boxes.items() for unit in members}
    parts = {part.name: part for part in graph.network.parts if part.kind != "sequence"}
    return tuple(_box(key, members, renamed, graph, parts.get(key)) for key, members in boxes.items())


def _box_key(unit: Unit) -> str:
    if unit.kind in {"image", "end"}:
        return unit.key
    if unit.role == "auxiliary":
        return unit.key.split(".")[0]
    return unit.part


def _box(key: str, members: list[Unit], renamed: dict[str, str], graph: FlatGraph, part: Part | None) -> Unit:
    wires = _outer_wires(key, members, renamed)
    if members[0].kind in {"image", "end"}:
        return replace(members[0], wires=wires)
    ops = tuple(node for unit in members for node in unit.ops)
    shape = part.shape if part else members[-1].shape
    words = _content(ops, graph, part) if members[0].role != "auxiliary" else _layers(ops)
    cost = f"{amount_text(sum_totals(ops).parameters)} parameters"
    title = "steps" if key.startswith(LOOSE) else key
    lines = tuple(map(brief, (title, *words, size_text(shape), cost)))
    return Unit(
        key, "stage", lines, group_tooltip(key, ops), members[0].part, shape, wires, ops=ops, role=members[0].role,
        section=key, is_bold=True,
    )  # fmt: skip


def _outer_wires(key: str, members: list[Unit], renamed: dict[str, str]) -> tuple[Wire, ...]:
    """One wire from each other box; the first is the trunk's, a later one a shortcut over whole parts."""
    wires: dict[str, Wire] = {}
    labels = {wire.tooltip: wire.label for unit in members for wire in unit.wires if wire.label}
    for unit in members:
        for wire in unit.wires:
            source = renamed[wire.source]
            if source == key:
                continue
            kind = ("branch" if wire.kind == "trunk" else wire.kind) if wires else "trunk"
            label = labels.get(wire.tooltip, "") if wires else ""
            wires.setdefault(source, replace(wire, source=source, kind=kind, label=label))
    return tuple(wires.values())


def _content(ops: tuple[OpNode, ...], graph: FlatGraph, part: Part | None) -> tuple[str, ...]:
    """`4 × basic`, and which shortcuts its blocks have; the layers where a part has no blocks."""
    nodes = graph.network.nodes[part.start : part.end] if part else ()
    blocks = Counter(node.content.block for node in nodes if isinstance(node.content, Template))
    if not blocks:
        return _layers(ops)
    words = [f"{count} × {block}" for block, count in blocks.items()]
    joins = [node for node in ops if node.shortcut_from]
    if joins:
        options = " and ".join(sorted({node.option for node in joins}))
        changed = sum(node.is_shape_changed for node in joins)
        told = f", {changed} change{'s' if changed == 1 else ''} the shape" if changed else ""
        kind = "gated" if all(node.op.name == "gate" for node in joins) else options
        words.append(f"{kind} shortcut{'' if len(joins) == 1 else 's'}{told}")
    return tuple(words)


def _layers(ops: tuple[OpNode, ...]) -> tuple[str, ...]:
    words = [node.op.label() for node in ops if node.op.spec.has_weights_layer or node.op.spec.family == "pool"]
    return (*words[:4], f"… {len(words) - 4} more layers") if len(words) > 5 else tuple(words)
