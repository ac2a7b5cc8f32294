"""Building a region: nodes with unique names, shapes, and what is summed over them."""

from __future__ import annotations

from resdsl.ops import PAD, Op, Shape, ShapeFault
from resdsl.semantics.dilation import on_map, undilated
from resdsl.semantics.model import REGION_INPUT, Geometry, Link, Node, Template, Totals, op_totals
from resdsl.sizes import Size
from resdsl.source import Span

MAX_VALUES = 1 << 40
_COMMON_SIZE = 1024  # a free size at which maps are weighed
_MAX_STRIDE = 2.0**200
_MAX_SIZE_STEPS = 200
_NORMALISATIONS = frozenset({"bn", "group_norm", "layer_norm"})


class Flow:
    """A value on its way through a region: the node it comes from, and its shape; None as shape is poison."""

    __slots__ = ("index", "shape")

    def __init__(self, index: int, shape: Shape | None) -> None:
        self.index = index
        self.shape = shape


class Region:
    """A region under construction; `outer` is the region that calls it.

    `limit` is the stride (height, width) from the region's input on at which strides become dilations, None without a
    rule for the output stride.
    """

    def __init__(self, input_shape: Shape | None, outer: Region | None = None) -> None:
        self.input_shape = input_shape
        self.limit: tuple[float, float] | None = None
        self.nodes: list[Node] = []
        self.places: dict[str, tuple[Flow, Span]] = {}
        self.auxiliaries: list[tuple[str, float, Flow, Span]] | None = None
        self.least: dict[str, int] = {}
        self._outer = outer
        self.is_poisoned = input_shape is None and outer is not None
        self.level = 0
        self._geometry: list[Geometry] = [Geometry()]
        self._numbers: dict[str, int] = {}
        self._taken: set[str] = {""}
        self._modules: set[str] = set()

    def input(self) -> Flow:
        """The region's own input."""
        return Flow(REGION_INPUT, self.input_shape)

    def geometry(self, flow: Flow) -> Geometry:
        """The way of a value from the region's input."""
        return self._geometry[flow.index + 1]

    def limit_stride(self, limit: int | None) -> None:
        """From a stride of the limit on strides become dilations."""
        self.limit = None if limit is None else (float(limit), float(limit))

    def called(self, flow: Flow) -> Region:
        """The region of a block that is called here."""
        region = Region(flow.shape, self)
        if self.limit is not None:
            way = self.geometry(flow)
            # All that lies past the limit is one: equal blocks share a template.
            region.limit = max(self.limit[0] / way.stride[0], 1.0), max(self.limit[1] / way.stride[1], 1.0)
            region._geometry = [Geometry(dilation=way.dilation)]
        return region

    def dilation_key(self) -> object:
        """What of the rule for the output stride decides which ops a block makes."""
        return None if self.limit is None else (self.limit, self._geometry[0].dilation)

    def undilated(self, flow: Flow) -> Shape | None:
        """The shape that a value would have without the rule for the output stride."""
        if self.limit is None or flow.shape is None:
            return flow.shape
        return undilated(flow.shape, self.geometry(flow).dilation)

    def numbered(self, prefix: str, base: str) -> str:
        """The next free name of a kind in a scope: `conv1`, `conv2`."""
        key = f"{prefix}{base}"
        self._numbers[key] = self._numbers.get(key, 0) + 1
        return f"{key}{self._numbers[key]}"

    @property
    def is_nowhere(self) -> bool:
        """Whether this stands for no place in a network: that of the arguments of a network and of recipes."""
        return self.input_shape is None and not self.is_poisoned

    def smallest(self, symbol: str) -> int:
        """The smallest free size for which every step so far is legal, those around this region included."""
        around = 1 if self._outer is None else self._outer.smallest(symbol)
        return max(self.least.get(symbol, 1), around)

    def indexed(self, prefix: str) -> str:
        """The next index in a scope of repeated blocks: `0`, `1`."""
        number = self._numbers.get(prefix, 0)
        self._numbers[prefix] = number + 1
        return f"{prefix}{number}"

    def is_taken(self, name: str) -> bool:
        """Whether a node or a scope of this name exists, or a node that would have to hold it."""
        if name in self._taken:
            return True
        while name:
            if name in self._modules:
                return True
            name = name.rpartition(".")[0]
        return False

    def holds_module(self, name: str) -> bool:
        """Whether a node of this name exists: it can hold no others."""
        return name in self._modules

    def _take(self, name: str) -> None:
        """Note a node's name and the scopes around it."""
        self._modules.add(name)
        while name not in self._taken:
            self._taken.add(name)
            name = name.rpartition(".")[0]

    def add_op(
        self, name: str, op: Op, inputs: tuple[Flow, ...], span: Span, role: str, link: Link | None = None
    ) -> Flow:
        """Append an op, dilated where the rule for the output stride wants that.

        Raises:
            ShapeFault: the inputs do not suit it.
        """
        if self.limit is None or op.spec.is_join or inputs[0].shape is None:
            return self._append(name, op, inputs, span, role, link)
        before = self.geometry(inputs[0])
        found = on_map(op, inputs[0].shape, before, self.limit)
        if found is None:
            return self._append(name, op, inputs, span, role, link, before.dilation)
        op, extra, dilation = found
        if extra != (0, 0):
            padded = f"{name}_pad"
            while self.is_taken(padded):
                padded += "_"
            pad = Op(PAD, {"before": (0, 0), "after": extra})
            inputs = (self._append(padded, pad, inputs, span, role, None, before.dilation),)
        return self._append(name, op, inputs, span, role, link, dilation)

    def _append(
        self, name: str, op: Op, inputs: tuple[Flow, ...], span: Span, role: str, link: Link | None,
        dilation: tuple[int, int] | None = None,
    ) -> Flow:  # fmt: skip
        shapes = tuple(flow.shape for flow in inputs)
        if None in shapes:
            return self.poison()
        known = tuple(shape for shape in shapes if shape is not None)
        shape = op.spec.shape(op.args, known)
        self._note_least(shape)
        self._check_amount(op, known, shape)
        ways = [self._geometry[flow.index + 1] for flow in inputs]
        way = _joined(op, ways, link) if op.spec.is_join else _through(op, ways[0])
        if dilation is not None and dilation != (1, 1):
            way = way.replaced(dilation=dilation)
        self._geometry.append(way)
        self._take(name)
        self.nodes.append(Node(name, op, tuple(flow.index for flow in inputs), shape, span, role, link))
        return Flow(len(self.nodes) - 1, shape)

    def add_call(self, name: str, template: Template, flow: Flow, span: Span, role: str) -> Flow:
        """Append the call of a block."""
        before = self._geometry[flow.index + 1]
        inner = template.geometry
        reach = (
            before.reach[0] + inner.reach[0] * before.stride[0],
            before.reach[1] + inner.reach[1] * before.stride[1],
        )
        stride = (_within(before.stride[0] * inner.stride[0]), _within(before.stride[1] * inner.stride[1]))
        self._geometry.append(Geometry(reach, stride, before.depth + inner.depth, inner.dilation))
        self._take(name)
        self.nodes.append(Node(name, template, (flow.index,), template.shape, span, role))
        self.level = max(self.level, template.level + 1)
        for symbol, least in template.least.items():
            self.least[symbol] = max(least, self.least.get(symbol, 1))
        return Flow(len(self.nodes) - 1, template.shape)

    def settle(self, outputs: tuple[int, ...], start: int = 0) -> None:
        """Decide what was left open: a convolution has a bias unless a normalisation, and nothing else, reads it."""
        readers: dict[int, list[bool]] = {index: [False] for index in outputs}
        for node in self.nodes:
            is_norm = isinstance(node.content, Op) and node.content.name in _NORMALISATIONS
            for index in node.inputs:
                readers.setdefault(index, []).append(is_norm)
        for index, node in enumerate(self.nodes[start:], start):
            if isinstance(node.content, Op) and node.content.args.get("bias", 0) is None:
                has_bias = readers.get(index) != [True]
                op = Op(node.content.spec, {**node.content.args, "bias": has_bias})
                self.nodes[index] = node.replaced(content=op)

    def poison(self) -> Flow:
        """A value behind a reported mistake."""
        self.is_poisoned = True
        return Flow(REGION_INPUT, None)

    def totals(self, is_counted: frozenset[str] = frozenset({"trunk", "shortcut", "gate"})) -> Totals:
        """Sums over the nodes whose role counts."""
        return Totals.of([self._node_totals(node) for node in self.nodes if node.role in is_counted])

    def parameters_from(self, start: int) -> int:
        """Parameters of the nodes from an index on."""
        return sum(self._node_totals(node).parameters for node in self.nodes[start:])

    def drop_from(self, start: int) -> None:
        """Forget the nodes from an index on, after a trial."""
        del self.nodes[start:]
        del self._geometry[start + 1 :]

    def _node_totals(self, node: Node) -> Totals:
        content = node.content
        if isinstance(content, Template):
            return content.totals
        return op_totals(content, tuple(self.shape_at(index) for index in node.inputs), node.shape)

    def shape_at(self, index: int) -> Shape:
        """Shape of a node's result, or of the region's input."""
        if index == REGION_INPUT:
            assert self.input_shape is not None
            return self.input_shape
        return self.nodes[index].shape

    def _check_amount(self, op: Op, inputs: tuple[Shape, ...], shape: Shape) -> None:
        """Refuse maps and weights that no memory holds: past 2^63 values torch cannot even count them."""
        for extent in shape:
            self._check_size(op, extent)
        counts = [("its input", self._values(known)) for known in inputs]
        counts.append(("its result", self._values(shape)))
        if op.spec.has_weights_layer:
            counts += [("its weights", weight.count) for weight in op.spec.weights(op.args, inputs)]
        for where, count in counts:
            if count > MAX_VALUES:
                wanted = f"at most {MAX_VALUES:,} values in {where}"
                raise ShapeFault("R0207", what=f"an argument of `{op.name}`", wanted=wanted, found=f"{count:,}")

    def _check_size(self, op: Op, extent: int | Size) -> None:
        """Refuse a free size whose expression grows with every step: no memory would hold what it stands for."""
        steps = extent.steps if isinstance(extent, Size) else ()
        if len(steps) > _MAX_SIZE_STEPS or any(max(m, abs(a), d) > MAX_VALUES for m, a, d in steps[-1:]):
            wanted = f"a free map size with at most {_MAX_SIZE_STEPS} divisions in turn, by {MAX_VALUES:,} in all"
            raise ShapeFault("R0207", what=f"an argument of `{op.name}`", wanted=wanted, found="more")

    def _values(self, shape: Shape) -> int:
        """Elements of a shape, a free size being a common one or the smallest legal one."""
        count = 1
        for extent in shape:
            if isinstance(extent, Size):
                extent = extent.at(max(_COMMON_SIZE, self.smallest(extent.symbol)))
            count *= extent
        return count

    def _note_least(self, shape: Shape) -> None:
        for extent in shape:
            if isinstance(extent, Size):
                least = extent.least_for(1)
                if least > self.least.get(extent.symbol, 1):
                    self.least[extent.symbol] = least


