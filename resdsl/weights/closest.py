"""The network of the zoo whose layers fit a checkpoint best, for messages about one that does not fit."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import resdsl.specs
from resdsl.compiler import check_file
from resdsl.ir.lower import FlatGraph, lower_network
from resdsl.weights.layers import Checkpoint

# What must agree: the kind, the shape of the weight (of a normalisation without one: of the rest), the tensors there.
LayerShape = tuple[str, tuple[int, ...], frozenset[str]]
_LEAST_SHARE = 0.25
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class ClosestNetwork:
    """Networks of the zoo, as (spec, network), and how many of their layers have their equal in a checkpoint."""

    found: tuple[tuple[str, str], ...]
    fitting: int
    layers: int
    layers_of_checkpoint: int

    @property
    def networks(self) -> list[str]:
        """The names of the networks."""
        return [network for _, network in self.found]

    def __str__(self) -> str:
        specs: dict[str, list[str]] = {}
        for spec, network in self.found:
            specs.setdefault(spec, []).append(network)
        named = [f"specs/{spec}, network {' or '.join(networks)}" for spec, networks in specs.items()]
        return f"closest in the zoo: {'; '.join(named)}: {self.fitting} of {self.layers} layers fit"


def closest_network(checkpoint: Checkpoint, better_than: FlatGraph | None = None) -> ClosestNetwork | None:
    """The networks in specs/ that share most weight shapes with a checkpoint; None where hardly any fit.

    `better_than` is a network that must be surpassed. Order and topology play no part; of networks that fit equally
    well the first three are given, by the names of files.
    """
    given = Counter(
        (layer.kind, tuple(next(iter(layer.tensors.values())).shape), frozenset(layer.tensors))
        for layer in checkpoint.layers
        if layer.kind != "other"
    )
    best: ClosestNetwork | None = None
    best_share = _LEAST_SHARE
    if better_than is not None:
        best_share = max(best_share, _share(given, Counter(_shapes(better_than)))[0])
    for spec, network, shapes in (entry for path in _specs() for entry in _networks_in(path)):
        share, fitting = _share(given, shapes)
        if share > best_share:
            best_share = share
            best = ClosestNetwork(((spec, network),), fitting, shapes.total(), given.total())
        elif best is not None and share == best_share and len(best.found) < _MOST_NAMED:
            best = replace(best, found=(*best.found, (spec, network)))
        if best_share == 1 and best is not None and len(best.found) == _MOST_NAMED:
            break
    return best


def _specs() -> list[str]:
    folder = os.path.dirname(resdsl.specs.__file__)
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".res")]


@cache
def _networks_in(path: str) -> tuple[tuple[str, str, Counter[LayerShape]], ...]:
    networks = check_file(path).networks
    return tuple(
        (os.path.basename(path), network.name, Counter(_shapes(lower_network(network)))) for network in networks
    )


def _share(given: Counter[LayerShape], shapes: Counter[LayerShape]) -> tuple[float, int]:
    fitting = (given & shapes).total()
    return fitting / max(given.total(), shapes.total(), 1), fitting


def _shapes(graph: FlatGraph) -> Iterator[LayerShape]:
    for node in graph.nodes:
        weights = node.op.spec.weights(node.op.args, node.input_shapes)
        if weights:
            yield node.op.spec.family, weights[0].shape, frozenset(weight.name for weight in weights)
