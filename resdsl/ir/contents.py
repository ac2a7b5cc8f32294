"""What a part consists of, in the words of the papers' tables: `[3x3 conv, 64; 3x3 conv, 64] x 3`."""

from __future__ import annotations

from resdsl.ops import Op
from resdsl.semantics.model import Network, Node, Part, Template

_MAX_LINES = 12


def part_contents(network: Network, part: Part) -> str:
    """One line for each step, equal ones in a row as one with their number."""
    rows: list[tuple[str, int]] = []
    # The stride is the stage's, not the block's: blocks that differ in it only are one row, as in the papers.
    with_stride = part.kind != "stage"
    for node in network.nodes[part.start : part.end]:
        text = "" if node.role == "auxiliary" else _node_text(node, with_stride)
        if not text:
            continue
        if rows and rows[-1][0] == text:
            rows[-1] = (text, rows[-1][1] + 1)
        else:
            rows.append((text, 1))
    lines = [text if count == 1 else f"{text} x {count}" for text, count in rows]
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], f"... and {len(lines) - _MAX_LINES + 1} more"]
    return "\n".join(lines)


def _node_text(node: Node, with_stride: bool) -> str:
    if isinstance(node.content, Template):
        labels = weighted_labels(node.content, with_stride)
        return "[" + ("; ".join(labels) or node.content.block) + "]"
    return op_text(node.content)


def op_text(op: Op) -> str:
    """An op that a table shows; nothing for those it leaves out (normalisations, activations, joins)."""
    return "" if op.spec.family in ("norm", "activation", "join", "reshape", "dropout") else op.label()


def weighted_labels(template: Template, with_stride: bool = True) -> list[str]:
    """Labels of a block's weighted layers on its trunk, in order; nested blocks are opened up."""
    labels: list[str] = []
    for node in template.nodes:
        if node.role not in ("trunk", "gate"):
            continue
        if isinstance(node.content, Template):
            labels.extend(weighted_labels(node.content, with_stride))
        elif node.content.spec.has_weights_layer or node.content.spec.family == "pool":
            label = node.content.label()
            text = label if with_stride else label.partition(", /")[0]
            labels.append(text if node.role == "trunk" else f"gate {text}")
    return labels
