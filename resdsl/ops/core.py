"""What an op is: its arguments, shape rule, weights, cost, drawing and torch form, as data and small functions.

Shapes leave out the batch: `(C, H, W)` for a map, `(F,)` for a vector; an extent is a number or a `Size`. A new op is
one `OpSpec` in one of the family files; nothing else in resdsl knows an op by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Union

from resdsl.records import Record
from resdsl.sizes import Amount, Extent, product

Shape = tuple[Extent, ...]
Args = Mapping[str, Any]
Inputs = tuple[Shape, ...]
Pair = tuple[int, int]

REQUIRED: Any = object()


MAX_FILTERS = 1 << 24


class Arg(Record):
    """An argument: kind is int, float, number, bool, size, padding, bias, choice or numbers."""

    name: str
    kind: str
    default: Any = REQUIRED
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


class Weight(Record):
    """A parameter or buffer tensor of an op."""

    name: str
    shape: tuple[int, ...]
    is_buffer: bool = False

    @property
    def count(self) -> int:
        """Number of elements."""
        total = 1
        for extent in self.shape:
            total *= extent
        return total


class Window(Record):
    """How an op looks at its input map: kernel, stride and dilation for height and width, `enlarge` for upsampling."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    enlarge: Pair = (1, 1)


class Dilated(Record):
    """An op as it is on a dilated map: its arguments, places to add below and to the right, another op in its place."""

    args: Args
    extra: Pair = (0, 0)
    spec: OpSpec | None = None


class TorchCall(Record):
    """How an op is built in torch, as data: the module and the emitted source are both made from it.

    `kind` is "module" (a class of torch.nn, or one of ours in `resdsl.emit.torch_layers`), "function" (a dotted name,
    called with the inputs first), "method" (of the first input), "operator" (folded over the inputs) or "join" (a
    function that takes the inputs as one tuple).
    """

    kind: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    has_inplace: bool = False


class ShapeFault(Exception):
    """The inputs do not suit the op: the code of the mistake and the facts its sentences mention."""

    def __init__(self, code: str, /, hints: tuple[str, ...] = (), **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts
        self.hints = hints


def _no_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    return ()


def _no_macs(args: Args, inputs: Inputs, output: Shape) -> int:
    return 0


def _no_window(args: Args) -> Window:
    return Window()


def _as_stated(args: Args) -> Args:
    return args


def _same_shape(args: Args, inputs: Inputs) -> Shape:
    return inputs[0]


def _place_by_place(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    return Dilated(args)


def undilatable(reason: str) -> Callable[[Args, Shape, Pair, Pair], Dilated]:
    """The rule of an op that no dilated map suits, for a reason that ends the sentence `it ...`."""

    def refuse(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
        raise ShapeFault("R0318", reason=reason)

    return refuse


class OpSpec(Record):
    """One op of the language.

    Attributes:
        family: how it is drawn and summed up: conv, linear, norm, activation, pool, join, reshape, dropout or identity.
        shape: the shape rule; raises ShapeFault.
        torch: the torch form for arguments and input shapes.
        doc: one line for the reference.
        label: the words in a picture, as in the papers' figures.
        has_weights_layer: whether it counts as a layer in the papers' depth.
        window: its receptive field for one output, or None where it sees the whole map.
        settle: makes explicit what arguments leave to one another, such as the padding that follows the kernel.
        dilate: the op for an input of a shape and a dilation, with the strides of `dropped` left out: every dropped
            stride's places of its result are those of the op itself. Raises ShapeFault.
    """

    name: str
    family: str
    args: tuple[Arg, ...]
    torch: Callable[[Args, Inputs], TorchCall]
    doc: str
    shape: Callable[[Args, Inputs], Shape] = _same_shape
    weights: Callable[[Args, Inputs], tuple[Weight, ...]] = _no_weights
    macs: Callable[[Args, Inputs, Shape], int | Amount] = _no_macs
    window: Callable[[Args], Window] | None = _no_window
    label: Callable[[Args], str] | None = None
    has_weights_layer: bool = False
    is_join: bool = False
    settle: Callable[[Args], Args] = _as_stated
    dilate: Callable[[Args, Shape, Pair, Pair], Dilated] = _place_by_place


class Op(Record):
    """An op with its arguments, all defaults filled in."""

    spec: OpSpec
    args: Args

    @property
    def name(self) -> str:
        """The op's name in the language."""
        return self.spec.name

    def text(self) -> str:
        """The op as a call, every argument explicit: part of dumps and of the network's hash."""
        given = ", ".join(f"{name}={value_text(value)}" for name, value in self.args.items())
        return f"{self.spec.name}({given})"

    def label(self) -> str:
        """Short words for a picture, such as `3x3 conv, 64, /2`."""
        return self.spec.label(self.args) if self.spec.label else self.spec.name.replace("_", " ")


Value = Union[int, float, bool, str, tuple[Any, ...], None]


def value_text(value: object) -> str:
    """A value as the language writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case (int(), int()) as pair:
            return f"{pair[0]}x{pair[1]}"
        case tuple():
            return "[" + ", ".join(value_text(item) for item in value) + "]"
        case float() if value == int(value) and abs(value) < 1e15:
            return str(int(value))
        case None:
            return "none"
    return str(value)


def shape_text(shape: Shape) -> str:
    """A shape as the language writes it: `64 x 56 x 56`."""
    return " x ".join(str(extent) for extent in shape)


def pair_text(pair: Pair) -> str:
    """One number, or two where height and width differ: `2`, `2x1`."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def elements(shape: Shape) -> int | Amount:
    """Number of elements of a shape, a sum of products where a size is free."""
    return product(shape)


def require_map(inputs: Inputs) -> tuple[int, Extent, Extent]:
    """Channels, height and width of the only input; ShapeFault where it is a vector."""
    if len(inputs[0]) != 3:
        raise ShapeFault("R0306", shape=shape_text(inputs[0]), needs="a map (channels x height x width)")
    channels, height, width = inputs[0]
    assert isinstance(channels, int)
    return channels, height, width


def require_vector(inputs: Inputs) -> int:
    """Features of the only input; ShapeFault where it is a map."""
    if len(inputs[0]) != 1:
        hint = "write `flatten ->` or `global_avg_pool ->` before it"
        raise ShapeFault("R0306", (hint,), shape=shape_text(inputs[0]), needs="a vector")
    features = inputs[0][0]
    assert isinstance(features, int)
    return features


def channels_of(shape: Shape) -> int:
    """Channels of a map or features of a vector."""
    channels = shape[0]
    assert isinstance(channels, int)
    return channels
