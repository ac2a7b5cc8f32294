"""Ops that join feature maps or only move values: add, concat, multiply, gate, flatten, padding, resampling."""

from __future__ import annotations

from resdsl.ops.convolutions import groups_fault
from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Args,
    Dilated,
    Inputs,
    OpSpec,
    Pair,
    Shape,
    ShapeFault,
    TorchCall,
    Window,
    channels_of,
    elements,
    require_map,
    shape_text,
    undilatable,
)
from resdsl.ops.windows import short
from resdsl.sizes import Extent, first_difference, resize

# --- joins ---------------------------------------------------------------------------------------------------------
# Whether the sides fit is decided here; the place where they do not, and the repairs, are the finder's to name.


def extents_differ(left: Shape, right: Shape) -> bool:
    """Whether two shapes differ at any size; equal normal forms need no search."""
    if len(left) != len(right):
        return True
    return any(a != b and first_difference(a, b) is not None for a, b in zip(left, right, strict=True))


def _equal_shape(args: Args, inputs: Inputs) -> Shape:
    for other in inputs[1:]:
        if extents_differ(inputs[0], other):
            raise ShapeFault("R0302", first=shape_text(inputs[0]), other=shape_text(other))
    return inputs[0]


def _multiply_shape(args: Args, inputs: Inputs) -> Shape:
    """All sides alike, or a vector or `C x 1 x 1` that weighs the channels of the first side."""
    for other in inputs[1:]:
        weighs_channels = other == inputs[0][:1] or other == (inputs[0][0], 1, 1)
        if extents_differ(inputs[0], other) and not (weighs_channels and len(inputs[0]) == 3):
            raise ShapeFault("R0311", first=shape_text(inputs[0]), other=shape_text(other))
    return inputs[0]


def _concat_shape(args: Args, inputs: Inputs) -> Shape:
    total = 0
    for other in inputs:
        if len(other) != len(inputs[0]) or extents_differ(inputs[0][1:], other[1:]):
            raise ShapeFault("R0303", first=shape_text(inputs[0]), other=shape_text(other))
        total += channels_of(other)
    return (total, *inputs[0][1:])


def _multiply_torch(args: Args, inputs: Inputs) -> TorchCall:
    if any(len(other) != len(inputs[0]) for other in inputs):
        return TorchCall("function", "scale_channels")
    return TorchCall("operator", "*")


ADD = OpSpec("add", "join", (), lambda args, inputs: TorchCall("operator", "+"), "sum of sides of one shape",
             _equal_shape, label=lambda args: "+", is_join=True)  # fmt: skip
MULTIPLY = OpSpec("multiply", "join", (), _multiply_torch,
                  "product of sides of one shape, or of a map and one factor a channel",
                  _multiply_shape, label=lambda args: "×", is_join=True)  # fmt: skip
CONCAT = OpSpec("concat", "join", (), lambda args, inputs: TorchCall("join", "torch.cat", (1,)),
                "sides with one map size, their channels one after the other",
                _concat_shape, label=lambda args: "concat", is_join=True)  # fmt: skip
GATE = OpSpec("gate", "join", (), lambda args, inputs: TorchCall("function", "torch.lerp"),
              "x + t * (h - x) of the carried x, the transform h and the gate t (Srivastava et al. 2015)",
              _equal_shape, label=lambda args: "gate", is_join=True)  # fmt: skip

# --- moving values -------------------------------------------------------------------------------------------------


def _flatten_shape(args: Args, inputs: Inputs) -> Shape:
    total = elements(inputs[0])
    if not isinstance(total, int):
        hint = "write `global_avg_pool` instead, or `adaptive_avg_pool(7x7)` before it"
        raise ShapeFault("R0308", (hint,), step="flatten", shape=shape_text(inputs[0]))
    return (total,)


FLATTEN = OpSpec(
    "flatten",
    "reshape",
    (),
    lambda args, inputs: TorchCall("function", "torch.flatten", (1,)),
    "the map as one vector; its size must be known",
    _flatten_shape,
    window=None,
    dilate=undilatable("takes every place of the map"),
)


def _subsample_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    (down, across) = args["stride"]
    return channels, resize(height, 1, down - 1, down), resize(width, 1, across - 1, across)


