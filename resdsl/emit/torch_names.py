"""Names of a spec as names in torch: of submodules, of classes."""

from __future__ import annotations

import builtins
import keyword

from torch import fx, nn

# What a module has already: a submodule of this name would hide it, or be hidden by it.
_OF_MODULES = frozenset(dir(nn.Sequential())) | frozenset(dir(fx.GraphModule({}, fx.Graph()))) | {
    "auxiliary", "out_channels", "self", "tap_channels", "tap_strides"
}  # fmt: skip
_OF_FILES = frozenset(dir(builtins)) | {"F", "OrderedDict", "Scope", "StochasticDepth", "Tensor", "nn", "torch"}


def module_path(path: str) -> str:
    """The path of a module: each name of the path, with an underscore behind those that torch or Python has taken."""
    return ".".join(map(module_name, path.split(".")))


def module_name(name: str) -> str:
    """One name of a module's path."""
    if name.replace("module", "").startswith("__"):
        # Python writes its class before such a name when it stands in one.
        return f"module{name}"
    stem = name
    while stem not in _OF_MODULES and not keyword.iskeyword(stem):
        if not stem.endswith("_"):
            return name
        stem = stem[:-1]
    return f"{name}_"


def class_name(name: str, purpose: str) -> str:
    """`preact_basic` -> `PreactBasic`; a name that is taken gets the purpose behind it, such as `Block`."""
    words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if not words[:1].isalpha() or keyword.iskeyword(words) or words in _OF_FILES:
        words = f"{words}{purpose}" if words[:1].isalpha() else f"{purpose}{words}"
    return words
