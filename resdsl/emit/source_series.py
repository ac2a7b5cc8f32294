"""Submodules that repeat: equal ones as `for _ in range(3)`, such that differ in a number as a loop over its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from resdsl.emit.source_layout import STEP, Layout, call, flat, packed, prefixed

_SHORTEST_SERIES = 3
_LONGEST_INLINE = 60


@dataclass(frozen=True, slots=True)
class Element:
    """A submodule to be made: its text, and for a block its class, its arguments and the parameters they are for."""

    layout: Layout
    head: str = ""
    arguments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def element_runs(elements: Sequence[Element]) -> list[list[Element]]:
    """Equal neighbours together, and neighbours of one class that differ in their arguments."""
    equal = [list(group) for _, group in groupby(elements, key=lambda made: flat(made.layout))]
    runs: list[list[Element]] = []
    for kind, group in groupby(equal, key=lambda run: (run[0].head, run[0].names) if len(run) == 1 else ("", ())):
        together = list(group)
        if kind[0] and len(together) >= _SHORTEST_SERIES:
            runs.append([run[0] for run in together])
        else:
            runs.extend(together)
    return runs


def _varying(run: Sequence[Element]) -> list[int]:
    columns = zip(*(made.arguments for made in run), strict=True)
    return [position for position, column in enumerate(columns) if len(set(column)) > 1]


@dataclass(slots=True)
class Series:
    """Writes loops in a class whose `__init__` has these parameters; long lists of values get names of their own."""

    parameters: frozenset[str]
    _lists: dict[tuple[str, str], str] = field(default_factory=dict)

    def element(self, run: Sequence[Element]) -> Layout:
        """What is made in each round of the loop over a run."""
        first = run[0]
        varying = _varying(run)
        if not varying:
            return first.layout
        arguments = list(first.arguments)
        for position in varying:
            name = first.names[position]
            variable = self._variable(name)
            arguments[position] = f"{name}={variable}" if "=" in arguments[position] else variable
        return call(first.head, arguments)

    def _variable(self, name: str) -> str:
        return f"each_{name}" if name in self.parameters else name

    def loop(self, run: Sequence[Element], before: list[str], indent: str, start: int | None = None) -> Layout:
        """`for _ in range(3)`; with a start also the index is counted. Lists to be made first go to `before`."""
        varying = _varying(run)
        if not varying:
            if start is None:
                return f"for _ in range({len(run)})"
            return f"for index in range({f'{start}, ' if start else ''}{start + len(run)})"
        values, variables = [], []
        for position in varying:
            name = run[0].names[position]
            column = [made.arguments[position].removeprefix(f"{name}=") for made in run]
            values.append(self._values(name, column, before, indent))
            variables.append(self._variable(name))
        source: Layout = values[0] if len(values) == 1 else call("zip", [*values, "strict=True"])
        together = ", ".join(variables)
        if start is None:
            return prefixed(f"for {together} in ", source)
        together = together if len(variables) == 1 else f"({together})"
        return prefixed(f"for index, {together} in ", call("enumerate", [source, str(start)] if start else [source]))

    def _values(self, name: str, column: list[str], before: list[str], indent: str) -> str:
        arithmetic = _range(column)
        if arithmetic is not None:
            return arithmetic
        text = f"({', '.join(column)})"
        if len(text) <= _LONGEST_INLINE:
            return text
        key = (text, indent)
        if key not in self._lists:
            listed = self._lists[key] = f"{name}_list{len(self._lists) + 1 if self._lists else ''}"
            before.extend([f"{indent}{listed} = (", *packed(column, indent + STEP), f"{indent})  # fmt: skip"])
        return self._lists[key]


def _range(column: list[str]) -> str | None:
    """Whole numbers with equal distances as a range."""
    if not all(text.isdecimal() for text in column):
        return None
    numbers = [int(text) for text in column]
    step = numbers[1] - numbers[0]
    if step <= 0 or any(b - a != step for a, b in pairwise(numbers)):
        return None
    return f"range({numbers[0]}, {numbers[-1] + step}{f', {step}' if step != 1 else ''})"
