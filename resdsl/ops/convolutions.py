"""Convolutions: ordinary, depthwise, transposed."""

from __future__ import annotations

from math import gcd
from typing import Any

from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Args,
    Inputs,
    OpSpec,
    Shape,
    ShapeFault,
    TorchCall,
    Weight,
    Window,
    elements,
    pair_text,
    require_map,
    undilatable,
)
from resdsl.ops.windows import (
    DILATION,
    PADDING,
    dilate_window,
    settle_padding,
    short,
    slide,
    stride_text,
    too_large,
    window_of,
)
from resdsl.sizes import Amount, Extent, resize

_FILTERS = Arg("filters", "int", least=1, most=MAX_FILTERS)
_STRIDE = Arg("stride", "size", (1, 1), least=1)
_BIAS = Arg("bias", "bias", None)
_GROUPS = Arg("groups", "int", 1, least=1)


def groups_fault(channels: int, filters: int, groups: int) -> ShapeFault:
    """The fault of channels that no `groups` equal groups make up, with the numbers that would do."""
    common = gcd(channels, filters)
    fitting = [number for number in range(1, min(common, 4096) + 1) if common % number == 0]
    near = sorted(sorted(fitting, key=lambda number: abs(number - groups))[:3])
    return ShapeFault("R0307", channels=channels, filters=filters, groups=groups, fitting=", ".join(map(str, near)))


def _check_groups(channels: int, filters: int, groups: int) -> None:
    if channels % groups or filters % groups:
        raise groups_fault(channels, filters, groups)


def _conv_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    _check_groups(channels, args["filters"], args["groups"])
    return args["filters"], slide(args, 0, height), slide(args, 1, width)


