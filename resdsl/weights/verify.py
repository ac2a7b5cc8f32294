"""Verification of a transfer: the module's outputs compared with those of the network the weights came from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.match_tokens import shape_of
from resdsl.weights.peers import Peer, Request, named_peer, read_by, torchvision_peer
from resdsl.weights.prepare import Prepared
from resdsl.weights.receipt import FRESH
from resdsl.weights.target import TargetLayer

# Of the largest output. Another stride or padding changes outputs by a share of it, rounding by 1e-6.
TOLERANCE = 1e-4
_FREE_SIZE = 96


class IncomparableError(WeightsError):
    """The network gives nothing that the other one gives, too."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared with which network, at which sizes of the input.

    `difference` is the largest one as a share of the largest value; `what` is the output, or what the fresh head reads.
    """

    peer: str
    sizes: tuple[tuple[int, ...], ...]
    difference: float
    what: str

    @property
    def is_equal(self) -> bool:
        """Whether the two compute the same, but for rounding."""
        return self.difference <= TOLERANCE

    def __str__(self) -> str:
        sizes = " and ".join(" x ".join(map(str, size)) for size in self.sizes)
        verdict = "equals" if self.is_equal else "differs from"
        return f"{self.what} {verdict} that of {self.peer} at {sizes} (largest difference {self.difference:.1e})"


def find_peer(prepared: Prepared, checkpoint: Checkpoint, name: str | None) -> Peer | None:
    """The network to compare with: the one named, else torchvision's with the file's tensors. Raises WeightsError."""
    layers = prepared.target.layers
    pairs = list(zip(layers, prepared.match.pairs, strict=True))
    heads = [s for layer, s in pairs if s is not None and layer.is_last and layer.role != "auxiliary"]
    stems = [s for layer, s in pairs if s is not None and layer.is_first and layer.kind == "conv"]
    classes = shape_of(checkpoint.layers[heads[-1]])[0] if heads else None
    channels = shape_of(checkpoint.layers[stems[0]])[1] if stems else 3
    size = _sizes(prepared)[0]
    request = Request(checkpoint, classes, channels, (size[0], size[1]) if len(size) == 2 else (1, 1))
    return torchvision_peer(request) if name is None else named_peer(name, request)


def verify(model: fx.GraphModule, prepared: Prepared, checkpoint: Checkpoint, peer: Peer) -> Verification:
    """Compare in evaluation mode, at the network's own input size and at an odd one where it takes others.

    A fresh head has nothing to be compared with: what it reads is. Auxiliary heads do not work in evaluation mode.

    Raises:
        IncomparableError: something before the head is fresh, or the head gives something else than theirs.
        WeightsError: the other network cannot be run on such images.
    """
    layer, theirs = _compared_layer(prepared, checkpoint)
    sizes = _sizes(prepared)
    was_training = model.training
    model.eval()
    largest = 0.0
    done: list[tuple[int, ...]] = []
    try:
        for size in sizes:
            images = torch.randn(1, _channels(prepared), *size, generator=torch.Generator().manual_seed(len(done)))
            with torch.no_grad():
                ours = _ours(model, prepared, images, layer, is_needed=not done)
                if ours is None:
                    continue
                others = _theirs(peer, images, theirs)
            if ours.flatten(1).shape != others.flatten(1).shape:
                raise IncomparableError(f"{prepared.receipt.network} and {peer.name} give outputs of different shapes")
            largest = max(largest, relative_difference(ours, others))
            done.append(size)
    finally:
        model.train(was_training)
    return Verification(peer.name, tuple(done), largest, "the output" if layer is None else f"what {layer.name} reads")


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite where shapes differ or a value is no number."""
    if ours.flatten(1).shape != theirs.flatten(1).shape:
        return math.inf
    difference = float((ours.flatten(1) - theirs.flatten(1)).abs().max())
    scale = float(theirs.abs().max())
    if not math.isfinite(difference) or not math.isfinite(scale):
        return math.inf
    return difference / scale if scale else difference


def _compared_layer(prepared: Prepared, checkpoint: Checkpoint) -> tuple[TargetLayer | None, str | None]:
    """The head and its source where it is fresh, else nothing: the outputs themselves are compared."""
    fresh = {row.target.rpartition(".")[0] for row in prepared.receipt.rows if row.status == FRESH}
    found: tuple[TargetLayer | None, str | None] = None, None
    for layer, s in zip(prepared.target.layers, prepared.match.pairs, strict=True):
        if layer.name not in fresh or layer.role == "auxiliary":
            continue
        if not layer.is_last or s is None:
            raise IncomparableError(f"{layer.name} is fresh, and the output depends on it")
        found = layer, checkpoint.layers[s].name
    return found


def _ours(
    model: fx.GraphModule, prepared: Prepared, images: Tensor, layer: TargetLayer | None, *, is_needed: bool
) -> Tensor | None:
    """Our side; None where the network takes no input of this size, which its own size must not give."""
    reading = _module_before_softmax(model, prepared) if layer is None else model.get_submodule(layer.name)
    try:
        if reading is not None:
            return read_by(model, reading, images)
        output = model(images)
    except RuntimeError:
        if is_needed:
            raise
        return None
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, dict) else output))
    return output


def _module_before_softmax(model: fx.GraphModule, prepared: Prepared) -> nn.Module | None:
    """The softmax at the end, where there is one: its input is compared, as it would hide differences."""
    graph = prepared.target.graph
    last = next((node for node in graph.nodes if node.name == graph.output), None)
    if last is None or last.op.name != "softmax":
        return None
    return dict(model.named_modules()).get(last.name)


def _theirs(peer: Peer, images: Tensor, layer: str | None) -> Tensor:
    """The other side, on images of its number of channels that make up for how the first weights were adapted."""
    channels = images.shape[1] if images.dim() == 4 else peer.channels
    if channels != peer.channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, peer.channels, -1, -1).contiguous()
    try:
        return peer.run(images, layer)
    except (RuntimeError, ValueError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"verify: {peer.name} cannot be run: {str(error).splitlines()[0]}") from error


def _channels(prepared: Prepared) -> int:
    return int(str(prepared.target.graph.input_shape[0]))


def _sizes(prepared: Prepared) -> tuple[tuple[int, ...], ...]:
    """The network's input size and an odd one; a vector has none."""
    shape = prepared.target.graph.input_shape[1:]
    if not shape:
        return ((),)
    height, width = (extent if isinstance(extent, int) else _FREE_SIZE for extent in shape)
    return (height, width), (height * 7 // 8 | 1, width * 3 // 4 | 1)
