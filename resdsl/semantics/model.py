"""The resolved network: every default explicit, every part knows its place in the text.

A `Region` is a list of nodes; a node is an op or the call of a block, and takes earlier nodes of its region as inputs
(-1 is the region's own input). Equal calls of a block share one `Template`, so that a net of 1,202 layers is checked in
the time of its few different blocks. Full names are the local names joined by dots: `conv3` + `2` + `conv1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resdsl.ops import Op, Shape
from resdsl.ops.core import elements
from resdsl.records import Record
from resdsl.sizes import Amount, total_of
from resdsl.source import SourceFile, Span

REGION_INPUT = -1


class Link(Record):
    """What a join made by a shortcut is: the option's name, where the shortcut leaves, whether it changes the shape."""

    option: str
    start: int
    is_shape_changed: bool
    is_gated: bool = False


class Node(Record):
    """One op or one block call of a region; `role` is trunk, shortcut, gate or auxiliary."""

    name: str
    content: Op | Template
    inputs: tuple[int, ...]
    shape: Shape
    span: Span
    role: str
    link: Link | None = None


class Totals(Record):
    """Sums over a region: macs are multiply-adds of convolutions and linear layers, activations their outputs."""

    parameters: int = 0
    buffers: int = 0
    macs: int | Amount = 0
    activations: int | Amount = 0
    ops: int = 0
    calls: int = 0

    @staticmethod
    def of(parts: Sequence[Totals]) -> Totals:
        """The sums of others."""
        return Totals(
            sum(part.parameters for part in parts),
            sum(part.buffers for part in parts),
            total_of(part.macs for part in parts),
            total_of(part.activations for part in parts),
            sum(part.ops for part in parts),
            sum(part.calls for part in parts),
        )


def op_totals(op: Op, inputs: tuple[Shape, ...], shape: Shape) -> Totals:
    """What one op counts for with inputs and a result of these shapes."""
    weights = op.spec.weights(op.args, inputs)
    return Totals(
        sum(weight.count for weight in weights if not weight.is_buffer),
        sum(weight.count for weight in weights if weight.is_buffer),
        op.spec.macs(op.args, inputs, shape),
        elements(shape) if op.spec.has_weights_layer else 0,
        1,
    )


class Geometry(Record):
    """A value's way from its region's input: receptive field minus one, stride (height, width), weighted layers.

    `dilation` is how many places of the map lie between two that count as neighbours: more than one where the rule for
    the output stride has taken strides out.
    """

    reach: tuple[float, float] = (0, 0)
    stride: tuple[float, float] = (1, 1)
    depth: int = 0
    dilation: tuple[int, int] = (1, 1)

    @property
    def pace(self) -> tuple[float, float]:
        """The stride that the map would have without the rule for the output stride."""
        if self.dilation == (1, 1):
            return self.stride
        return self.stride[0] * self.dilation[0], self.stride[1] * self.dilation[1]


class Template(Record):
    """A block for given arguments and input shape; `arguments` is the call as text, for dumps.

    `least` is the smallest free size for which its steps are legal, by symbol.
    """

    block: str
    arguments: str
    span: Span
    nodes: tuple[Node, ...]
    output: int
    input_shape: Shape
    shape: Shape
    geometry: Geometry
    totals: Totals
    level: int
    least: Mapping[str, int]


class Part(Record):
    """A stem, stage or head: its nodes are network.nodes[start:end], its result is node `output`."""

    kind: str
    name: str
    span: Span
    start: int
    end: int
    input: int
    output: int
    shape: Shape


class Auxiliary(Record):
    """An auxiliary head: an output of its own with the weight of its loss."""

    name: str
    weight: float
    output: int
    span: Span


class Publication(Record):
    """What was published of a network: its paper, and errors (shares of 1) on a data set."""

    paper: str = ""
    data: str = ""
    top1_error: float | None = None
    top5_error: float | None = None
    note: str = ""

    def as_dict(self) -> dict[str, str | float]:
        """What is stated, by its word."""
        facts = {
            "paper": self.paper,
            "data": self.data,
            "top1_error": self.top1_error,
            "top5_error": self.top5_error,
            "note": self.note,
        }
        return {word: value for word, value in facts.items() if value not in (None, "")}


class Network(Record):
    """A checked network.

    Attributes:
        least: smallest free size for which every step is legal, by symbol.
        places: named places (`as early`, and the stages) and the nodes they stand for.
    """

    name: str
    source: SourceFile
    span: Span
    arguments: Mapping[str, object]
    input_shape: Shape
    nodes: tuple[Node, ...]
    output: int
    parts: tuple[Part, ...]
    auxiliaries: tuple[Auxiliary, ...]
    places: Mapping[str, int]
    geometry: Geometry
    totals: Totals
    least: Mapping[str, int]
    published: Publication | None = None

    @property
    def shape(self) -> Shape:
        """Shape of the network's output."""
        return self.input_shape if self.output == REGION_INPUT else self.nodes[self.output].shape
