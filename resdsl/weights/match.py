"""Which layer of a checkpoint belongs to which layer of a network, decided by structure.

Proposals are made in several ways and for several orders of both sides; the evidence chooses among them. No name of a
library or of its layers is known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from resdsl.weights.checkpoint import Checkpoint, SourceLayer
from resdsl.weights.match_evidence import Evidence, Score
from resdsl.weights.match_names import name_tree
from resdsl.weights.match_pairs import Proposal, by_groups, by_longest_run, by_position, by_topology
from resdsl.weights.match_reasons import reasons_of
from resdsl.weights.match_tokens import shape_of, token_of, tokens_of
from resdsl.weights.target import Target

_Tokens = Sequence[Hashable]
# A layer of another kind than these is one of the papers' layers.
_SMALL = ("norm", "other")


@dataclass(frozen=True, slots=True)
class Match:
    """`pairs` holds the source's place in the checkpoint by the target's place; `reasons` says what decided each."""

    pairs: Proposal
    reasons: tuple[str, ...]
    left_over: tuple[int, ...]


def match_layers(target: Target, checkpoint: Checkpoint) -> Match:
    """Pair the layers of both sides; those that fit no layer of the other stay alone."""
    sources = checkpoint.layers
    evidence = Evidence(target, checkpoint)
    pairs = _by_names(target, sources) or _best(evidence, target, sources)
    reasons = tuple(reasons_of(evidence, pairs))
    taken = set(pairs)
    return Match(pairs, reasons, tuple(s for s in range(len(sources)) if s not in taken))


def closest_source(target: Target, checkpoint: Checkpoint, found: Match, lone: int) -> int | None:
    """The left-over source that stands where a target without one does: of its kind, as far behind the others."""
    is_norm = target.layers[lone].kind in _SMALL
    alone = [t for t, s in enumerate(found.pairs) if s is None and (target.layers[t].kind in _SMALL) == is_norm]
    left = [s for s in found.left_over if (checkpoint.layers[s].kind in _SMALL) == is_norm]
    if len(alone) == len(left):
        return left[alone.index(lone)]
    before = max((s for s in found.pairs[:lone] if s is not None), default=-1)
    extents = len(target.layers[lone].shape)
    return next((s for s in left if s > before and len(shape_of(checkpoint.layers[s])) == extents), None)


def _by_names(target: Target, sources: Sequence[SourceLayer]) -> Proposal | None:
    """Pairs of one name, where most layers have one: a checkpoint of the same spec, or of an older one.

    The rest is paired in order if it fits without exception, as after renaming a stage; otherwise it stays alone.
    """
    place = {layer.name: index for index, layer in enumerate(sources)}
    pairs = [place.get(layer.name) for layer in target.layers]
    alike = 0
    for t, s in enumerate(pairs):
        if s is not None and sources[s].kind != target.layers[t].kind:
            pairs[t] = s = None
        alike += s is not None and token_of(target.layers[t]) == token_of(sources[s])
    if 2 * alike < min(len(pairs), len(sources)) or alike == 0:
        return None
    taken = set(pairs)
    lone = [t for t, s in enumerate(pairs) if s is None and target.layers[t].is_present]
    left = [s for s in range(len(sources)) if s not in taken]
    if len(lone) == len(left) and all(
        token_of(target.layers[t]) == token_of(sources[s]) for t, s in zip(lone, left, strict=True)
    ):
        for t, s in zip(lone, left, strict=True):
            pairs[t] = s
    return tuple(pairs)


def _best(evidence: Evidence, target: Target, sources: Sequence[SourceLayer]) -> Proposal:
    best: tuple[Score, Proposal] | None = None
    seen: set[Proposal] = set()
    for proposal in _proposals(evidence, target, sources):
        if proposal not in seen:
            seen.add(proposal)
            score = evidence.score(proposal)
            if best is None or score > best[0]:
                best = score, proposal
    assert best is not None, "the longest run always gives a proposal"
    return best[1]


def _proposals(evidence: Evidence, target: Target, sources: Sequence[SourceLayer]) -> Iterator[Proposal]:
    count = len(target.layers)
    natural = sorted(range(len(sources)), key=lambda s: evidence.natural[s])
    source_orders = list(dict.fromkeys([tuple(range(len(sources))), tuple(natural)]))
    complete = False
    for chosen in _choices(target):
        tokens = tokens_of(target.layers, sorted(chosen), sources)
        orders = [tuple(t for t in order if t in chosen) for order in target.orders]
        for source in source_orders:
            proposals = list(_in_order(evidence, list(dict.fromkeys(orders)), source, tokens, count))
            yield from proposals
            complete = complete or any(None not in [pairs[t] for t in chosen] for pairs in proposals)
    if complete:
        return
    for chosen in _choices(target):
        tokens = tokens_of(target.layers, sorted(chosen), sources)
        for order in target.orders:
            some = [t for t in order if t in chosen]
            for source in source_orders:
                yield by_longest_run(some, source, tokens, count)
                yield from _completed(evidence, some, source, tokens, count)


def _choices(target: Target) -> list[frozenset[int]]:
    """The layers that a file may be of: all, those the module has, those that are no auxiliary heads'."""
    layers = target.layers
    found = [
        frozenset(range(len(layers))),
        frozenset(t for t, layer in enumerate(layers) if layer.is_present),
        frozenset(t for t, layer in enumerate(layers) if layer.role != "auxiliary"),
    ]
    return [chosen for chosen in dict.fromkeys(found) if chosen]


def _in_order(
    evidence: Evidence,
    orders: Sequence[tuple[int, ...]],
    source: tuple[int, ...],
    tokens: tuple[_Tokens, _Tokens],
    count: int,
) -> Iterator[Proposal]:
    sides = _sides(evidence)
    paths = [tuple(layer.node.name.split(".")) for layer in evidence.layers]
    theirs = name_tree(source, evidence.paths, tokens[1])
    for order in orders:
        positional = by_position(order, source, tokens, count)
        if positional is not None:
            yield positional
        yield by_groups(name_tree(order, paths, tokens[0]), theirs, tokens, sides, count)
        if evidence.feeding is not None:
            yield by_topology((evidence.target.feeding, evidence.feeding), tokens, (order, source))


def _sides(evidence: Evidence) -> tuple[list[Hashable], list[Hashable]]:
    """For each layer of both sides the part it plays in its block, as far as a name can tell it."""
    ours: list[Hashable] = [layer.role if layer.role in ("shortcut", "gate") else "" for layer in evidence.layers]
    theirs: list[Hashable] = []
    for shortcut, gate in zip(evidence.shortcuts, evidence.gates, strict=True):
        theirs.append("shortcut" if shortcut else "gate" if gate else "")
    return ours, theirs


def _completed(
    evidence: Evidence, order: Sequence[int], source: Sequence[int], tokens: tuple[_Tokens, _Tokens], count: int
) -> Iterator[Proposal]:
    """What groups of names agree in, and the longest run of the rest."""
    paths = [tuple(layer.node.name.split(".")) for layer in evidence.layers]
    ours, theirs = name_tree(order, paths, tokens[0]), name_tree(source, evidence.paths, tokens[1])
    pairs = by_groups(ours, theirs, tokens, _sides(evidence), count)
    taken = set(pairs)
    rest = by_longest_run([t for t in order if pairs[t] is None], [s for s in source if s not in taken], tokens, count)
    yield tuple(other if s is None else s for s, other in zip(pairs, rest, strict=True))
