"""Ops that slide a window over a map: convolutions and pools."""

from __future__ import annotations

from math import gcd
from typing import Any

from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Args,
    Inputs,
    OpSpec,
    Pair,
    Shape,
    ShapeFault,
    TorchCall,
    Weight,
    Window,
    elements,
    require_map,
    shape_text,
)
from resdsl.sizes import Amount, Extent, resize

_FILTERS = Arg("filters", "int", least=1, most=MAX_FILTERS)
_STRIDE = Arg("stride", "size", (1, 1), least=1)
_PADDING = Arg("padding", "padding", None, least=0)
_DILATION = Arg("dilation", "size", (1, 1), least=1)
_BIAS = Arg("bias", "bias", None)
_GROUPS = Arg("groups", "int", 1, least=1)


def _settle_padding(args: Args) -> Args:
    """Zeros on each side: as stated, else half the kernel's reach, which keeps the map for odd kernels at stride 1."""
    if args["padding"] is not None:
        return args
    dilation = args.get("dilation", (1, 1))
    reach = [dilation[i] * (args["kernel"][i] - 1) // 2 for i in (0, 1)]
    return {**args, "padding": (reach[0], reach[1])}


def _window(args: Args) -> Window:
    return Window(args["kernel"], args.get("stride", (1, 1)), args.get("dilation", (1, 1)))


def _slide(args: Args, axis: int, extent: Extent) -> Extent:
    kernel, stride, padding = args["kernel"][axis], args["stride"][axis], args["padding"][axis]
    reach = args.get("dilation", (1, 1))[axis] * (kernel - 1)
    offset = 2 * padding - reach - 1 + stride
    if args.get("ceil"):
        # The last window must begin inside the map or its left padding (as torch demands), hence the second bound.
        offset = min(offset + stride - 1, padding - 1 + stride)
    size = resize(extent, 1, offset, stride)
    if isinstance(size, int) and size < 1:
        raise _too_large(args, axis, extent, reach)
    return size


def _too_large(args: Args, axis: int, extent: Extent, reach: int) -> ShapeFault:
    kernel = f"{args['kernel'][0]}x{args['kernel'][1]}"
    assert isinstance(extent, int)
    return ShapeFault("R0305", kernel=kernel, available=extent + 2 * args["padding"][axis], reach=reach + 1)


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
    return args["filters"], _slide(args, 0, height), _slide(args, 1, width)


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


def _short(pair: Pair) -> int | Pair:
    return pair[0] if pair[0] == pair[1] else pair


def _conv_keywords(args: Args) -> dict[str, Any]:
    """The arguments that differ from torch's defaults, so that emitted source stays readable."""
    padding = args["padding"]
    keywords: dict[str, Any] = {}
    if args["stride"] != (1, 1):
        keywords["stride"] = _short(args["stride"])
    if padding != (0, 0):
        keywords["padding"] = _short(padding)
    if args["dilation"] != (1, 1):
        keywords["dilation"] = _short(args["dilation"])
    return keywords


def _conv_torch(args: Args, inputs: Inputs) -> TorchCall:
    channels, _, _ = require_map(inputs)
    keywords = _conv_keywords(args)
    if args["groups"] != 1:
        keywords["groups"] = args["groups"]
    if not has_bias(args):
        keywords["bias"] = False
    return TorchCall("module", "nn.Conv2d", (channels, args["filters"], _short(args["kernel"])), keywords)


def conv_label(args: Args) -> str:
    """`3x3 conv, 64, /2` as in He et al. 2015, Figure 3."""
    words = [f"{args['kernel'][0]}x{args['kernel'][1]} conv"]
    if "filters" in args:
        words.append(str(args["filters"]))
    if args.get("groups", 1) != 1:
        words.append(f"{args['groups']} groups")
    return ", ".join(words) + _stride_text(args)


def _stride_text(args: Args) -> str:
    stride = args["stride"]
    if stride == (1, 1):
        return ""
    return f", /{stride[0]}" if stride[0] == stride[1] else f", /{stride[0]}x{stride[1]}"


CONV = OpSpec(
    "conv",
    "conv",
    (Arg("kernel", "size", least=1), _FILTERS, _STRIDE, _PADDING, _GROUPS, _DILATION, _BIAS),
    _conv_torch,
    "convolution; pads by half the kernel's reach unless told otherwise; no bias where only a normalisation reads it",
    _conv_shape,
    _conv_weights,
    _conv_macs,
    _window,
    conv_label,
    has_weights_layer=True,
    settle=_settle_padding,
)


def _as_grouped(args: Args, inputs: Inputs) -> Args:
    channels, _, _ = require_map(inputs)
    return {**args, "filters": channels * args["multiplier"], "groups": channels}


def _depthwise_label(args: Args) -> str:
    return f"{args['kernel'][0]}x{args['kernel'][1]} depthwise conv{_stride_text(args)}"


DEPTHWISE_CONV = OpSpec(
    "depthwise_conv",
    "conv",
    (Arg("kernel", "size", least=1), Arg("multiplier", "int", 1, least=1), _STRIDE, _PADDING, _DILATION, _BIAS),
    lambda args, inputs: _conv_torch(_as_grouped(args, inputs), inputs),
    "convolution of each channel by itself, `multiplier` filters a channel",
    lambda args, inputs: _conv_shape(_as_grouped(args, inputs), inputs),
    lambda args, inputs: _conv_weights(_as_grouped(args, inputs), inputs),
    lambda args, inputs, output: _conv_macs(_as_grouped(args, inputs), inputs, output),
    _window,
    _depthwise_label,
    has_weights_layer=True,
    settle=_settle_padding,
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
            raise _too_large(args, axis, extent, reach)
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
        keywords["output_padding"] = _short(args["output_padding"])
    return TorchCall("module", "nn.ConvTranspose2d", call.args, keywords)


TRANSPOSED_CONV = OpSpec(
    "transposed_conv",
    "conv",
    (
        Arg("kernel", "size", least=1),
        _FILTERS,
        _STRIDE,
        _PADDING,
        Arg("output_padding", "size", (0, 0), least=0),
        _GROUPS,
        _DILATION,
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
    settle=_settle_padding,
)


def _pool_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    padding = args["padding"]
    if any(2 * padding[i] > args["kernel"][i] for i in (0, 1)):
        raise ShapeFault("R0313", padding=shape_text(padding), kernel=shape_text(args["kernel"]))
    return channels, _slide(args, 0, height), _slide(args, 1, width)


def _pool_torch(args: Args, target: str) -> TorchCall:
    padding = args["padding"]
    keywords: dict[str, Any] = {"stride": _short(args["stride"])}
    if padding != (0, 0):
        keywords["padding"] = _short(padding)
    if args.get("dilation", (1, 1)) != (1, 1):
        keywords["dilation"] = _short(args["dilation"])
    if args["ceil"]:
        keywords["ceil_mode"] = True
    if not args.get("count_padding", True):
        keywords["count_include_pad"] = False
    return TorchCall("module", target, (_short(args["kernel"]),), keywords)


_POOL_ARGS = (Arg("kernel", "size", least=1), Arg("stride", "size", least=1), _PADDING)
_CEIL = Arg("ceil", "bool", False)

MAX_POOL = OpSpec(
    "max_pool",
    "pool",
    (*_POOL_ARGS, _DILATION, _CEIL),
    lambda args, inputs: _pool_torch(args, "nn.MaxPool2d"),
    "largest value under a window; the stride must be stated; `ceil = true` rounds the map size up",
    _pool_shape,
    window=_window,
    label=lambda args: f"{args['kernel'][0]}x{args['kernel'][1]} max pool{_stride_text(args)}",
    settle=_settle_padding,
)

AVG_POOL = OpSpec(
    "avg_pool",
    "pool",
    (*_POOL_ARGS, _CEIL, Arg("count_padding", "bool", True)),
    lambda args, inputs: _pool_torch(args, "nn.AvgPool2d"),
    "mean under a window; the stride must be stated; `count_padding = false` leaves the zeros out of the mean",
    _pool_shape,
    window=_window,
    label=lambda args: f"{args['kernel'][0]}x{args['kernel'][1]} avg pool{_stride_text(args)}",
    settle=_settle_padding,
)


def _adaptive_shape(args: Args, inputs: Inputs) -> Shape:
    channels, _, _ = require_map(inputs)
    return channels, args["size"][0], args["size"][1]


def _global_shape(args: Args, inputs: Inputs) -> Shape:
    channels, _, _ = require_map(inputs)
    return (channels,)


_OUTPUT_SIZE = (Arg("size", "size", least=1),)

ADAPTIVE_AVG_POOL = OpSpec(
    "adaptive_avg_pool",
    "pool",
    _OUTPUT_SIZE,
    lambda args, inputs: TorchCall("module", "nn.AdaptiveAvgPool2d", (_short(args["size"]),)),
    "mean over as many windows as the output size says",
    _adaptive_shape,
    window=None,
    label=lambda args: f"adaptive avg pool, {args['size'][0]}x{args['size'][1]}",
)

ADAPTIVE_MAX_POOL = OpSpec(
    "adaptive_max_pool",
    "pool",
    _OUTPUT_SIZE,
    lambda args, inputs: TorchCall("module", "nn.AdaptiveMaxPool2d", (_short(args["size"]),)),
    "largest value of as many windows as the output size says",
    _adaptive_shape,
    window=None,
    label=lambda args: f"adaptive max pool, {args['size'][0]}x{args['size'][1]}",
)

GLOBAL_AVG_POOL = OpSpec(
    "global_avg_pool",
    "pool",
    (),
    lambda args, inputs: TorchCall("method", "mean", ((2, 3),)),
    "mean over the whole map; gives a vector",
    _global_shape,
    window=None,
    label=lambda args: "avg pool",
)

GLOBAL_MAX_POOL = OpSpec(
    "global_max_pool",
    "pool",
    (),
    lambda args, inputs: TorchCall("method", "amax", ((2, 3),)),
    "largest value of the whole map; gives a vector",
    _global_shape,
    window=None,
    label=lambda args: "max pool",
)

WINDOW_OPS = (
    CONV,
    DEPTHWISE_CONV,
    TRANSPOSED_CONV,
    MAX_POOL,
    AVG_POOL,
    ADAPTIVE_AVG_POOL,
    ADAPTIVE_MAX_POOL,
    GLOBAL_AVG_POOL,
    GLOBAL_MAX_POOL,
)
