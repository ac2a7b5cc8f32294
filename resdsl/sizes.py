"""Map sizes as functions of a free input size: exact, without a computer algebra system.

Every step of a convolutional network changes a map size by `(m * size + a) // d` with `m, d >= 1`: convolutions and
pools (also with the ceiling), padding, subsampling, upsampling, transposed convolutions. A `Size` is a chain of such
steps over one symbol, kept in a normal form. Two chains are equal for all sizes when their normal forms are equal or,
because each is linear plus something periodic, when they agree over one period and grow alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import Union

MAX_PERIOD = 1 << 16


class Size:
    """A map size that depends on a free one, such as `(H + 31) // 32`. Immutable and hashable."""

    __slots__ = ("steps", "symbol")

    def __init__(self, symbol: str, steps: tuple[tuple[int, int, int], ...] = ()) -> None:
        self.symbol = symbol
        self.steps = steps

    def apply(self, multiply: int, add: int, divide: int) -> Size:
        """The size `(multiply * self + add) // divide`, in normal form."""
        steps = list(self.steps)
        m, a, d = multiply, add, divide
        while True:
            common = gcd(m, d)
            m, a, d = m // common, a // common, d // common
            if not steps:
                break
            m0, a0, d0 = steps[-1]
            if m == 1:
                m, a, d = m0, a0 + a * d0, d0 * d
            elif d0 == 1:
                m, a = m * m0, m * a0 + a
            else:
                break
            steps.pop()
        if (m, a, d) != (1, 0, 1):
            steps.append((m, a, d))
        return Size(self.symbol, tuple(steps))

    def at(self, value: int) -> int:
        """The number this size is when the free size is `value`."""
        for m, a, d in self.steps:
            value = (m * value + a) // d
        return value

    def least_for(self, bound: int) -> int:
        """The smallest free size for which this size is at least `bound`."""
        for m, a, d in reversed(self.steps):
            bound = -((a - bound * d) // m)
        return bound

    def period(self) -> int:
        """A number of free sizes after which the remainders of all divisions repeat."""
        product = 1
        for _, _, d in self.steps:
            product *= d
        return product

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.symbol == other.symbol and self.steps == other.steps

    def __hash__(self) -> int:
        return hash((self.symbol, self.steps))

    def __repr__(self) -> str:
        return f"Size({self})"

    def __str__(self) -> str:
        text = self.symbol
        for m, a, d in self.steps:
            if m != 1:
                text = f"{m}*{_grouped(text)}"
            if a:
                text = f"{text}{a:+d}"
            if d != 1:
                text = f"{_grouped(text)}//{d}"
        return text

    def __add__(self, other: int) -> Size:
        return self.apply(1, other, 1)

    def __sub__(self, other: int) -> Size:
        return self.apply(1, -other, 1)

    def __mul__(self, other: int) -> Size:
        return self.apply(other, 0, 1)

    def __floordiv__(self, other: int) -> Size:
        return self.apply(1, 0, other)


Extent = Union[int, Size]


def _grouped(text: str) -> str:
    return f"({text})" if any(sign in text for sign in "+-*/") else text


def resize(extent: Extent, multiply: int, add: int, divide: int) -> Extent:
    """`(multiply * extent + add) // divide` for a known or a free size."""
    if isinstance(extent, int):
        return (multiply * extent + add) // divide
    return extent.apply(multiply, add, divide)


def at(extent: Extent, value: int) -> int:
    """The number an extent is when the free size is `value`."""
    return extent if isinstance(extent, int) else extent.at(value)


def first_difference(left: Extent, right: Extent, least: int = 1) -> int | None:
    """The smallest free size from `least` on at which two sizes differ, or None when they never do.

    Sizes over different symbols, and sizes whose total stride is beyond MAX_PERIOD, count as different from `least` on
    unless their normal forms are equal.
    """
    if left == right:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return least
    symbols = {extent.symbol for extent in (left, right) if isinstance(extent, Size)}
    period = 1
    for extent in (left, right):
        if isinstance(extent, Size):
            period *= extent.period() // gcd(period, extent.period())
    if len(symbols) > 1 or period > MAX_PERIOD:
        return least
    # Both sides are linear plus periodic: equal on two points a period apart and on all between means equal for ever.
    for value in range(least, least + period + 1):
        if at(left, value) != at(right, value):
            return value
    return None


class Amount:
    """A count that depends on free sizes: whole multiples of products of sizes, summed. Immutable."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[tuple[Size, ...], int]) -> None:
        self.terms = terms

    def __add__(self, other: int | Amount) -> Amount:
        terms = dict(self.terms)
        for key, factor in other.terms.items() if isinstance(other, Amount) else (((), other),):
            terms[key] = terms.get(key, 0) + factor
        return Amount({key: factor for key, factor in terms.items() if factor})

    __radd__ = __add__

    def __mul__(self, factor: int) -> Amount:
        return Amount({key: value * factor for key, value in self.terms.items()})

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Amount) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def at(self, **values: int) -> int:
        """The number this amount is for given free sizes."""
        total = 0
        for key, factor in self.terms.items():
            for size in key:
                factor *= size.at(values[size.symbol])
            total += factor
        return total

    def __str__(self) -> str:
        parts = ["*".join([str(factor), *map(_factor_text, key)]) for key, factor in self.terms.items()]
        return " + ".join(parts) or "0"


def _factor_text(size: Size) -> str:
    text = str(size)
    return text if text.isidentifier() else f"({text})"


def total_of(counts: Iterable[int | Amount]) -> int | Amount:
    """The sum of counts: a number, or an amount where one depends on a free size."""
    terms: dict[tuple[Size, ...], int] = {}
    for count in counts:
        for key, factor in count.terms.items() if isinstance(count, Amount) else (((), count),):
            terms[key] = terms.get(key, 0) + factor
    known = terms.pop((), 0)
    terms = {key: factor for key, factor in terms.items() if factor}
    if not terms:
        return known
    return Amount({**terms, (): known} if known else terms)


def product(extents: tuple[Extent, ...]) -> int | Amount:
    """The product of extents: a number, or an amount where one is free."""
    factor = 1
    free: list[Size] = []
    for extent in extents:
        if isinstance(extent, int):
            factor *= extent
        else:
            free.append(extent)
    return Amount({tuple(free): factor}) if free else factor
