"""The rule for the output stride: from there on strides become dilations, as in atrous convolution.

A net with the rule computes what it computes without it, at all places that its strides would have left out as well
(Chen et al. 2018, DeepLab): on a map of dilation d the places d apart are those of the map without the rule. The size
of that map is the dilated one's over d, rounded up, at every step.
"""

from __future__ import annotations

from resdsl.ops import Op, Shape, ShapeFault
from resdsl.ops.core import Pair
from resdsl.semantics.model import Geometry
from resdsl.sizes import resize

_ROUNDING = 1e-6


def undilated(shape: Shape, dilation: Pair) -> Shape:
    """The shape of what a map of this dilation stands for."""
    if len(shape) != 3 or dilation == (1, 1):
        return shape
    down, across = dilation
    return shape[0], resize(shape[1], 1, down - 1, down), resize(shape[2], 1, across - 1, across)


def on_map(op: Op, shape: Shape, way: Geometry, limit: tuple[float, float]) -> tuple[Op, Pair, Pair] | None:
    """An op for a map under the rule: itself dilated, places to add below and to the right before, its own dilation.

    None where the op stays as it is, and the dilation with it.

    Raises:
        ShapeFault: it cannot be dilated, or strides past the limit.
    """
    if len(shape) != 3:
        return None
    window = op.spec.window and op.spec.window(op.args)
    down, across = window.stride if window else (1, 1)
    dropped = _dropped(way.stride[0], down, limit[0]), _dropped(way.stride[1], across, limit[1])
    if way.dilation == dropped == (1, 1):
        return None
    changed = op.spec.dilate(op.args, shape, way.dilation, dropped)
    dilation = (way.dilation[0] * dropped[0], way.dilation[1] * dropped[1]) if window else (1, 1)
    if changed.spec is None and changed.args is op.args and dilation == way.dilation:
        return None
    extra = (0, 0) if changed.spec is not None else changed.extra
    return Op(changed.spec or op.spec, changed.args), extra, dilation


def _dropped(before: float, stride: int, limit: float) -> int:
    """How much of a stride becomes dilation: all of it once the limit is reached."""
    if stride == 1 or before * stride <= limit * (1 + _ROUNDING):
        return 1
    if before < limit * (1 - _ROUNDING):
        raise ShapeFault("R0319", stride=stride, share=f"{limit / before:.3g}")
    return stride
