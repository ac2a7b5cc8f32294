"""The ops of the language: `STEPS` are those a spec can name, `JOINS` those its groups make."""

from __future__ import annotations

from resdsl.ops.convolutions import CONVOLUTIONS
from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Dilated,
    Op,
    OpSpec,
    Shape,
    ShapeFault,
    TorchCall,
    Weight,
    Window,
    pair_text,
    shape_text,
    value_text,
)
from resdsl.ops.layout import ADD, CONCAT, GATE, JOIN_OPS, LAYOUT_OPS, MULTIPLY, PAD
from resdsl.ops.pointwise import IDENTITY, POINTWISE_OPS
from resdsl.ops.pools import POOLS

STEPS: dict[str, OpSpec] = {spec.name: spec for spec in (*CONVOLUTIONS, *POOLS, *POINTWISE_OPS, *LAYOUT_OPS)}
JOINS: dict[str, OpSpec] = {spec.name: spec for spec in JOIN_OPS}

__all__ = [
    "ADD",
    "CONCAT",
    "GATE",
    "IDENTITY",
    "JOINS",
    "MAX_FILTERS",
    "MULTIPLY",
    "PAD",
    "STEPS",
    "Arg",
    "Dilated",
    "Op",
    "OpSpec",
    "Shape",
    "ShapeFault",
    "TorchCall",
    "Weight",
    "Window",
    "pair_text",
    "shape_text",
    "value_text",
]
