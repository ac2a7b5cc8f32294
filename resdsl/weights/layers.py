"""A checkpoint as matching sees it: layers with their tensors by role, whatever file and library they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """One layer of a checkpoint.

    Attributes:
        name: its prefix in the file: `layer1.0.conv1`, `conv2_block1_1_conv`.
        kind: "conv", "linear", "norm" or "other".
        tensors: float32, by role and in PyTorch's layout: "weight" (O, I, kH, kW), (out, in) or (C,), then "bias",
            "running_mean" and "running_var"; in a layer of kind "other" by the last part of each name.
        names: the full name in the file, by role.
        facts: what the file says of the layer, where it says something: eps, strides, dilation, groups, activation;
            padding is "valid", "same" or ((top, bottom), (left, right)); flattened is (H, W, C) for a linear layer
            that reads a map flattened with its channels last, or () where that map's size is not known.
        inputs: the layers with weights that feed this one, through any number without, where the file holds the
            topology; empty for a layer that reads the network's input; else None.
    """

    name: str
    kind: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The layers of a file.

    Attributes:
        format: "torch", "safetensors", "npz" or "keras".
        order: of the layers: "definition", as the modules were made; "keras depth order", where a layer follows all
            that feed it; "names", natural order of names, where the file keeps none (in a .weights.h5 file of the
            groups' names, so that the layers of one class are in depth order among themselves).
        ignored: what is no weight or was not chosen, each with the reason.
        notes: what was changed on the way in: `3 tensors of float16 taken as float32`.
        network: the name of the network that resdsl wrote the file for, where it did.
        spec_hash: that network's hash.
    """

    path: str
    format: str
    layers: tuple[SourceLayer, ...]
    ignored: tuple[str, ...]
    order: str
    notes: tuple[str, ...] = ()
    network: str = ""
    spec_hash: str = ""
