"""Windows that slide over a map: sizes, paddings and dilations that convolutions and pools share."""

from __future__ import annotations

from typing import Any

from resdsl.ops.core import Arg, Args, Dilated, Pair, Shape, ShapeFault, Window
from resdsl.sizes import Extent, first_difference, resize

PADDING = Arg("padding", "padding", None, least=0)
DILATION = Arg("dilation", "size", (1, 1), least=1)


def settle_padding(args: Args) -> Args:
    """Zeros on each side: as stated, else half the kernel's reach, which keeps the map for odd kernels at stride 1."""
    if args["padding"] is not None:
        return args
    dilation = args.get("dilation", (1, 1))
    reach = [dilation[i] * (args["kernel"][i] - 1) // 2 for i in (0, 1)]
    return {**args, "padding": (reach[0], reach[1])}


def window_of(args: Args) -> Window:
    """What an op's arguments say of its window."""
    return Window(args["kernel"], args.get("stride", (1, 1)), args.get("dilation", (1, 1)))


def slide(args: Args, axis: int, extent: Extent) -> Extent:
    """The size that a window leaves of a map's height (axis 0) or width (1).

    Raises:
        ShapeFault: the window is larger than the map.
    """
    kernel, stride, padding = args["kernel"][axis], args["stride"][axis], args["padding"][axis]
    reach = args.get("dilation", (1, 1))[axis] * (kernel - 1)
    offset = 2 * padding - reach - 1 + stride
    if args.get("ceil"):
        # The last window must begin inside the map or its left padding (as torch demands), hence the second bound.
        offset = min(offset + stride - 1, padding - 1 + stride)
    size = resize(extent, 1, offset, stride)
    if isinstance(size, int) and size < 1:
        raise too_large(args, axis, extent, reach)
    return size


def dilate_window(args: Args, shape: Shape, dilation: Pair, dropped: Pair) -> Dilated:
    """All reaches grow by the dilation; a map that loses a little behind its stride gets it back as zeros."""
    own = args.get("dilation", (1, 1))
    changed: dict[str, Any] = {
        "stride": tuple(args["stride"][i] // dropped[i] for i in (0, 1)),
        "padding": tuple(args["padding"][i] * dilation[i] for i in (0, 1)),
        "dilation": tuple(own[i] * dilation[i] if args["kernel"][i] > 1 else own[i] for i in (0, 1)),
    }
    extra = [_missing(args, {**args, **changed}, axis, shape, dilation[axis], dropped[axis]) for axis in (0, 1)]
    return Dilated({**args, **changed}, (extra[0], extra[1]))


def _missing(args: Args, dilated: Args, axis: int, shape: Shape, dilation: int, dropped: int) -> int:
    """The places that are missing behind a window whose stride is dropped, or that rounds up.

    Either the whole map is wanted, because as many strides lie in it as the op has places, or, where the op rounds up,
    one place of the op more.
    """
    extent, pace = shape[axis + 1], dilation * dropped
    if dropped == 1:
        return _rounded_up(args, axis, extent) if args.get("ceil") and args["stride"][axis] > 1 else 0
    wanted = slide(args, axis, resize(extent, 1, dilation - 1, dilation))
    if first_difference(resize(extent, 1, pace - 1, pace), wanted) is None:
        reach: int = dilated["dilation"][axis] * (args["kernel"][axis] - 1)
        return max(0, reach - 2 * int(dilated["padding"][axis]))
    found = slide({**dilated, "ceil": False}, axis, extent)
    for missing in (0, pace):
        if first_difference(resize(found, 1, missing + pace - 1, pace), wanted) is None:
            return missing
    raise ShapeFault("R0318", reason="rounds some of the map's sizes up, and its size is free")


def _rounded_up(args: Args, axis: int, extent: Extent) -> int:
    """The places that a pool which rounds up sees behind the map, where its other axis alone loses the stride."""
    wanted = slide(args, axis, extent)
    for missing in (0, args["stride"][axis] - 1):
        found = slide({**args, "ceil": False}, axis, resize(extent, 1, missing, 1))
        if first_difference(found, wanted) is None:
            return missing
    raise ShapeFault("R0318", reason="rounds some of the map's sizes up, and its size is free")


def too_large(args: Args, axis: int, extent: Extent, reach: int) -> ShapeFault:
    """The fault of a window that is larger than its map."""
    kernel = f"{args['kernel'][0]}x{args['kernel'][1]}"
    assert isinstance(extent, int)
    return ShapeFault("R0305", kernel=kernel, available=extent + 2 * args["padding"][axis], reach=reach + 1)


def short(pair: Pair) -> int | Pair:
    """One number where both are the same, as torch takes it."""
    return pair[0] if pair[0] == pair[1] else pair


def stride_text(args: Args) -> str:
    """The stride in a picture: `, /2`, nothing for 1."""
    stride = args["stride"]
    if stride == (1, 1):
        return ""
    return f", /{stride[0]}" if stride[0] == stride[1] else f", /{stride[0]}x{stride[1]}"