def _conv_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    channels, _, _ = require_map(inputs)
    kernel = Weight("weight", (args["filters"], channels // args["groups"], *args["kernel"]))
    return (kernel, Weight("bias", (args["filters"],))) if has_bias(args) else (kernel,)


def _conv_macs(args: Args, inputs: Inputs, output: Shape) -> int | Amount:
    channels, _, _ = require_map(inputs)
    per_output: int = channels // args["groups"] * args["kernel"][0] * args["kernel"][1]
    return elements(output) * per_output


def has_bias(args: Args) -> bool:
    """Whether a weighted op has a bias; a number is its initial value."""
    return args["bias"] is not False


def _conv_keywords(args: Args) -> dict[str, Any]:
    """The arguments that differ from torch's defaults, so that emitted source stays readable."""
    padding = args["padding"]
    keywords: dict[str, Any] = {}
    if args["stride"] != (1, 1):
        keywords["stride"] = short(args["stride"])
    if padding != (0, 0):
        keywords["padding"] = short(padding)
    if args["dilation"] != (1, 1):
        keywords["dilation"] = short(args["dilation"])
    return keywords


def _conv_torch(args: Args, inputs: Inputs) -> TorchCall:
    channels, _, _ = require_map(inputs)
    keywords = _conv_keywords(args)
    if args["groups"] != 1:
        keywords["groups"] = args["groups"]
    if not has_bias(args):
        keywords["bias"] = False
    return TorchCall("module", "nn.Conv2d", (channels, args["filters"], short(args["kernel"])), keywords)


def conv_label(args: Args) -> str:
    """`3x3 conv, 64, /2` as in He et al. 2015, Figure 3."""
    words = [f"{args['kernel'][0]}x{args['kernel'][1]} conv"]
    if "filters" in args:
        words.append(str(args["filters"]))
    if args.get("groups", 1) != 1:
        words.append(f"{args['groups']} groups")
    if args["dilation"] != (1, 1):
        words.append(f"dilation {pair_text(args['dilation'])}")
    return ", ".join(words) + stride_text(args)


CONV = OpSpec(
    "conv",
    "conv",
    (Arg("kernel", "size", least=1), _FILTERS, _STRIDE, PADDING, _GROUPS, DILATION, _BIAS),
    _conv_torch,
    "convolution; pads by half the kernel's reach unless told otherwise; no bias where only a normalisation reads it",
    _conv_shape,
    _conv_weights,
    _conv_macs,
    window_of,
    conv_label,
    has_weights_layer=True,
    settle=settle_padding,
    dilate=dilate_window,
)


def _as_grouped(args: Args, inputs: Inputs) -> Args:
    channels, _, _ = require_map(inputs)
    return {**args, "filters": channels * args["multiplier"], "groups": channels}


def _depthwise_label(args: Args) -> str:
    dilation = "" if args["dilation"] == (1, 1) else f", dilation {pair_text(args['dilation'])}"
    return f"{args['kernel'][0]}x{args['kernel'][1]} depthwise conv{dilation}{stride_text(args)}"


DEPTHWISE_CONV = OpSpec(
    "depthwise_conv",
    "conv",
    (Arg("kernel", "size", least=1), Arg("multiplier", "int", 1, least=1), _STRIDE, PADDING, DILATION, _BIAS),
    lambda args, inputs: _conv_torch(_as_grouped(args, inputs), inputs),
    "convolution of each channel by itself, `multiplier` filters a channel",
    lambda args, inputs: _conv_shape(_as_grouped(args, inputs), inputs),
    lambda args, inputs: _conv_weights(_as_grouped(args, inputs), inputs),
    lambda args, inputs, output: _conv_macs(_as_grouped(args, inputs), inputs, output),
    window_of,
    _depthwise_label,
    has_weights_layer=True,
    settle=settle_padding,
    dilate=dilate_window,
)


def _transposed_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    _check_groups(channels, args["filters"], args["groups"])
    padding = args["padding"]
    sizes: list[Extent] = []
    for axis, extent in enumerate((height, width)):
        stride, extra = args["stride"][axis], args["output_padding"][axis]
        if extra >= max(stride, args["dilation"][axis]):
            raise ShapeFault("R0312", extra=extra, stride=stride)
        reach = args["dilation"][axis] * (args["kernel"][axis] - 1)
        size = resize(extent, stride, reach + extra + 1 - stride - 2 * padding[axis], 1)
        if isinstance(size, int) and size < 1:
            raise too_large(args, axis, extent, reach)
        sizes.append(size)
    return args["filters"], sizes[0], sizes[1]


def _transposed_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    channels, _, _ = require_map(inputs)
    kernel = Weight("weight", (channels, args["filters"] // args["groups"], *args["kernel"]))
    return (kernel, Weight("bias", (args["filters"],))) if has_bias(args) else (kernel,)


def _transposed_macs(args: Args, inputs: Inputs, output: Shape) -> int | Amount:
    per_position: int = args["filters"] // args["groups"] * args["kernel"][0] * args["kernel"][1]
    return elements(inputs[0]) * per_position


def _transposed_torch(args: Args, inputs: Inputs) -> TorchCall:
    call = _conv_torch(args, inputs)
    keywords = dict(call.kwargs or {})
    if args["output_padding"] != (0, 0):
        keywords["output_padding"] = short(args["output_padding"])
    return TorchCall("module", "nn.ConvTranspose2d", call.args, keywords)


TRANSPOSED_CONV = OpSpec(
    "transposed_conv",
    "conv",
    (
        Arg("kernel", "size", least=1),
        _FILTERS,
        _STRIDE,
        PADDING,
        Arg("output_padding", "size", (0, 0), least=0),
        _GROUPS,
        DILATION,
        _BIAS,
    ),
    _transposed_torch,
    "transposed convolution, which enlarges the map by its stride",
    _transposed_shape,
    _transposed_weights,
    _transposed_macs,
    lambda args: Window(args["kernel"], (1, 1), args["dilation"], args["stride"]),
    lambda args: conv_label(args).replace("conv", "transposed conv").replace("/", "x"),
    has_weights_layer=True,
    settle=settle_padding,
    dilate=undilatable("enlarges the map"),
)

CONVOLUTIONS = (CONV, DEPTHWISE_CONV, TRANSPOSED_CONV)
