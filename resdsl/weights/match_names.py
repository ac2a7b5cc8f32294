"""Names as evidence: their words, their natural order, and the tree that their prefixes form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

_PIECES = re.compile(r"[A-Za-z]+|\d+")
_SEPARATORS = re.compile(r"[./_]+")
# Words that people use for the way around a block, whatever their library: general English, no names of libraries.
_SHORTCUT_WORDS = frozenset("downsample shortcut shortcuts skip sc proj projection identity resample bypass".split())
_GATE_WORDS = frozenset("gate gates gating t se attention".split())

Token = TypeVar("Token")


def path_of(name: str) -> tuple[str, ...]:
    """The steps of a name: `layer1.0.conv1` or `conv2_block1_1_conv`."""
    return tuple(piece for piece in _SEPARATORS.split(name) if piece)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names as people do: `layer2` before `layer10`."""
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece.lower()) for piece in _PIECES.findall(name))


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
