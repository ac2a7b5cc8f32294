"""Making the modules of a graph: equal layers are built once and copied, then initialised each by itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from resdsl.emit import torch_layers
from resdsl.emit.torch_init import Initialiser, initialiser
from resdsl.ir.lower import OpNode
from resdsl.ops import Op, TorchCall


def resolve_target(target: str) -> Any:
    """What a dotted name of the op table stands for: `nn.Conv2d`, `F.pad`, `torch.cat`, or one of our own layers."""
    head, _, name = target.rpartition(".")
    home = {"nn": nn, "F": functional, "torch": torch, "": torch_layers}[head]
    return getattr(home, name)


class ModuleMaker:
    """Makes modules with weights as `init` says.

    Drawing torch's own first weights only to draw others is most of what a layer costs to make; a copy of a layer that
    was made before for the same op (blocks that are equal share their ops) leaves it out.
    """

    def __init__(self, init: str, bn: Mapping[str, float]) -> None:
        self._init = init
        self._bn = bn
        self._made: dict[tuple[Op, bool], tuple[nn.Module, Initialiser]] = {}

    def make(self, node: OpNode, call: TorchCall, is_inplace: bool) -> nn.Module:
        """The module of one node, with fresh weights."""
        key = (node.op, call.has_inplace and is_inplace)
        made = self._made.get(key)
        keeps_drawn = self._init == "torch" or node.op.spec.family == "foreign"
        if made is None:
            module, initialise = self._build(node, call, is_inplace), initialiser(node, self._init)
            self._made[key] = (module, initialise)
        elif keeps_drawn:
            module, initialise = self._build(node, call, is_inplace), made[1]
        else:
            module, initialise = _fresh_copy(made[0], node.op.spec.has_weights_layer), made[1]
        initialise(module)
        return module

    def _build(self, node: OpNode, call: TorchCall, is_inplace: bool) -> nn.Module:
        keywords = {**(call.kwargs or {}), **(self._bn if node.op.name == "bn" else {})}
        if call.has_inplace and is_inplace:
            keywords["inplace"] = True
        module: nn.Module = resolve_target(call.target)(*call.args, **keywords)
        return module


def _fresh_copy(module: nn.Module, is_drawn: bool) -> nn.Module:
    """A layer like another one that shares nothing changeable with it; `is_drawn` weights are left to be set."""
    fresh = copy.copy(module)
    for name, value in vars(fresh).items():
        if isinstance(value, (dict, set)):
            fresh.__dict__[name] = value.copy()
    # Straight into the module's own tables: its __setattr__ would take as long as making the layer.
    tables = vars(fresh)
    for name, parameter in tables["_parameters"].items():
        if parameter is not None:
            values = torch.empty_like(parameter) if is_drawn else parameter.detach().clone()
            tables["_parameters"][name] = nn.Parameter(values)
    for name, buffer in tables["_buffers"].items():
        if buffer is not None:
            tables["_buffers"][name] = buffer.clone()
    return fresh
