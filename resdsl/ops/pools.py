"""Pools: largest value or mean, under windows, over as many windows as asked for, over the whole map."""

from __future__ import annotations

from typing import Any

from resdsl.ops.core import (
    Arg,
    Args,
    Dilated,
    Inputs,
    OpSpec,
    Pair,
    Shape,
    ShapeFault,
    TorchCall,
    pair_text,
    require_map,
    shape_text,
)
from resdsl.ops.windows import DILATION, PADDING, dilate_window, settle_padding, short, slide, stride_text, window_of
from resdsl.sizes import resize


def _pool_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    padding = args["padding"]
    if any(2 * padding[i] > args["kernel"][i] for i in (0, 1)):
        raise ShapeFault("R0313", padding=shape_text(padding), kernel=shape_text(args["kernel"]))
    return channels, slide(args, 0, height), slide(args, 1, width)


def _pool_torch(args: Args, target: str) -> TorchCall:
    padding = args["padding"]
    keywords: dict[str, Any] = {"stride": short(args["stride"])}
    if padding != (0, 0):
        keywords["padding"] = short(padding)
    if args.get("dilation", (1, 1)) != (1, 1):
        keywords["dilation"] = short(args["dilation"])
    if args["ceil"]:
        keywords["ceil_mode"] = True
    if not args.get("count_padding", True):
        keywords["count_include_pad"] = False
    return TorchCall("module", target, (short(args["kernel"]),), keywords)


def _label(args: Args, words: str) -> str:
    dilation = args.get("dilation", (1, 1))
    dilated = "" if dilation == (1, 1) else f", dilation {pair_text(dilation)}"
    return f"{args['kernel'][0]}x{args['kernel'][1]} {words}{dilated}{stride_text(args)}"


_POOL_ARGS = (Arg("kernel", "size", least=1), Arg("stride", "size", least=1), PADDING)
_CEIL = Arg("ceil", "bool", False)


def _dilated_pool_shape(args: Args, inputs: Inputs) -> Shape:
    channels, height, width = require_map(inputs)
    down, across = args["extra"]
    return channels, slide(args, 0, resize(height, 1, down, 1)), slide(args, 1, resize(width, 1, across, 1))


def _dilated_pool_torch(args: Args, target: str) -> TorchCall:
    plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "count_padding": True, "extra": (0, 0)}
    return TorchCall("function", target, (), {name: value for name, value in args.items() if value != plain.get(name)})


def _dilated_pool(name: str) -> OpSpec:
    """The form of a pool for dilated maps; `extra` are places below and to the right that count for nothing."""
    return OpSpec(
        f"dilated_{name}",
        "pool",
        (),
        lambda args, inputs: _dilated_pool_torch(args, f"dilated_{name}"),
        f"what `{name}` is on a dilated map",
        _dilated_pool_shape,
        window=window_of,
        label=lambda args: _label(args, name.replace("_", " ")),
    )


_DILATED_MAX_POOL = _dilated_pool("max_pool")
_DILATED_AVG_POOL = _dilated_pool("avg_pool")


def _dilate_pool(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    window = dilate_window(args, shape, dilation, dropped)
    own = {name: value for name, value in window.args.items() if name != "ceil"}
    spec = _DILATED_AVG_POOL if "count_padding" in args else _DILATED_MAX_POOL
    return Dilated({**own, "extra": window.extra}, spec=spec)


MAX_POOL = OpSpec(
    "max_pool",
    "pool",
    (*_POOL_ARGS, DILATION, _CEIL),
    lambda args, inputs: _pool_torch(args, "nn.MaxPool2d"),
    "largest value under a window; the stride must be stated; `ceil = true` rounds the map size up",
    _pool_shape,
    window=window_of,
    label=lambda args: _label(args, "max pool"),
    settle=settle_padding,
    dilate=_dilate_pool,
)

AVG_POOL = OpSpec(
    "avg_pool",
    "pool",
    (*_POOL_ARGS, _CEIL, Arg("count_padding", "bool", True)),
    lambda args, inputs: _pool_torch(args, "nn.AvgPool2d"),
    "mean under a window; the stride must be stated; `count_padding = false` leaves the zeros out of the mean",
    _pool_shape,
    window=window_of,
    label=lambda args: _label(args, "avg pool"),
    settle=settle_padding,
    dilate=_dilate_pool,
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
    lambda args, inputs: TorchCall("module", "nn.AdaptiveAvgPool2d", (short(args["size"]),)),
    "mean over as many windows as the output size says",
    _adaptive_shape,
    window=None,
    label=lambda args: f"adaptive avg pool, {args['size'][0]}x{args['size'][1]}",
)

ADAPTIVE_MAX_POOL = OpSpec(
    "adaptive_max_pool",
    "pool",
    _OUTPUT_SIZE,
    lambda args, inputs: TorchCall("module", "nn.AdaptiveMaxPool2d", (short(args["size"]),)),
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

POOLS = (MAX_POOL, AVG_POOL, ADAPTIVE_AVG_POOL, ADAPTIVE_MAX_POOL, GLOBAL_AVG_POOL, GLOBAL_MAX_POOL)
