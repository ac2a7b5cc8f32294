"""Torch calls as text, number by number, so that calls of one form can share a class and its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from resdsl.ops import TorchCall

Leaf = Callable[[str, float], str]

_POSITIONS: dict[str, tuple[str, ...]] = {
    "nn.Conv2d": ("in_channels", "out_channels", "kernel_size"),
    "nn.ConvTranspose2d": ("in_channels", "out_channels", "kernel_size"),
    "nn.Linear": ("in_features", "out_features"),
    "nn.BatchNorm1d": ("num_features",),
    "nn.BatchNorm2d": ("num_features",),
    "nn.GroupNorm": ("norm_groups", "num_channels"),
    "nn.LayerNorm": ("shape",),
    "nn.PReLU": ("num_parameters",),
    "nn.Dropout": ("drop",),
    "nn.Dropout2d": ("drop",),
    "StochasticDepth": ("drop", "per"),
    "nn.MaxPool2d": ("kernel_size",),
    "nn.AvgPool2d": ("kernel_size",),
    "torch.mul": ("factor",),
    "F.pad": ("pad",),
}
_CHANNELS = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "num_parameters"}
)
_CONV = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True}
_NORM = {"eps": 1e-5, "affine": True}
# What torch takes where nothing is said: written out to compare calls, left out again in the text.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "nn.Conv2d": _CONV,
    "nn.ConvTranspose2d": {**_CONV, "output_padding": 0},
    "nn.BatchNorm1d": {**_NORM, "momentum": 0.1},
    "nn.BatchNorm2d": {**_NORM, "momentum": 0.1},
    "nn.GroupNorm": _NORM,
    "nn.LayerNorm": {"eps": 1e-5, "elementwise_affine": True},
    "nn.MaxPool2d": {"stride": None, "padding": 0, "dilation": 1},
    "nn.AvgPool2d": {"stride": None, "padding": 0},
}


def arguments(call: TorchCall, leaf: Leaf) -> list[str]:
    """The arguments as text, in an order that depends on the call's form only.

    `leaf` writes each number; it is told what the number is: `channels`, `stride`, `drop`.
    """
    names = _POSITIONS.get(call.target, ())
    texts = []
    for position, value in enumerate(call.args):
        texts.append(_text(value, kind_of(names[position] if position < len(names) else "value"), leaf))
    given = dict(call.kwargs or {})
    defaults = _DEFAULTS.get(call.target, {})
    for name, value in {**defaults, **given}.items():
        text = _text(value, kind_of(name), leaf)
        if name not in defaults or text != repr(defaults[name]):
            texts.append(f"{name}={text}")
    return texts


def kind_of(name: str) -> str:
    """What a number of this name is."""
    return "channels" if name in _CHANNELS else name


def _text(value: Any, kind: str, leaf: Leaf) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_text(item, kind, leaf) for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return leaf(kind, value)


def _quoted(text: str) -> str:
    """As a formatter quotes it; what needs care is left to repr."""
    return f'"{text}"' if text.isalnum() and text.isascii() else repr(text)


def number_text(value: float) -> str:
    """A number as Python reads it back."""
    if not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)
