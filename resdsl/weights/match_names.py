"""Names as evidence: their words, their natural order, and the tree that their prefixes form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

_PIECES = re.compile(r"[^\W\d_]+|[0-9]+")
_STEPS = re.compile(r"[./]")
_END = (False, -1, "")
_SEPARATORS = re.compile(r"[./_]+")
# Words that people use for the way around a block, whatever their library: general English, no names of libraries.
_SHORTCUT_WORDS = frozenset("downsample shortcut shortcuts skip sc proj projection identity resample bypass".split())
_GATE_WORDS = frozenset("gate gates gating t se attention".split())

Token = TypeVar("Token")
NaturalKey = tuple[tuple[bool, int, str], ...]


def path_of(name: str) -> tuple[str, ...]:
    """The steps of a name: `layer1.0.conv1` or `conv2_block1_1_conv`."""
    return tuple(piece for piece in _SEPARATORS.split(name) if piece)


def natural_key(name: str) -> NaturalKey:
    """Sorts names as people do: `layer2` before `layer10`, and `conv.weight` before `conv_1.weight`."""
    key: list[tuple[bool, int, str]] = []
    for step in _STEPS.split(name):
        for piece in _PIECES.findall(step):
            # Digits are compared by length first: int() refuses very long ones.
            digits = piece.lstrip("0")
            key.append((False, len(digits), digits) if piece.isdecimal() else (True, 0, piece.lower()))
        key.append(_END)
    return tuple(key)


def is_numbered_before(name: NaturalKey, other: NaturalKey) -> bool:
    """Whether the first difference of two names is a number, and smaller in the first: none counts as smallest."""
    for mine, theirs in zip(name, other, strict=False):
        if mine != theirs:
            return not mine[0] and not theirs[0] and mine < theirs
    return len(name) < len(other) and not other[len(name)][0]


def is_shuffled(names: Iterable[str]) -> bool:
    """Whether names stand in an order in which nobody defines modules.

    Those behind one prefix lie apart, or more than a quarter of the numbers fall: `layer1.2` before `layer1.0`.
    """
    last: tuple[str, ...] = ()
    opened: set[tuple[str, ...]] = set()
    newest: dict[tuple[tuple[str, ...], str], NaturalKey] = {}
    rising = falling = 0
    for name in names:
        steps = tuple(_STEPS.split(name))
        common = next((i for i, (a, b) in enumerate(zip(steps, last, strict=False)) if a != b), len(last))
        for end in range(common, len(steps)):
            prefix = steps[: end + 1]
            if prefix in opened:
                return True
            if end + 1 < len(steps):
                opened.add(prefix)
            stem = steps[end].rstrip("0123456789")
            if stem != steps[end]:
                number = natural_key(steps[end][len(stem) :])
                before = newest.get((steps[:end], stem))
                rising += before is not None and before < number
                falling += before is not None and before > number
                newest[steps[:end], stem] = number
        last = steps
    return 3 * falling > rising


def numbers_of(name: str) -> tuple[str, ...]:
    """The numbers in a name, in order: a convolution and its normalisation often share them."""
    return tuple(piece for piece in _PIECES.findall(name) if piece.isdigit())


def says_shortcut(name: str) -> bool:
    """Whether a name speaks of a shortcut."""
    return not _SHORTCUT_WORDS.isdisjoint(piece.lower() for piece in _PIECES.findall(name))


def says_gate(name: str) -> bool:
    """Whether a name speaks of a gate."""
    return not _GATE_WORDS.isdisjoint(piece.lower() for piece in _PIECES.findall(name))


class Group:
    """A prefix of names and the layers behind it; prefixes that lead to the same layers are one group."""

    __slots__ = ("__dict__", "children", "members", "signature")

    def __init__(
        self, members: Sequence[int], paths: Sequence[tuple[str, ...]], depth: int, codes: Sequence[int]
    ) -> None:
        self.members = members
        self.signature = (len(members), sum(codes[index] for index in members) & 0xFFFFFFFFFFFFFFFF)
        self.children: list[Group] = []
        while len(members) > 1:
            parts: dict[str, list[int]] = {}
            for index in members:
                path = paths[index]
                # A name that ends here is a part of its own.
                parts.setdefault(path[depth] if depth < len(path) else f"\0{index}", []).append(index)
            depth += 1
            if len(parts) > 1:
                self.children = [Group(part, paths, depth, codes) for part in parts.values()]
                break

    @cached_property
    def inner(self) -> dict[tuple[int, int], list[Group]]:
        """The groups of at least two layers inside this one, by what they consist of."""
        found: dict[tuple[int, int], list[Group]] = {}
        for group in _groups_inside(self):
            found.setdefault(group.signature, []).append(group)
        return found


def _groups_inside(group: Group) -> Iterator[Group]:
    for child in group.children:
        if len(child.members) > 1:
            yield child
            yield from _groups_inside(child)


def name_tree(order: Sequence[int], paths: Sequence[tuple[str, ...]], tokens: Sequence[Token]) -> Group:
    """The groups that names form, in an order of the layers; two groups of equal `tokens` have one signature."""
    codes = [hash((token, 1)) for token in tokens]
    return Group(order, paths, 0, codes)


def prefix_counts(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """How many names begin with each prefix."""
    counts: dict[tuple[str, ...], int] = {}
    for path in paths:
        for end in range(len(path) + 1):
            counts[path[:end]] = counts.get(path[:end], 0) + 1
    return counts


def common_prefix(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest prefix of all."""
    known = list(paths)
    low, high = min(known), max(known)
    for index, piece in enumerate(low):
        if index >= len(high) or piece != high[index]:
            return low[:index]
    return low
