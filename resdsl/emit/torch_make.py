"""Making the modules of a graph: equal layers are built once and copied, then initialised each by itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from resdsl.emit import torch_layers
from resdsl.emit.torch_init import initialise
from resdsl.ir.lower import OpNode
from resdsl.ops import TorchCall


def resolve_target(target: str) -> Any:
    """What a dotted name of the op table stands for: `nn.Conv2d`, `F.pad`, `torch.cat`, or one of our own layers."""
    head, _, name = target.rpartition(".")
    home = {"nn": nn, "F": functional, "torch": torch, "": torch_layers}[head]
    return getattr(home, name)


class ModuleMaker:
    """Makes modules with weights as `init` says.

    Drawing torch's own first weights only to draw others is most of what a layer costs to make; a copy of an equal
    layer that was made before leaves it out.
    """

    def __init__(self, init: str, bn: Mapping[str, float]) -> None:
        self._init = init
        self._bn = bn
        self._made: dict[object, nn.Module] = {}

    def make(self, node: OpNode, call: TorchCall, is_inplace: bool) -> nn.Module:
        """The module of one node, with fresh weights."""
        keywords = {**(call.kwargs or {}), **(self._bn if node.op.name == "bn" else {})}
        if call.has_inplace and is_inplace:
            keywords["inplace"] = True
        if self._init == "torch" or node.op.spec.family == "foreign":
            module: nn.Module = resolve_target(call.target)(*call.args, **keywords)
        else:
            key = (call.target, call.args, tuple(keywords.items()))
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = resolve_target(call.target)(*call.args, **keywords)
            module = _fresh_copy(made, node.op.spec.has_weights_layer)
        initialise(module, node, self._init)
        return module


def _fresh_copy(module: nn.Module, is_drawn: bool) -> nn.Module:
    """A layer like another one that shares nothing changeable with it; `is_drawn` weights are left to be set."""
    fresh = copy.copy(module)
    for name, value in vars(fresh).items():
        if isinstance(value, (dict, set)):
            fresh.__dict__[name] = value.copy()
    for name, parameter in module.named_parameters():
        values = torch.empty_like(parameter) if is_drawn else parameter.detach().clone()
        setattr(fresh, name, nn.Parameter(values))
    for name, buffer in module.named_buffers():
        setattr(fresh, name, buffer.clone())
    return fresh
