"""The rule of "did you mean"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resdsl.suggest import closest

WORDS = st.text("abcXY_1", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("word", "candidates", "expected"),
    [
        ("filtres", ["filters", "filter"], "filters"),
        ("Stride", ["strides", "stride"], "stride"),
        ("chekc", ["check", "train"], "check"),
        ("x", ["y"], None),
        ("xy", ["xz"], "xz"),
        ("bottle", ["bottleneck"], None),
        ("basik", ["basil", "basic"], "basic"),
        ("anything", [], None),
        ("", ["a"], None),
        ("a" * 100_000, ["b" * 100_000, "A" * 100_000], "A" * 100_000),
    ],
)
def test_examples(word: str, candidates: list[str], expected: str | None) -> None:
    assert closest(word, candidates) == expected


@given(WORDS, st.lists(WORDS))
def test_order_of_candidates_does_not_matter(word: str, candidates: list[str]) -> None:
    assert closest(word, candidates) == closest(word, sorted(candidates))


@given(WORDS, st.lists(WORDS))
def test_a_candidate_that_differs_in_case_only_wins(word: str, candidates: list[str]) -> None:
    guess = closest(word, [*candidates, word.swapcase()])
    assert guess is not None
    assert guess.casefold() == word.casefold()
