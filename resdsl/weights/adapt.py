"""From the tensors of a file to those of a module, layer by layer; what cannot be made to fit is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from resdsl.weights.facts import flattened_map
from resdsl.weights.layers import SourceLayer
from resdsl.weights.receipt import ADAPTED, LEFT_OVER, LOADED, Row, shape_text
from resdsl.weights.target import Target, TargetLayer
from resdsl.weights.wording import Wording

INPUT_WAYS = ("sum", "repeat")
_NEUTRAL = {"weight": 1.0, "bias": 0.0}


@dataclass(slots=True)
class Transfer:
    """What is to be written, collected before anything is: values and rows by tensor, faults by layer."""

    values: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    unused: list[Row] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)

    def put(self, name: str, value: Tensor, source: str, status: str, how: str) -> None:
        """Set a tensor of the module."""
        self.values[name] = value
        self.rows[name] = Row(name, source, status, how, tuple(value.shape))

    def fault(self, layer: TargetLayer, text: str) -> None:
        """Note why a layer cannot be loaded."""
        self.faults.setdefault(layer.name, []).append(text)


class Adapter:
    """Makes the tensors of one layer after the other.

    `adapt_input` says what to do where the network's input has another number of channels than the file's: `sum` to
    one channel, `repeat` to several; None refuses.
    """

    def __init__(
        self, target: Target, eps: Mapping[str, float], is_from_keras: bool, adapt_input: str | None, wording: Wording
    ) -> None:
        self._target = target
        self._eps = eps
        self._is_from_keras = is_from_keras
        self._adapt_input = adapt_input
        self._wording = wording
        self.transfer = Transfer()

    def add(self, layer: TargetLayer, source: SourceLayer, reason: str) -> None:
        """Take over one layer."""
        for role, shape in layer.shapes.items():
            name = f"{layer.name}.{role}"
            if role in source.tensors:
                self._take(layer, source, role, shape, reason)
            elif role in _NEUTRAL and (layer.kind == "norm" or role == "bias"):
                value = torch.full(shape, _NEUTRAL[role])
                self.transfer.put(name, value, "", ADAPTED, f"{_NEUTRAL[role]:g}, as the file has none")
            else:
                self.transfer.fault(layer, f"{name} ({shape_text(shape)}) has no counterpart: {source.name} lacks it")
        if layer.kind == "norm":
            self._keep_function(layer, source)

    def add_surplus(self, layer: TargetLayer, source: SourceLayer) -> None:
        """What a source has beyond its target: a bias before a normalisation is folded, what says nothing dropped."""
        for role, value in source.tensors.items():
            if role in layer.shapes:
                continue
            neutral = _NEUTRAL.get(role)
            if neutral is not None and bool((value == neutral).all()):
                self._leave(source, role, f"all {neutral:g}, which changes nothing")
            elif role == "bias" and layer.norm is not None:
                self._fold(layer, source, self._target.layers[layer.norm])
            else:
                self.transfer.fault(layer, f"{layer.name} has no {role}, in the file there is {source.names[role]}")

    def _take(self, layer: TargetLayer, source: SourceLayer, role: str, shape: tuple[int, ...], reason: str) -> None:
        value, name, theirs = source.tensors[role], f"{layer.name}.{role}", source.names[role]
        if tuple(value.shape) == shape:
            if role == "weight" and layer.kind == "linear" and self._is_from_keras:
                order = flattened_map(layer, self._target.graph)
                if order is not None:
                    how = f"columns from height, width, channels ({shape_text(order[1:])} places) to channels first"
                    self.transfer.put(name, _channels_first(value, order), theirs, ADAPTED, how)
                    return
            self.transfer.put(name, value, theirs, LOADED, reason)
            return
        adapted = self._reshaped(layer, value, shape) if role == "weight" else None
        if adapted is None:
            text = f"{name} is {shape_text(shape)}, in the file {theirs} is {shape_text(value.shape)}"
            self.transfer.fault(layer, text + self._advice(layer, role, shape, value))
        else:
            self.transfer.put(name, adapted[0], theirs, ADAPTED, adapted[1])

    def _reshaped(self, layer: TargetLayer, value: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, str] | None:
        if layer.kind == "conv" and value.dim() == 2 and shape[2:] == (1, 1) and value.shape == shape[:2]:
            return value.reshape(shape), "a linear layer as a 1x1 convolution"
        if (
            layer.kind == "linear"
            and value.dim() == 4
            and len(value) == shape[0]
            and value.numel() == shape[0] * shape[1]
        ):
            height, width = value.shape[2:]
            return value.reshape(shape), f"a {height}x{width} convolution as a linear layer"
        if self._is_other_input(layer, value, shape):
            return self._other_channels(value, shape[1])
        return None

    def _is_other_input(self, layer: TargetLayer, value: Tensor, shape: tuple[int, ...]) -> bool:
        same = value.dim() == len(shape) == 4 and value.shape[0] == shape[0] and value.shape[2:] == shape[2:]
        return layer.is_first and layer.kind == "conv" and same

    def _other_channels(self, value: Tensor, channels: int) -> tuple[Tensor, str] | None:
        if self._adapt_input is None or (self._adapt_input == "sum") != (channels == 1):
            return None
        given = value.shape[1]
        summed = value.sum(dim=1, keepdim=True)
        if channels == 1:
            return summed, f"{given} input channels summed"
        what = "channel" if given == 1 else f"mean of {given} channels"
        how = f"{what} repeated for {channels} input channels and scaled by {given}/{channels}"
        return summed.expand(-1, channels, -1, -1) / channels, how

    def _advice(self, layer: TargetLayer, role: str, shape: tuple[int, ...], value: Tensor) -> str:
        text = ""
        if role == "weight" and self._is_other_input(layer, value, shape):
            text = self._wording.adapt_input.format("sum" if shape[1] == 1 else "repeat")
        elif layer.is_last and role in ("weight", "bias") and value.numel() * shape[0] == prod(shape) * len(value):
            text = self._wording.permissions([layer.name.partition(".")[0]], [])
        return f" ({text})" if text else ""

    def _keep_function(self, layer: TargetLayer, source: SourceLayer) -> None:
        """Where the file's epsilon is another one the variance makes up for it, exactly in evaluation mode."""
        theirs, ours = source.facts.get("eps"), self._eps.get(layer.name)
        name = f"{layer.name}.running_var"
        if theirs is None or ours is None or theirs == ours:
            return
        if name not in self.transfer.values:
            self.transfer.fault(layer, f"{layer.name} has epsilon {ours:g}, in the file {source.name} has {theirs:g}")
            return
        value = self.transfer.values[name] + (theirs - ours)
        how = f"shifted from epsilon {theirs:g} to {ours:g}: the same in evaluation mode"
        self.transfer.put(name, value, self.transfer.rows[name].source, ADAPTED, how)

    def _fold(self, layer: TargetLayer, source: SourceLayer, norm: TargetLayer) -> None:
        name = f"{norm.name}.running_mean"
        if name not in self.transfer.values:
            self.transfer.fault(layer, f"{layer.name} has no bias, in the file there is {source.names['bias']}")
            return
        sources = f"{self.transfer.rows[name].source} - {source.names['bias']}"
        how = "the convolution's bias folded into the mean: the same in evaluation mode"
        self.transfer.put(name, self.transfer.values[name] - source.tensors["bias"], sources, ADAPTED, how)

    def _leave(self, source: SourceLayer, role: str, how: str) -> None:
        self.transfer.unused.append(Row("", source.names[role], LEFT_OVER, how, tuple(source.tensors[role].shape)))


def _channels_first(value: Tensor, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    return value.reshape(-1, height, width, channels).permute(0, 3, 1, 2).reshape(len(value), -1).contiguous()
