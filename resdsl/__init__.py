"""resdsl: a language for convolutional architectures, and its compiler to PyTorch and pictures.

net = resdsl.load("specs/resnet34.res", classes=10)
model = net.to_torch()
"""

from __future__ import annotations

from resdsl.compiler import CheckResult, check_file, load
from resdsl.diagnostics import CompileError, Diagnostic, InternalError
from resdsl.net import Net

__version__ = "0.1.0"

__all__ = [
    "CheckResult",
    "CompileError",
    "Diagnostic",
    "InternalError",
    "Net",
    "check_file",
    "load",
    "place_of",
]


def __getattr__(name: str) -> object:
    """`place_of` needs torch, which `import resdsl` must not load."""
    if name == "place_of":
        from resdsl.emit.torch_module import place_of

        return place_of
    raise AttributeError(f"module 'resdsl' has no attribute {name!r}")