def _through(op: Op, before: Geometry) -> Geometry:
    depth = before.depth + op.spec.has_weights_layer
    if op.spec.window is None:
        # Behind a global pool the receptive field is that of the last map, as papers state it.
        return Geometry(before.reach, before.stride, depth)
    window = op.spec.window(op.args)
    reach = [0.0, 0.0]
    stride = [1.0, 1.0]
    for axis in (0, 1):
        step = before.stride[axis] / window.enlarge[axis]
        reach[axis] = before.reach[axis] + (window.kernel[axis] - 1) * window.dilation[axis] * step
        stride[axis] = _within(step * window.stride[axis])
    return Geometry((reach[0], reach[1]), (stride[0], stride[1]), depth)


def _within(stride: float) -> float:
    """A stride kept within what floats hold; maps of one value can be strided without end."""
    return min(max(stride, 1 / _MAX_STRIDE), _MAX_STRIDE)


def _joined(op: Op, ways: list[Geometry], link: Link | None) -> Geometry:
    """Where ways join, the field is the largest; the depth is that of the trunk, not of shortcuts and gates."""
    reach = (max(way.reach[0] for way in ways), max(way.reach[1] for way in ways))
    if op.name == "gate":
        depth = ways[1].depth
    elif op.name == "multiply" or link is not None:
        depth = ways[0].depth
    else:
        depth = max(way.depth for way in ways)
    return Geometry(reach, ways[0].stride, depth, ways[0].dilation)
