"""What made each pair of layers certain; a pair that only the order in the file decided says so."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resdsl.weights.match_evidence import Evidence
from resdsl.weights.match_names import NaturalKey, common_prefix, is_numbered_before, natural_key
from resdsl.weights.match_pairs import Proposal, classes_of, flow_labels
from resdsl.weights.match_tokens import token_of
from resdsl.weights.receipt import BY_ORDER

Prefix = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A group of layers that the file has under one prefix, too, or a layer that is in no smaller one.

    `key` is the natural key of the prefix or name in the file.
    """

    targets: tuple[int, ...]
    key: NaturalKey


def reasons_of(evidence: Evidence, pairs: Proposal) -> list[str]:
    """For each target what made its source certain, or "" where it has none.

    Layers of one shape are rivals where their pairs could be exchanged: inside the smallest group of names that both
    sides have, and whole groups of equal layers inside a larger one. Unless all rivals are parted, it is order.
    """
    return _Reasons(evidence, pairs).found()


class _Reasons:
    def __init__(self, evidence: Evidence, pairs: Proposal) -> None:
        self._evidence = evidence
        self._layers = evidence.layers
        self._pairs = pairs
        self._tokens = [token_of(layer) for layer in evidence.layers]
        self._convolution_of = {
            layer.norm: t
            for t, layer in enumerate(self._layers)
            if layer.norm is not None and evidence.is_beside(t, pairs)
        }
        self._by_topology = self._told_by_topology()
        self._uncertain: set[int] = set()
        self._units = [_Unit((t,), () if s is None else evidence.natural[s]) for t, s in enumerate(pairs)]
        self._found = [""] * len(pairs)

    def found(self) -> list[str]:
        paired = [t for t, s in enumerate(self._pairs) if s is not None]
        number = classes_of(range(len(self._pairs)), self._tokens)
        homes = self._homes()
        self._judge_groups(homes)
        blocks = [layer.node.block for layer in self._layers]
        at_home = classes_of(paired, list(zip(homes, self._tokens, strict=True)))
        in_block = classes_of(paired, list(zip(blocks, self._tokens, strict=True)))
        # A normalisation may owe its place to its convolution, which is judged first.
        for t in sorted(paired, key=lambda t: t in self._convolution_of):
            if self._is_same_name(t):
                self._found[t] = "same name"
            elif len(number[self._tokens[t]]) == 1:
                self._found[t] = "only one of its shape"
            elif t in self._by_topology:
                self._found[t] = "topology"
            elif t in self._uncertain:
                self._found[t] = BY_ORDER
            else:
                near = at_home[homes[t], self._tokens[t]] + (in_block[blocks[t], self._tokens[t]] if blocks[t] else [])
                self._found[t] = self._among(t, [other for other in dict.fromkeys(near) if other != t])
        return self._found

    def _is_same_name(self, t: int) -> bool:
        s = self._pairs[t]
        return s is not None and self._evidence.sources[s].name == self._layers[t].name

    def _told_by_topology(self) -> set[int]:
        """Targets that the file feeds alike, unless another one of the network could stand in their place."""
        if self._evidence.feeding is None:
            return set()
        agreeing = [t for t in range(len(self._pairs)) if self._evidence.agrees_in_topology(t, self._pairs)]
        alike = classes_of(range(len(self._pairs)), flow_labels(self._evidence.target.feeding, self._tokens))
        single = {members[0] for members in alike.values() if len(members) == 1}
        return single.intersection(agreeing)

    def _homes(self) -> list[Prefix]:
        """For each target the longest prefix of its name whose group the file has, too."""
        groups = self._evidence.groups
        self._shared = {prefix for prefix, group in groups.items() if self._evidence.is_grouped(group, self._pairs)}
        homes = []
        for layer in self._layers:
            pieces = tuple(layer.node.name.split("."))
            homes.append(self._enclosing(pieces))
        return homes

    def _enclosing(self, pieces: Prefix) -> Prefix:
        return next((pieces[:end] for end in range(len(pieces) - 1, 0, -1) if pieces[:end] in self._shared), ())

    def _judge_groups(self, homes: Sequence[Prefix]) -> None:
        """Note the layers of groups that could be exchanged as a whole."""
        kinds: dict[Hashable, list[_Unit]] = {}
        for prefix in self._shared:
            group = tuple(self._evidence.groups[prefix])
            content = tuple(sorted(hash(self._tokens[t]) for t in group))
            kinds.setdefault((self._enclosing(prefix), content), []).append(self._unit(group))
        for units in kinds.values():
            units.sort(key=lambda unit: unit.targets[0])
            if self._is_numbered(units):
                continue
            for unit in units:
                others = [other for other in units if not set(other.targets) & set(unit.targets)]
                if any(self._between(unit, other) == BY_ORDER for other in others) and not self._is_named(unit):
                    self._uncertain.update(unit.targets)

    def _is_named(self, unit: _Unit) -> bool:
        return any(self._is_same_name(t) or t in self._by_topology for t in unit.targets)

    def _unit(self, targets: tuple[int, ...]) -> _Unit:
        paths = [self._evidence.paths[s] for t in targets if (s := self._pairs[t]) is not None]
        return _Unit(targets, natural_key(".".join(common_prefix(paths))))

    def _is_numbered(self, units: Sequence[_Unit]) -> bool:
        """Whether the numbers in the names rise from each to the next; then they do between any two."""
        return all(is_numbered_before(a.key, b.key) for a, b in pairwise(units))

    def _among(self, t: int, rivals: Sequence[int]) -> str:
        """The weakest of what parts a target from each of its rivals."""
        weakest = 0
        for other in rivals:
            weakest = max(weakest, _STRENGTH.index(self._between(self._units[t], self._units[other])))
            if _STRENGTH[weakest] == BY_ORDER:
                break
        return _STRENGTH[weakest] if rivals else "only such layer in its block"

    def _between(self, own: _Unit, other: _Unit) -> str:
        """What says that a unit and not the other one belongs where it was put."""
        t, r = own.targets[0], other.targets[0]
        if self._role(t, t) > self._role(t, r):
            return "role in name"
        convolution = self._convolution_of.get(t)
        if len(own.targets) == 1 and convolution is not None and self._found[convolution] != BY_ORDER:
            return "beside its convolution"
        first, second = (own, other) if t < r else (other, own)
        return "numbers in names" if is_numbered_before(first.key, second.key) else BY_ORDER

    def _role(self, t: int, r: int) -> int:
        """How well the name of another one's source tells of the part that a target plays."""
        s = self._pairs[r]
        return 0 if s is None else self._evidence.role(t, s)


# The first is the surest.
_STRENGTH = ("role in name", "beside its convolution", "numbers in names", BY_ORDER)
