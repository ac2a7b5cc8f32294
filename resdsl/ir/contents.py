"""What a part consists of, in the words of the papers' tables: `[3x3 conv, 64; 3x3 conv, 64] x 3`."""

from __future__ import annotations

from resdsl.ops import Op
from resdsl.semantics.model import Network, Node, Part, Template

_MAX_LINES = 12


def part_contents(network: Network, part: Part) -> str:
    """One line for each step, equal ones in a row as one with their number."""
    rows: list[tuple[str, int]] = []
    for node in network.nodes[part.start : part.end]:
        text = "" if node.role == "auxiliary" else _node_text(node)
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


def _node_text(node: Node) -> str:
    if isinstance(node.content, Template):
        # The stride is the stage's, not the block's: blocks that differ in it only are one row, as in the papers.
        labels = weighted_labels(node.content, with_stride=False)
        return "[" + ("; ".join(labels) or node.content.block) + "]"
    return op_text(node.content)


def op_text(op: Op) -> str:
    """An op that a table shows; nothing for those it leaves out (normalisations, activations, joins)."""
    return "" if op.spec.family in ("norm", "activation", "join", "reshape", "dropout") else op.label()


def weighted_labels(template: Template, with_stride: bool = True) -> list[str]:
    """Labels of a block's weighted layers on its trunk, in order; nested blocks are opened up."""
    labels: list[str] = []
    for node in template.nodes:
        if node.role != "trunk":
            continue
        if isinstance(node.content, Template):
            labels.extend(weighted_labels(node.content, with_stride))
        elif node.content.spec.has_weights_layer or node.content.spec.family == "pool":
            label = node.content.label()
            labels.append(label if with_stride else label.partition(", /")[0])
    return labels
