"""Network to flat op graph."""

from __future__ import annotations

from resdsl.ops import Op, Shape
from resdsl.records import Record
from resdsl.semantics.model import REGION_INPUT, Network, Node, Template
from resdsl.source import Span

INPUT = "input"


class OpNode(Record):
    """One op of the flat graph.

    Attributes:
        name: full path, `conv3.2.conv1`: also the module's path, the state-dict prefix, the picture's node.
        inputs: names of the nodes it takes, in order; `input` is the network's input.
        place: where its step is written, which may be in a library file.
        spec_place: the innermost place in the network's own file that leads to it: its step, or the call around it.
        part: the stem, stage or head it belongs to; "" for steps that stand in the network itself.
        block: full path of the innermost block call around it, "" where there is none.
        role: trunk, shortcut, gate or auxiliary.
        option: for a join that ends a shortcut the option's name, else "".
        shortcut_from: for such a join the node at which the shortcut leaves.
        is_shape_changed: for such a join whether the shortcut changes the shape.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    place: Span
    spec_place: Span
    part: str
    block: str
    role: str
    option: str = ""
    shortcut_from: str = ""
    is_shape_changed: bool = False


class FlatGraph(Record):
    """All ops of a network in an order in which each comes after its inputs.

    `outputs` maps an output's name to its node: "output", then each auxiliary head.
    """

    network: Network
    input_shape: Shape
    nodes: tuple[OpNode, ...]
    output: str
    auxiliaries: tuple[tuple[str, float, str], ...]

    def by_name(self) -> dict[str, OpNode]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes}

    def place_node(self, place: str) -> str | None:
        """The node at a named place, a stage's end, or the node of this name; None where there is none."""
        index = self.network.places.get(place)
        if index is None:
            index = next((part.output for part in self.network.parts if part.name == place), None)
        if index is not None:
            return _output_name(self.network.nodes, index, "", INPUT)
        return place if any(node.name == place for node in self.nodes) else None


def lower_network(network: Network) -> FlatGraph:
    """All block calls of a network expanded; linear in the number of ops."""
    nodes: list[OpNode] = []
    part_of = _part_names(network)
    _expand(network.nodes, network.input_shape, INPUT, "", "", part_of, network.span, nodes)

    def name(index: int) -> str:
        return _output_name(network.nodes, index, "", INPUT)

    auxiliaries = tuple((head.name, head.weight, name(head.output)) for head in network.auxiliaries)
    return FlatGraph(network, network.input_shape, tuple(nodes), name(network.output), auxiliaries)


def _part_names(network: Network) -> list[str]:
    names = [""] * len(network.nodes)
    for part in network.parts:
        label = "" if part.kind == "sequence" else part.name
        names[part.start : part.end] = [label] * (part.end - part.start)
    return names


def _expand(
    region: tuple[Node, ...],
    input_shape: Shape,
    input_name: str,
    prefix: str,
    block: str,
    part: list[str] | str,
    spec_place: Span,
    nodes: list[OpNode],
) -> None:
    names = [_output_name(region, index, prefix, input_name) for index in range(len(region))]

    def source(index: int) -> str:
        return input_name if index == REGION_INPUT else names[index]

    for index, node in enumerate(region):
        where = part if isinstance(part, str) else part[index]
        content = node.content
        nearest = node.span if node.span.source is spec_place.source else spec_place
        if isinstance(content, Template):
            path = prefix + node.name
            start = source(node.inputs[0])
            _expand(content.nodes, content.input_shape, start, f"{path}.", path, where, nearest, nodes)
            continue
        shapes = tuple(input_shape if i == REGION_INPUT else region[i].shape for i in node.inputs)
        link = node.link
        nodes.append(
            OpNode(
                prefix + node.name, content, tuple(source(i) for i in node.inputs), shapes, node.shape, node.span,
                nearest, where, block, node.role,
                link.option if link else "", source(link.start) if link else "",
                link.is_shape_changed if link else False,
            )
        )  # fmt: skip


def _output_name(region: tuple[Node, ...], index: int, prefix: str, input_name: str) -> str:
    """The name of the op that gives a node's value: for a block call that of the block's last op."""
    while index != REGION_INPUT:
        node = region[index]
        if not isinstance(node.content, Template):
            return prefix + node.name
        if node.content.output == REGION_INPUT:
            index = node.inputs[0]
            continue
        return _output_name(node.content.nodes, node.content.output, f"{prefix}{node.name}.", input_name)
    return input_name


def dump(graph: FlatGraph) -> str:
    """The graph as text, one op a line, every argument explicit; the same for the same meaning."""
    lines = [f"input {'x'.join(map(str, graph.input_shape))}"]
    for node in graph.nodes:
        inputs = ", ".join(node.inputs)
        shape = "x".join(map(str, node.shape))
        lines.append(f"{node.name} = {node.op.text()} of {inputs} : {shape}")
    lines.extend(f"auxiliary {name} (weight={weight}) = {node}" for name, weight, node in graph.auxiliaries)
    lines.append(f"output {graph.output}")
    return "\n".join(lines) + "\n"
