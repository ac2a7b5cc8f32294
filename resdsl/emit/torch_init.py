"""How weights begin, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from resdsl.ir.lower import OpNode

INITIALISATIONS = ("he", "he_fan_out", "xavier", "torch")

Initialiser = Callable[[nn.Module], None]


def initialiser(node: OpNode, how: str) -> Initialiser:
    """What sets the weights of an op's module.

    `he` draws from N(0, 2 / fan_in) (He et al. 2015b, equation 10), `he_fan_out` from N(0, 2 / fan_out), `xavier`
    uniformly by both fans (Glorot and Bengio 2010); biases are zero unless the spec states a value. `torch` leaves
    what torch drew. A normalisation's scale is its `gain`, whatever the name.
    """
    if node.op.spec.family == "norm":
        gain = float(node.op.args.get("gain", 1.0))
        return _nothing if gain == 1.0 else lambda module: _fill(module, "weight", gain)
    if not node.op.spec.has_weights_layer:
        return _nothing
    stated = node.op.args.get("bias")
    bias = stated if isinstance(stated, float) else None if how == "torch" else 0.0
    draw = _drawing(node, how)

    def initialise(module: nn.Module) -> None:
        draw(module)
        if bias is not None:
            _fill(module, "bias", bias)

    return initialise


def _nothing(module: nn.Module) -> None:
    return


def _fill(module: nn.Module, name: str, value: float) -> None:
    tensor = getattr(module, name, None)
    if tensor is not None:
        nn.init.constant_(tensor, value)


def _drawing(node: OpNode, how: str) -> Initialiser:
    fan_in, fan_out = _fans(node)
    match how:
        case "he":
            spread = math.sqrt(2.0 / fan_in)
        case "he_fan_out":
            spread = math.sqrt(2.0 / fan_out)
        case "xavier":
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            return lambda module: _draw_uniform(module, bound)
        case _:
            return _nothing
    return lambda module: _draw_normal(module, spread)


def _draw_normal(module: nn.Module, spread: float) -> None:
    for name, tensor in module.named_parameters(recurse=False):
        if name == "weight":
            nn.init.normal_(tensor, 0.0, spread)


def _draw_uniform(module: nn.Module, bound: float) -> None:
    for name, tensor in module.named_parameters(recurse=False):
        if name == "weight":
            nn.init.uniform_(tensor, -bound, bound)


def _fans(node: OpNode) -> tuple[int, int]:
    """Inputs to one output and outputs of one input; groups see their share only."""
    shape = node.op.spec.weights(node.op.args, node.input_shapes)[0].shape
    window = math.prod(shape[2:])
    if node.op.name == "transposed_conv":
        groups = node.op.args["groups"]
        return shape[0] // groups * window, shape[1] * window
    return shape[1] * window, shape[0] // node.op.args.get("groups", 1) * window
