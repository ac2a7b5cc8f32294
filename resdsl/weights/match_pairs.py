"""Ways to pair the layers of two sides: each gives a proposal, a list of source places (or None) by target place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from resdsl.weights.match_names import Group

Proposal = tuple[int | None, ...]
Order = Sequence[int]
Tokens = Sequence[Hashable]


def by_position(target: Order, source: Order, tokens: tuple[Tokens, Tokens], count: int) -> Proposal | None:
    """The n-th with the n-th, where all tokens agree."""
    if len(target) != len(source):
        return None
    pairs: list[int | None] = [None] * count
    for t, s in zip(target, source, strict=True):
        if tokens[0][t] != tokens[1][s]:
            return None
        pairs[t] = s
    return tuple(pairs)


def by_groups(
    target: Group, source: Group, kinds: tuple[Tokens, Tokens], sides: tuple[Tokens, Tokens], count: int
) -> Proposal:
    """Groups of names with groups of names that consist of the same, then layer with layer inside them.

    `kinds` say which layers can be paired at all, `sides` which of those are meant for the same part of a block.
    Where the numbers of equal groups differ their parts are compared; layers whose numbers differ stay alone.
    """
    pairs: list[int | None] = [None] * count
    waiting = [(target, source)]
    while waiting:
        ours, theirs = waiting.pop()
        found, loose, left = _pair_children(ours, theirs)
        waiting.extend(found)
        _pair_loose(loose, left, kinds, sides, pairs)
    return tuple(pairs)


def _pair_children(ours: Group, theirs: Group) -> tuple[list[tuple[Group, Group]], list[int], list[int]]:
    """Pairs of equal groups inside two groups, and the layers of each side that are in none."""
    found: list[tuple[Group, Group]] = []
    paired: set[int] = set()
    taken: set[int] = set()
    frontier = ours.children
    while frontier:
        classes: dict[tuple[int, int], list[Group]] = {}
        for group in frontier:
            if len(group.members) > 1:
                classes.setdefault(group.signature, []).append(group)
        frontier = []
        for signature, groups in classes.items():
            equal = [group for group in theirs.inner.get(signature, ()) if taken.isdisjoint(group.members)]
            if len(equal) == len(groups):
                found.extend(zip(groups, equal, strict=True))
                paired.update(index for group in groups for index in group.members)
                taken.update(index for group in equal for index in group.members)
            else:
                frontier.extend(child for group in groups for child in group.children)
    loose = [index for index in ours.members if index not in paired]
    return found, loose, [index for index in theirs.members if index not in taken]


def _pair_loose(
    ours: Sequence[int],
    theirs: Sequence[int],
    kinds: tuple[Tokens, Tokens],
    sides: tuple[Tokens, Tokens],
    pairs: list[int | None],
) -> None:
    equal = classes_of(theirs, kinds[1])
    for token, targets in classes_of(ours, kinds[0]).items():
        sources = equal.get(token, [])
        if len(targets) != len(sources):
            continue
        ours_by_side, theirs_by_side = classes_of(targets, sides[0]), classes_of(sources, sides[1])
        if any(len(some) != len(theirs_by_side.get(side, ())) for side, some in ours_by_side.items()):
            ours_by_side, theirs_by_side = {None: targets}, {None: sources}
        for side, some in ours_by_side.items():
            for t, s in zip(some, theirs_by_side[side], strict=True):
                pairs[t] = s


def by_topology(
    feeding: tuple[Sequence[frozenset[int]], Sequence[frozenset[int]]],
    kinds: tuple[Tokens, Tokens],
    orders: tuple[Order, Order],
) -> Proposal:
    """Layers that are fed by equal layers and feed equal layers, all the way from the input and to the output."""
    labels = [flow_labels(fed, tokens) for fed, tokens in zip(feeding, kinds, strict=True)]
    pairs: list[int | None] = [None] * len(labels[0])
    equal = classes_of(orders[1], labels[1])
    for label, targets in classes_of(orders[0], labels[0]).items():
        sources = equal.get(label, [])
        if len(targets) == len(sources):
            for t, s in zip(targets, sources, strict=True):
                pairs[t] = s
    return tuple(pairs)


def flow_labels(feeding: Sequence[frozenset[int]], tokens: Tokens) -> list[Hashable]:
    """For each layer a label of everything before and behind it; inputs of a layer count as a set."""
    readers: list[list[int]] = [[] for _ in feeding]
    for index, fed in enumerate(feeding):
        for other in fed:
            readers[other].append(index)
    order = _sorted_by_flow(feeding, readers)
    before: dict[int, int] = {}
    behind: dict[int, int] = {}
    for index in order:
        before[index] = hash((tokens[index], tuple(sorted(before[other] for other in feeding[index]))))
    for index in reversed(order):
        behind[index] = hash((tokens[index], tuple(sorted(behind.get(other, 0) for other in readers[index]))))
    return [(tokens[index], before.get(index), behind.get(index)) for index in range(len(feeding))]


def _sorted_by_flow(feeding: Sequence[frozenset[int]], readers: Sequence[Sequence[int]]) -> list[int]:
    """Each layer behind those that feed it; a file whose layers feed each other in a circle gives fewer."""
    missing = [len(fed) for fed in feeding]
    order = [index for index, number in enumerate(missing) if number == 0]
    for index in order:
        for reader in readers[index]:
            missing[reader] -= 1
            if missing[reader] == 0:
                order.append(reader)
    return order


def by_longest_run(target: Order, source: Order, tokens: tuple[Tokens, Tokens], count: int) -> Proposal:
    """The longest common subsequence of the tokens.

    Rows of the usual table are the bits of one number (Crochemore et al. 2001), which makes a thousand layers cheap.
    """
    where: dict[Hashable, int] = {}
    for bit, s in enumerate(source):
        where[tokens[1][s]] = where.get(tokens[1][s], 0) | 1 << bit
    everything = (1 << len(source)) - 1
    row = everything
    rows = []
    for t in target:
        hits = row & where.get(tokens[0][t], 0)
        row = ((row + hits) | (row - hits)) & everything
        rows.append(row)
    pairs: list[int | None] = [None] * count
    column = len(source) - 1
    for index in range(len(target) - 1, -1, -1):
        above = rows[index - 1] if index else everything
        # A cleared bit says that the run grows at this column.
        while column >= 0 and rows[index] >> column & 1:
            column -= 1
        if column < 0:
            break
        if above >> column & 1:
            pairs[target[index]] = source[column]
            column -= 1
    return tuple(pairs)


def classes_of(members: Sequence[int], tokens: Tokens) -> dict[Hashable, list[int]]:
    """Members by their tokens, each class in the order given."""
    classes: dict[Hashable, list[int]] = {}
    for index in members:
        classes.setdefault(tokens[index], []).append(index)
    return classes
