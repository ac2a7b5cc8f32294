"""What the shortcuts and the concatenations of a part do, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resdsl.ir.lower import OpNode

_PLURALS = {"identity": "identities", "projection": "projections", "pool": "pools"}


def shortcut_words(ops: Iterable[OpNode], by_name: Mapping[str, OpNode]) -> list[str]:
    """A line such as `shortcuts: 1 projection, 2 identities`; none without shortcuts."""
    joins = [node for node in ops if node.shortcut_from and node.role != "shortcut"]
    if not joins:
        return []
    counts: dict[str, int] = {}
    for join in sorted(joins, key=lambda node: not node.is_shape_changed):
        kind = _kind(join, by_name)
        counts[kind] = counts.get(kind, 0) + 1
    told = ", ".join(f"{count} {kind if count == 1 else _PLURALS.get(kind, kind)}" for kind, count in counts.items())
    gated = "gated " if all(node.op.name == "gate" for node in joins) else ""
    return [f"{gated}shortcut{'' if len(joins) == 1 else 's'}: {told}"]


def _kind(join: OpNode, by_name: Mapping[str, OpNode]) -> str:
    """What a shortcut does: nothing, one layer with weights, zeros for new channels, a pool, or its option."""
    name = join.inputs[0 if join.op.name == "gate" else 1]
    ops: list[OpNode] = []
    while name in by_name and by_name[name].role == "shortcut":
        ops.append(by_name[name])
        name = by_name[name].inputs[0]
    families = {node.op.spec.family for node in ops} - {"identity"}
    if not families:
        return "identity"
    if sum(node.op.spec.has_weights_layer for node in ops) == 1 and families <= {"conv", "linear", "norm", "pool"}:
        return "projection"
    if families <= {"reshape", "pool"} and any(node.op.name == "pad_channels" for node in ops):
        return "padded with zeros"
    return "pool" if families == {"pool"} else join.option


def concat_words(ops: Iterable[OpNode], by_name: Mapping[str, OpNode]) -> list[str]:
    """A line such as `6 concats with the input`: those that take their own block's input as it is."""
    count = sum(
        node.op.name == "concat" and any(_is_input(name, node, by_name) for name in node.inputs) for node in ops
    )
    return [f"{'' if count == 1 else f'{count} '}concat{'' if count == 1 else 's'} with the input"] if count else []


def _is_input(name: str, join: OpNode, by_name: Mapping[str, OpNode]) -> bool:
    while name in by_name and by_name[name].block == join.block and by_name[name].op.name == "identity":
        name = by_name[name].inputs[0]
    return not name.startswith(f"{join.block}.")
