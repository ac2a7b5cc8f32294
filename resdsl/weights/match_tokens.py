"""What of a layer must agree for two to be paired: its kind and the shape of its weight, a little loosened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from math import prod

from resdsl.weights.checkpoint import SourceLayer
from resdsl.weights.match_pairs import classes_of
from resdsl.weights.target import TargetLayer

Shape = tuple[int, ...]
Side = TargetLayer | SourceLayer


def shape_of(layer: Side) -> Shape:
    """Shape of a layer's weight, else of its first tensor."""
    if isinstance(layer, TargetLayer):
        return layer.shape
    for role in ("weight", "running_mean"):
        if role in layer.tensors:
            return tuple(layer.tensors[role].shape)
    return tuple(next(iter(layer.tensors.values())).shape) if layer.tensors else ()


def token_of(layer: Side) -> Hashable:
    """Kind and shape; a linear layer and a 1x1 convolution are one kind."""
    shape = shape_of(layer)
    if layer.kind in ("conv", "linear"):
        return "weights", shape[:2] if shape[2:] == (1, 1) else shape
    if layer.kind == "norm":
        return "norm", shape
    shapes = layer.shapes.values() if isinstance(layer, TargetLayer) else (t.shape for t in layer.tensors.values())
    return "other", tuple(sorted(tuple(one) for one in shapes))


def tokens_of(
    targets: Sequence[TargetLayer], chosen: Sequence[int], sources: Sequence[SourceLayer]
) -> tuple[list[Hashable], list[Hashable]]:
    """Tokens of both sides.

    Where the chosen targets have layers that no source equals, sources left without a target take their tokens if
    they differ in what can be adapted: channels of the input, number of classes, a linear layer as a convolution.
    """
    ours: list[Hashable] = [token_of(layer) for layer in targets]
    theirs: list[Hashable] = [token_of(layer) for layer in sources]
    for applies, loosened in _LOOSER:
        missing = Counter(ours[t] for t in chosen)
        spare = Counter(theirs)
        missing, spare = missing - spare, spare - missing
        if not missing:
            break
        open_targets = [t for t in chosen if ours[t] in missing and applies(targets[t])]
        open_sources = [s for s, token in enumerate(theirs) if token in spare and sources[s].kind in ("conv", "linear")]
        loose = [loosened(layer) for layer in targets], [loosened(layer) for layer in sources]
        by_token = classes_of(open_sources, loose[1])
        for token, some in classes_of(open_targets, loose[0]).items():
            if len(some) == len(by_token.get(token, ())):
                for t, s in zip(some, by_token[token], strict=True):
                    theirs[s] = ours[t]
    return ours, theirs


def _without_channels(layer: Side) -> Hashable:
    shape = shape_of(layer)
    return (shape[:1], shape[2:]) if len(shape) == 4 else (shape[:1], "vector")


def _without_classes(layer: Side) -> Hashable:
    return prod(shape_of(layer)[1:])


def _flattened(layer: Side) -> Hashable:
    shape = shape_of(layer)
    return shape[0] if shape else 0, prod(shape[1:])


_LOOSER: tuple[tuple[Callable[[TargetLayer], bool], Callable[[Side], Hashable]], ...] = (
    (lambda layer: layer.is_first, _without_channels),
    (lambda layer: layer.is_last, _without_classes),
    (lambda layer: layer.kind == "linear", _flattened),
)
