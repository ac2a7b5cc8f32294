"""Map sizes as functions of a free size: arithmetic against brute force and, as a second opinion, sympy."""

from __future__ import annotations

import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from resdsl.sizes import Amount, Size, at, first_difference, product, resize

STEPS = st.lists(st.tuples(st.integers(1, 5), st.integers(-9, 9), st.integers(1, 5)), max_size=3)
QUICK = settings(max_examples=150, deadline=None, derandomize=True)
FAR = 4000


def sized(steps: list[tuple[int, int, int]]) -> Size:
    size = Size("S")
    for step in steps:
        size = size.apply(*step)
    return size


def brute(steps: list[tuple[int, int, int]], value: int) -> int:
    for m, a, d in steps:
        value = (m * value + a) // d
    return value


@QUICK
@given(STEPS, st.integers(-50, 500))
def test_a_chain_computes_what_its_steps_compute(steps: list[tuple[int, int, int]], value: int) -> None:
    assert sized(steps).at(value) == brute(steps, value)


@QUICK
@given(STEPS, st.integers(1, 300))
def test_the_text_of_a_size_is_the_expression(steps: list[tuple[int, int, int]], value: int) -> None:
    """What summaries show can be evaluated by whoever reads it; sympy knows floor division."""
    symbol = sympy.Symbol("S", integer=True)
    expression = sympy.sympify(str(sized(steps)), locals={"S": symbol})
    assert expression.subs(symbol, value) == brute(steps, value)


@QUICK
@given(STEPS, st.integers(-3, 40))
def test_least_for_is_the_smallest_size_that_reaches_a_bound(steps: list[tuple[int, int, int]], bound: int) -> None:
    size = sized(steps)
    least = size.least_for(bound)
    assert size.at(least) >= bound > size.at(least - 1)


@QUICK
@given(STEPS, STEPS, st.integers(1, 20))
def test_first_difference(left: list[tuple[int, int, int]], right: list[tuple[int, int, int]], least: int) -> None:
    found = first_difference(sized(left), sized(right), least)
    differing = next((v for v in range(least, FAR) if brute(left, v) != brute(right, v)), None)
    assert found == differing


@QUICK
@given(STEPS, st.integers(1, 6), st.integers(1, 4))
def test_equal_functions_in_other_words_never_differ(
    steps: list[tuple[int, int, int]], times: int, divide: int
) -> None:
    """Enlarging before a division that undoes it changes nothing."""
    detour = sized(steps).apply(times, 0, 1).apply(1, 0, times)
    assert detour == sized(steps)
    assert (
        first_difference(sized(steps).apply(1, 0, divide).apply(1, 0, 2), sized(steps).apply(1, 0, 2 * divide)) is None
    )


@QUICK
@given(STEPS, st.integers(1, 60))
def test_a_known_size_against_a_free_one(steps: list[tuple[int, int, int]], known: int) -> None:
    differing = next(v for v in range(1, FAR) if brute(steps, v) != known)
    assert first_difference(sized(steps), known) == first_difference(known, sized(steps)) == differing
    assert first_difference(known, known) is None
    assert first_difference(known, known + 1, 7) == 7


def test_sizes_over_two_symbols_differ_everywhere() -> None:
    assert first_difference(Size("H"), Size("W"), 5) == 5
    assert Size("H") != Size("W")


def test_a_period_too_long_to_search_counts_as_different() -> None:
    long = Size("S")
    for _ in range(9):
        long = long.apply(2, 1, 7)
    assert first_difference(long, long + 1, 3) == 3
    assert first_difference(long, long, 3) is None


@QUICK
@given(st.lists(STEPS, min_size=1, max_size=3), st.integers(1, 40), st.integers(0, 9))
def test_amounts_add_and_multiply(chains: list[list[tuple[int, int, int]]], value: int, factor: int) -> None:
    total: int | Amount = 5
    expected = 5
    for steps in chains:
        total = total + product((3, sized(steps), sized(steps))) * factor
        expected += 3 * brute(steps, value) ** 2 * factor
    found = total.at(S=value) if isinstance(total, Amount) else total
    assert found == expected


def test_resize_of_known_and_free_sizes() -> None:
    assert resize(225, 1, 1, 2) == 113
    assert at(resize(Size("H"), 1, 1, 2), 225) == 113
    assert str(resize(resize(Size("H"), 1, 1, 2), 1, 1, 2)) == "(H+3)//4"
    assert str(Size("H").apply(2, -1, 3)) == "(2*H-1)//3"
