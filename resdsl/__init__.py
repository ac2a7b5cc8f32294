"""resdsl: a language for convolutional architectures, and its compiler to PyTorch and pictures.

net = resdsl.load("specs/resnet34.res", classes=10)
model = net.to_torch()
"""

from __future__ import annotations

from resdsl.compiler import CheckResult, check_file, load
from resdsl.diagnostics import CompileError, Diagnostic, InternalError
from resdsl.net import Net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resdsl.emit.torch_module import place_of
    from resdsl.transfer.deepening import deepen
    from resdsl.transfer.freezing import fix_batch_norm, freeze, unfreeze
    from resdsl.weights.errors import WeightsError
    from resdsl.weights.load import load_weights

__version__ = "0.1.0"

__all__ = [
    "CheckResult",
    "CompileError",
    "Diagnostic",
    "InternalError",
    "Net",
    "WeightsError",
    "check_file",
    "deepen",
    "fix_batch_norm",
    "freeze",
    "load",
    "load_weights",
    "place_of",
    "unfreeze",
]


# What needs torch, which `import resdsl` must not load: each name with its module.
_ON_DEMAND = {
    "WeightsError": "resdsl.weights.errors",
    "deepen": "resdsl.transfer.deepening",
    "fix_batch_norm": "resdsl.transfer.freezing",
    "freeze": "resdsl.transfer.freezing",
    "load_weights": "resdsl.weights.load",
    "place_of": "resdsl.emit.torch_module",
    "unfreeze": "resdsl.transfer.freezing",
}


def __getattr__(name: str) -> object:
    """Import what was asked for by name."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'resdsl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ON_DEMAND[name]), name)
