"""Suggestions: the candidate that a misspelt word most likely stands for."""

from __future__ import annotations

from collections.abc import Iterable

# The distance is quadratic in the length; nobody misspells by a letter or two what is longer than this.
_LONGEST = 64


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to the word, or None when none is near.

    Near means: equal but for upper and lower case, or within an edit distance of a third of the word's length (at
    least one edit) that leaves a letter in common. Of equally near candidates the alphabetically first is taken.
    """
    folded = word.casefold()
    limit = max(1, len(word) // 3)
    best: tuple[int, str] | None = None
    for candidate in candidates:
        distance = _distance_within(folded, candidate.casefold(), limit)
        if distance is not None and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best and best[1]


def _distance_within(word: str, other: str, limit: int) -> int | None:
    if word == other:
        return 0
    longer = max(len(word), len(other))
    if longer > _LONGEST or abs(len(word) - len(other)) > limit:
        return None
    distance = _edit_distance(word, other)
    return distance if distance <= limit and distance < longer else None


def _edit_distance(word: str, other: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn one word into the other."""
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(word, start=1):
        current = [row]
        for column, target in enumerate(other, start=1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != target))
            is_swap = row > 1 and column > 1 and letter == other[column - 2] and word[row - 2] == target
            if is_swap:
                cost = min(cost, before_last[column - 2] + 1)
            current.append(cost)
        before_last, last = last, current
    return last[-1]
