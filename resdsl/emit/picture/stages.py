"""A box for each part: stem, stages, head, auxiliary heads; steps between parts are small boxes without a title."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from resdsl.emit.picture.layers import STRIP_FAMILIES
from resdsl.emit.picture.sketch import Unit, Wire, amount_text, brief, group_tooltip, size_text, sum_totals
from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.ops import Op, Shape
from resdsl.semantics.model import Node, Part, Template

LOOSE = "loose steps"
MAX_LINES = 6


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
    return tuple(
        _box(key, members, _outer_wires(key, boxes, renamed), graph, parts.get(key)) for key, members in boxes.items()
    )


def _box_key(unit: Unit) -> str:
    if unit.kind in {"image", "end"}:
        return unit.key
    if unit.role == "auxiliary":
        return unit.key.split(".")[0]
    return unit.part


def _box(key: str, members: list[Unit], wires: tuple[Wire, ...], graph: FlatGraph, part: Part | None) -> Unit:
    if members[0].kind in {"image", "end"}:
        return replace(members[0], wires=wires)
    ops = tuple(node for unit in members for node in unit.ops)
    shape = part.shape if part else members[-1].shape
    is_loose = part is None and members[0].role != "auxiliary"
    parameters = sum_totals(ops).parameters
    cost = (f"{amount_text(parameters)} parameters",) if parameters or not is_loose else ()
    words = _contents(part, graph, ops) if part else _layers(node.op for node in ops)
    if is_loose:
        kind = "pool" if all(node.op.spec.family == "pool" for node in ops) else "box"
        lines = (*(words or _shortened([node.op.label() for node in ops])), *cost)
    else:
        kind, lines = "stage", (key, *words, _shape_line(shape), *cost)
    return Unit(
        key, kind, tuple(map(brief, lines)), group_tooltip("steps" if is_loose else key, ops), members[0].part, shape,
        wires, ops=ops, role=members[0].role, section=key, is_bold=not is_loose,
    )  # fmt: skip


def _shape_line(shape: Shape) -> str:
    return size_text(shape) if len(shape) > 1 else f"output {size_text(shape)}"


def _outer_wires(key: str, boxes: dict[str, list[Unit]], renamed: dict[str, str]) -> tuple[Wire, ...]:
    """One wire from each other box; the first is the trunk's, a later one a shortcut over whole parts."""
    members = boxes[key]
    wires: dict[str, Wire] = {}
    labels = {wire.tooltip: wire.label for unit in members for wire in unit.wires if wire.label}
    for unit in members:
        for wire in unit.wires:
            source = renamed[wire.source]
            if source == key:
                continue
            kind = ("branch" if wire.kind == "trunk" else wire.kind) if wires else "trunk"
            label = labels.get(wire.tooltip, "") if wires else ""
            last = boxes[source][-1]
            is_inside = unit.role == "auxiliary" and last.role != "auxiliary" and wire.source != last.key
            wires.setdefault(source, replace(wire, source=source, kind=kind, label=label, is_from_side=is_inside))
    return tuple(wires.values())


def _contents(part: Part, graph: FlatGraph, ops: tuple[OpNode, ...]) -> tuple[str, ...]:
    """`4 × basic` and the steps beside the blocks, in order, and which shortcuts the part has."""
    nodes = [node for node in graph.network.nodes[part.start : part.end] if node.role != "auxiliary"]
    if not any(isinstance(node.content, Template) for node in nodes):
        return _layers(node.op for node in ops)
    words: list[str] = []
    for block, run in groupby(filter(_is_told, nodes), _block_name):
        members = list(run)
        words += [f"{len(members)} × {block}"] if block else [_label(node) for node in members]
    joins = [node for node in ops if node.shortcut_from]
    return (*_shortened(words), *([_shortcut_words(joins)] if joins else []))


def _block_name(node: Node) -> str:
    return node.content.block if isinstance(node.content, Template) else ""


def _label(node: Node) -> str:
    return "" if isinstance(node.content, Template) else node.content.label()


def _is_told(node: Node) -> bool:
    if isinstance(node.content, Template):
        return True
    return node.role == "trunk" and _is_layer(node.content)


def _is_layer(op: Op) -> bool:
    """Whether an op is told: not what belongs to a layer, nor sums, which the shortcuts tell."""
    if op.spec.is_join:
        return op.name == "concat"
    return op.spec.has_weights_layer or (op.spec.family not in STRIP_FAMILIES and op.name != "flatten")


def _shortcut_words(joins: list[OpNode]) -> str:
    """`shortcuts: B (1 changes the shape)`."""
    is_gated = all(node.op.name == "gate" for node in joins)
    options = "gated" if is_gated else " and ".join(sorted({node.option for node in joins}))
    changed = sum(node.is_shape_changed for node in joins)
    told = f" ({changed} change{'s' if changed == 1 else ''} the shape)" if changed else ""
    return f"shortcut{'' if len(joins) == 1 else 's'}: {options}{told}"


def _layers(ops: Iterable[Op]) -> tuple[str, ...]:
    return _shortened([op.label() for op in ops if _is_layer(op)])


def _shortened(words: list[str]) -> tuple[str, ...]:
    if len(words) <= MAX_LINES:
        return tuple(words)
    return (*words[: MAX_LINES - 1], f"… {len(words) - MAX_LINES + 1} more layers")
