"""How weights begin, by name."""

from __future__ import annotations

import math

from torch import nn

from resdsl.ir.lower import OpNode

INITIALISATIONS = ("he", "he_fan_out", "xavier", "torch")


def initialise(module: nn.Module, node: OpNode, how: str) -> None:
    """Set the weights of one op.

    `he` draws from N(0, 2 / fan_in) (He et al. 2015b, equation 10), `he_fan_out` from N(0, 2 / fan_out), `xavier`
    uniformly by both fans (Glorot and Bengio 2010); biases are zero unless the spec states a value. `torch` leaves
    what torch drew. A normalisation's scale is its `gain`, whatever the name.
    """
    weight = getattr(module, "weight", None)
    if node.op.spec.family == "norm":
        if weight is not None and node.op.args.get("gain", 1.0) != 1.0:
            nn.init.constant_(weight, node.op.args["gain"])
        return
    if not node.op.spec.has_weights_layer or weight is None:
        return
    bias = getattr(module, "bias", None)
    stated = node.op.args.get("bias")
    if bias is not None and (how != "torch" or isinstance(stated, float)):
        nn.init.constant_(bias, stated if isinstance(stated, float) else 0.0)
    if how == "torch":
        return
    fan_in, fan_out = _fans(node)
    match how:
        case "he":
            nn.init.normal_(weight, 0.0, math.sqrt(2.0 / fan_in))
        case "he_fan_out":
            nn.init.normal_(weight, 0.0, math.sqrt(2.0 / fan_out))
        case _:
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            nn.init.uniform_(weight, -bound, bound)


def _fans(node: OpNode) -> tuple[int, int]:
    """Inputs to one output and outputs of one input; groups see their share only."""
    shape = node.op.spec.weights(node.op.args, node.input_shapes)[0].shape
    window = math.prod(shape[2:])
    if node.op.name == "transposed_conv":
        groups = node.op.args["groups"]
        return shape[0] // groups * window, shape[1] * window
    return shape[1] * window, shape[0] // node.op.args.get("groups", 1) * window