def _subsample_torch(args: Args, inputs: Inputs) -> TorchCall:
    # Not by slicing, whose gradient loses the channels_last layout: the layers before it would all be slower.
    return TorchCall("function", "F.avg_pool2d", (1,), {"stride": short(args["stride"])})


def _dilate_subsample(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    down, across = args["stride"]
    return Dilated({"stride": (down // dropped[0], across // dropped[1])})


SUBSAMPLE = OpSpec(
    "subsample",
    "reshape",
    (Arg("stride", "size", least=1),),
    _subsample_torch,
    "every stride-th row and column",
    _subsample_shape,
    window=lambda args: Window(stride=args["stride"]),
    label=lambda args: "subsample" if args["stride"] == (1, 1) else f"subsample, /{args['stride'][0]}",
    dilate=_dilate_subsample,
)


def _pad_channels_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    if args["to"] < channels:
        raise ShapeFault("R0314", channels=channels, to=args["to"])
    return args["to"], height, width


def _pad_channels_torch(args: Args, inputs: Inputs) -> TorchCall:
    missing = args["to"] - channels_of(inputs[0])
    before = missing // 2 if args["at"] == "both" else 0
    return TorchCall("function", "F.pad", ((0, 0, 0, 0, before, missing - before),))


PAD_CHANNELS = OpSpec(
    "pad_channels",
    "reshape",
    (Arg("to", "int", least=1, most=MAX_FILTERS), Arg("at", "choice", "end", choices=("end", "both"))),
    _pad_channels_torch,
    "adds channels of zeros up to a number, at the end or on both sides (option A of He et al. 2015)",
    _pad_channels_shape,
    label=lambda args: f"zero-pad to {args['to']}",
)


def _pad_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    before, after = args["before"], args["after"]
    sizes: list[Extent] = [
        resize(extent, 1, before[axis] + after[axis], 1) for axis, extent in enumerate((height, width))
    ]
    return channels, sizes[0], sizes[1]


def _pad_torch(args: Args, inputs: Inputs) -> TorchCall:
    before, after = args["before"], args["after"]
    return TorchCall("function", "F.pad", ((before[1], after[1], before[0], after[0]),))


def _dilate_pad(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    return Dilated({name: (size[0] * dilation[0], size[1] * dilation[1]) for name, size in args.items()})


PAD = OpSpec(
    "pad",
    "reshape",
    (Arg("before", "size", least=0), Arg("after", "size", None, least=0)),
    _pad_torch,
    "zeros around the map: `before` above and to the left, `after` (the same unless stated) below and to the right",
    _pad_shape,
    settle=lambda args: {**args, "after": args["before"] if args["after"] is None else args["after"]},
    dilate=_dilate_pad,
)


def _upsample_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    return channels, resize(height, args["factor"][0], 0, 1), resize(width, args["factor"][1], 0, 1)


def _upsample_torch(args: Args, inputs: Inputs) -> TorchCall:
    down, across = args["factor"]
    keywords = {"scale_factor": (float(down), float(across)), "mode": args["mode"]}
    return TorchCall("module", "nn.Upsample", (), keywords)


UPSAMPLE = OpSpec(
    "upsample",
    "reshape",
    (Arg("factor", "size", least=1), Arg("mode", "choice", "nearest", choices=("nearest", "bilinear"))),
    _upsample_torch,
    "enlarges the map by whole factors",
    _upsample_shape,
    window=lambda args: Window(enlarge=args["factor"]),
    dilate=undilatable("enlarges the map"),
)


def _grouped_shape(args: Args, inputs: Inputs) -> Shape:
    shape = require_map(inputs)
    if shape[0] % args["groups"]:
        raise groups_fault(shape[0], shape[0], args["groups"])
    return shape


CHANNEL_SHUFFLE = OpSpec(
    "channel_shuffle",
    "reshape",
    (Arg("groups", "int", least=1),),
    lambda args, inputs: TorchCall("module", "nn.ChannelShuffle", (args["groups"],)),
    "mixes the channels of groups (Zhang et al. 2018)",
    _grouped_shape,
)

JOIN_OPS = (ADD, MULTIPLY, CONCAT, GATE)
LAYOUT_OPS = (FLATTEN, SUBSAMPLE, PAD_CHANNELS, PAD, UPSAMPLE, CHANNEL_SHUFFLE)
