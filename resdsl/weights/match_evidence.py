"""How well a proposal agrees with what a file tells beside shapes: its topology, its groups of names, its words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from resdsl.weights.checkpoint import Checkpoint, SourceLayer
from resdsl.weights.match_names import (
    common_prefix,
    is_numbered_before,
    natural_key,
    numbers_of,
    path_of,
    prefix_counts,
    says_gate,
    says_shortcut,
)
from resdsl.weights.match_pairs import Proposal, classes_of
from resdsl.weights.match_tokens import token_of
from resdsl.weights.target import Target

Score = tuple[int, ...]


class Evidence:
    """What is known of both sides, prepared once for all proposals."""

    def __init__(self, target: Target, checkpoint: Checkpoint) -> None:
        sources = checkpoint.layers
        self.target = target
        self.layers = target.layers
        self.sources = sources
        self.paths = [path_of(layer.name) for layer in sources]
        self.natural = [natural_key(layer.name) for layer in sources]
        self.shortcuts = [says_shortcut(layer.name) for layer in sources]
        self.gates = [says_gate(layer.name) for layer in sources]
        self._numbers = [numbers_of(layer.name) for layer in sources]
        self._numbered_alike = [
            layer.norm is not None and numbers_of(layer.name) == numbers_of(target.layers[layer.norm].name)
            for layer in target.layers
        ]
        self._counts = prefix_counts(self.paths)
        self.groups = _groups(target)
        self.feeding = _feeding(sources)
        self._is_in_order = checkpoint.order != "names"
        order = target.order_in_keras if checkpoint.format == "keras" else target.orders[0]
        self._likely = classes_of(order, [token_of(layer) for layer in target.layers])

    def score(self, pairs: Proposal) -> Score:
        """Higher is better; the first number that differs decides."""
        lone_targets = sum(s is None and layer.is_present for s, layer in zip(pairs, self.layers, strict=True))
        lone_sources = len(self.sources) - sum(s is not None for s in pairs)
        grouped = sum(self.is_grouped(group, pairs) for group in self.groups.values())
        beside = sum(self.is_beside(t, pairs) for t in range(len(pairs)))
        roles = sum(self.role(t, s) for t, s in enumerate(pairs) if s is not None)
        backward = sum(self._steps_back(members, pairs) for members in self._likely.values())
        return -lone_targets - lone_sources, self._topology(pairs), grouped + beside, roles, -backward

    def agrees_in_topology(self, t: int, pairs: Proposal) -> bool:
        """Whether a target's source is fed by the sources of what feeds the target."""
        s = pairs[t]
        if self.feeding is None or s is None:
            return False
        return {pairs[other] for other in self.target.feeding[t]} == self.feeding[s]

    def is_grouped(self, group: Sequence[int], pairs: Proposal) -> bool:
        """Whether the sources of a group are exactly those behind one prefix."""
        sources = [pairs[t] for t in group]
        paths = [self.paths[s] for s in sources if s is not None]
        return len(paths) == len(group) and self._counts[common_prefix(paths)] == len(group)

    def is_beside(self, t: int, pairs: Proposal) -> bool:
        """Whether a convolution and the normalisation that reads it are neighbours in the file, or numbered alike."""
        norm = self.layers[t].norm
        if norm is None:
            return False
        s, n = pairs[t], pairs[norm]
        if s is None or n is None:
            return False
        # Where the file is sorted by names, neighbours in it say nothing unless they are numbered.
        says_something = self._is_in_order or is_numbered_before(self.natural[s], self.natural[n])
        if n == s + 1 and self.paths[s][:-1] == self.paths[n][:-1] and says_something:
            return True
        # Where the normalisation comes first in a block, others may number it like the convolution behind it.
        return self._numbers[s] == self._numbers[n] != () and self._numbered_alike[t]

    def _steps_back(self, members: Sequence[int], pairs: Proposal) -> int:
        """How often layers of one shape stand in the file in another order than the likeliest."""
        sources = [s for t in members if (s := pairs[t]) is not None]
        return sum(a > b for a, b in pairwise(sources))

    def role(self, t: int, s: int) -> int:
        match self.layers[t].role:
            case "shortcut":
                return int(self.shortcuts[s])
            case "gate":
                return int(self.gates[s]) - int(self.shortcuts[s])
        return -int(self.shortcuts[s])

    def _topology(self, pairs: Proposal) -> int:
        if self.feeding is None:
            return 0
        return sum(self.agrees_in_topology(t, pairs) for t in range(len(pairs)))


def _groups(target: Target) -> dict[tuple[str, ...], list[int]]:
    """Layers by the prefixes of their names, where a prefix has at least two and is not the name of all."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, layer in enumerate(target.layers):
        pieces = layer.node.name.split(".")
        for end in range(1, len(pieces)):
            groups.setdefault(tuple(pieces[:end]), []).append(index)
    return {prefix: group for prefix, group in groups.items() if 1 < len(group) < len(target.layers)}


def _feeding(sources: Sequence[SourceLayer]) -> list[frozenset[int]] | None:
    """What feeds each source layer; None where the file does not hold it for all."""
    place = {layer.name: index for index, layer in enumerate(sources)}
    feeding = []
    for layer in sources:
        if layer.inputs is None or not all(name in place for name in layer.inputs):
            return None
        feeding.append(frozenset(place[name] for name in layer.inputs))
    return feeding
