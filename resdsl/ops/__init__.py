"""The ops of the language: `STEPS` are those a spec can name, `JOINS` those its groups make."""

from __future__ import annotations

from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Op,
    OpSpec,
    Shape,
    ShapeFault,
    TorchCall,
    Weight,
    Window,
    shape_text,
    value_text,
)
from resdsl.ops.layout import ADD, CONCAT, GATE, JOIN_OPS, LAYOUT_OPS, MULTIPLY
from resdsl.ops.pointwise import IDENTITY, POINTWISE_OPS
from resdsl.ops.windows import WINDOW_OPS

STEPS: dict[str, OpSpec] = {spec.name: spec for spec in (*WINDOW_OPS, *POINTWISE_OPS, *LAYOUT_OPS)}
JOINS: dict[str, OpSpec] = {spec.name: spec for spec in JOIN_OPS}

__all__ = [
    "ADD",
    "CONCAT",
    "GATE",
    "IDENTITY",
    "JOINS",
    "MAX_FILTERS",
    "MULTIPLY",
    "STEPS",
    "Arg",
    "Op",
    "OpSpec",
    "Shape",
    "ShapeFault",
    "TorchCall",
    "Weight",
    "Window",
    "shape_text",
    "value_text",
]
