"""A box for each part: stem, stages, head, auxiliary heads; steps between parts are boxes, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from resdsl.emit.picture.groups import Place, block_paths
from resdsl.emit.picture.labels import is_told, op_label, with_ranges
from resdsl.emit.picture.measures import main_height
from resdsl.emit.picture.shortcuts import concat_words, shortcut_words
from resdsl.emit.picture.sketch import Unit, Wire, amount_text, brief, group_tooltip, size_text, sum_totals
from resdsl.ir.lower import FlatGraph, OpNode
from resdsl.ops import Shape
from resdsl.semantics.model import Node, Part, Template

LOOSE = "loose steps"
MAX_LINES = 6
FIRST_EXIT = 12.0
NEXT_EXIT = 10.0


@dataclass(frozen=True, slots=True)
class _Net:
    graph: FlatGraph
    by_name: Mapping[str, OpNode]
    paths: Mapping[str, Place]


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
    net = _Net(graph, graph.by_name(), block_paths(graph))
    result = [
        _box(key, members, _outer_wires(key, boxes, renamed), net, parts.get(key)) for key, members in boxes.items()
    ]
    return tuple(_spread_heads(result))


def _spread_heads(units: list[Unit]) -> list[Unit]:
    """The heads that leave within one part to the left and right in turn, those on one side one below the other."""
    by_key = {unit.key: unit for unit in units}
    heads: dict[str, list[str]] = {}
    for unit in units:
        if unit.wires and unit.wires[0].leaves_at is not None:
            heads.setdefault(unit.wires[0].source, []).append(unit.key)
    for source, keys in heads.items():
        room = main_height(by_key[source]) - 2 * FIRST_EXIT
        step = min(NEXT_EXIT, room / len(keys[::2]))
        for number, key in enumerate(keys):
            unit = by_key[key]
            side = "right" if number % 2 else "left"
            wire = replace(unit.wires[0], side=side, leaves_at=FIRST_EXIT + step * (number // 2))
            by_key[key] = replace(unit, wires=(wire, *unit.wires[1:]))
    return list(by_key.values())


def _box_key(unit: Unit) -> str:
    if unit.kind in {"image", "end"}:
        return unit.key
    if unit.role == "auxiliary":
        return unit.key.split(".")[0]
    return unit.part


def _box(key: str, members: list[Unit], wires: tuple[Wire, ...], net: _Net, part: Part | None) -> Unit:
    if members[0].kind in {"image", "end"}:
        return replace(members[0], wires=wires)
    ops = tuple(node for unit in members for node in unit.ops)
    shape = part.shape if part else members[-1].shape
    is_loose = part is None and members[0].role != "auxiliary"
    title = _loose_title(ops, net.paths) if is_loose else key
    parameters = sum_totals(ops).parameters
    cost = (f"{amount_text(parameters)} parameters",) if parameters or not is_loose else ()
    words = _contents(part, net, ops) if part else _layers(ops)
    if is_loose:
        words = words or _shortened([op_label(node.op) for node in ops])
    lines = (*((title,) if title else ()), *words, _shape_line(shape), *cost)
    kind = "stage" if title else "pool" if all(node.op.spec.family == "pool" for node in ops) else "box"
    return Unit(
        key, kind, tuple(map(brief, lines)), group_tooltip(title or "steps", ops), members[0].part, shape,
        wires, ops=ops, role=members[0].role, section=key, is_bold=bool(title), is_shape_told=True,
    )  # fmt: skip


def _loose_title(ops: tuple[OpNode, ...], paths: Mapping[str, Place]) -> str:
    """The label or the name of the block that all ops between two parts belong to."""
    places = {paths.get(node.name, ("", "", "")) for node in ops}
    _, block, label = places.pop()
    return "" if places else label or block


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
            leaves_at = FIRST_EXIT if is_inside else None
            wires.setdefault(source, replace(wire, source=source, kind=kind, label=label, leaves_at=leaves_at))
    return tuple(wires.values())


def _contents(part: Part, net: _Net, ops: tuple[OpNode, ...]) -> tuple[str, ...]:
    """`4 × basic` and the steps beside the blocks, in order, then what its blocks have in common."""
    nodes = [node for node in net.graph.network.nodes[part.start : part.end] if node.role != "auxiliary"]
    if not any(isinstance(node.content, Template) for node in nodes):
        return _layers(ops)
    words: list[str] = []
    for block, run in groupby(filter(_is_node_told, nodes), _block_name):
        members = list(run)
        words += [f"{len(members)} × {block}"] if block else [_label(node) for node in members]
    in_blocks = tuple(node for node in ops if node.block)
    joins = (*concat_words(in_blocks, net.by_name), *shortcut_words(ops, net.by_name))
    return (*_shortened(words), *_dropped(in_blocks), *joins)


def _dropped(ops: Iterable[OpNode]) -> list[str]:
    """The rates at which blocks drop values or branches, once for each op that does."""
    labels: dict[str, list[str]] = {}
    for node in ops:
        if node.op.spec.family == "dropout" and node.role != "auxiliary":
            labels.setdefault(node.op.name, []).append(op_label(node.op))
    return [with_ranges(texts) for texts in labels.values()]


def _block_name(node: Node) -> str:
    return node.content.block if isinstance(node.content, Template) else ""


def _label(node: Node) -> str:
    return "" if isinstance(node.content, Template) else op_label(node.content)


def _is_node_told(node: Node) -> bool:
    return isinstance(node.content, Template) or (node.role == "trunk" and is_told(node.content))


def _layers(ops: Iterable[OpNode]) -> tuple[str, ...]:
    return _shortened([op_label(node.op) for node in ops if is_told(node.op)])


def _shortened(words: list[str]) -> tuple[str, ...]:
    if len(words) <= MAX_LINES:
        return tuple(words)
    return (*words[: MAX_LINES - 1], f"… {len(words) - MAX_LINES + 1} more layers")
