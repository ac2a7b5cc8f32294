"""Numbers in which the uses of a block differ become the parameters of its class, named after what they are."""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field

from resdsl.emit.source_calls import number_text

Column = tuple[float, ...]
_ONE_BY_DEFAULT = frozenset({"stride", "dilation", "groups"})
_TAKEN = frozenset({"self", "x", "index", "torch", "nn", "F"})


@dataclass(frozen=True, slots=True)
class Hole:
    """A number of a class's text: what it is, of which step, and its value in each use of the block."""

    kind: str
    path: str
    values: Column

    @property
    def is_varying(self) -> bool:
        """Whether the uses differ in it."""
        return any(value != self.values[0] for value in self.values)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a class with its value in each use."""

    name: str
    kind: str
    values: Column
    default: int | None = None

    @property
    def annotation(self) -> str:
        """Its type."""
        return "int" if all(isinstance(value, int) for value in self.values) else "float"


@dataclass(slots=True)
class _Solution:
    texts: dict[tuple[str, Column], str] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)

    def add(self, name: str, kind: str, values: Column) -> str:
        used = {parameter.name for parameter in self.parameters} | _TAKEN
        base = f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name
        name, number = base, 2
        while name in used:
            name, number = f"{base}{number}", number + 1
        default = 1 if kind in _ONE_BY_DEFAULT and 1 in values else None
        self.parameters.append(Parameter(name, kind, values, default))
        self.texts[kind, values] = name
        return name


def find_parameters(holes: list[Hole], inputs: Column, outputs: Column) -> tuple[list[str], list[Parameter]]:
    """The text of each hole, and the parameters that the texts mention.

    `inputs` and `outputs` are the channels of the block's input and output in each use. Holes with equal values share
    a parameter; widths that are multiples of another one, and the zeros that pad up to one, are written as such.
    """
    solution = _Solution()
    _find_channels(holes, inputs, outputs, solution)
    _find_strides(holes, solution)
    rest = [hole for hole in holes if hole.is_varying and (hole.kind, hole.values) not in solution.texts]
    for hole in rest:
        key = (hole.kind, hole.values)
        if key in solution.texts:
            continue
        text = _text_from_channels(hole, solution)
        if text is not None:
            solution.texts[key] = text
            continue
        is_only = len({other.values for other in rest if other.kind == hole.kind}) == 1
        solution.add(hole.kind if is_only else f"{_word(hole.path)}_{hole.kind}", *key)
    texts = [solution.texts.get((hole.kind, hole.values)) or number_text(hole.values[0]) for hole in holes]
    order = sorted(solution.parameters, key=lambda found: (found.kind != "channels", found.default is not None))
    return texts, order


def _word(path: str) -> str:
    return "_".join(word for word in path.split(".") if not word.isdigit()) or "layer"


# --- channels ------------------------------------------------------------------------------------------------------


def _find_channels(holes: list[Hole], inputs: Column, outputs: Column, solution: _Solution) -> None:
    groups: dict[Column, list[Hole]] = {}
    for hole in holes:
        if hole.kind == "channels" and hole.is_varying:
            groups.setdefault(hole.values, []).append(hole)
    bases: list[Column] = []
    derived: dict[Column, tuple[Column, str]] = {}
    for values in sorted(groups, key=lambda column: -len(groups[column])):
        # What a block happens to be given says nothing about its own widths.
        is_input_only = values == inputs and values != outputs
        known = [base for base in bases if base != inputs or base == outputs]
        factor = None if is_input_only else _factor_of(values, known)
        if factor is None:
            bases.append(values)
        else:
            derived[values] = factor
    for values in sorted(bases, key=lambda base: (base != inputs, list(groups).index(base))):
        solution.add(_channels_name(values, bases, inputs, outputs, groups[values][0]), "channels", values)
    for values, (base, operation) in derived.items():
        solution.texts["channels", values] = solution.texts["channels", base] + operation


def _factor_of(values: Column, bases: list[Column]) -> tuple[Column, str] | None:
    for base in bases:
        for large, small, sign in ((values, base, "*"), (base, values, "//")):
            ratios = {divmod(a, b) for a, b in zip(large, small, strict=True)}
            if len(ratios) == 1:
                ((ratio, remainder),) = ratios
                if remainder == 0 and ratio >= 2:
                    return base, f" {sign} {ratio}"
    return None


def _channels_name(values: Column, bases: list[Column], inputs: Column, outputs: Column, first: Hole) -> str:
    if values == inputs:
        return "channels" if values == outputs else "in_channels"
    inner = [base for base in bases if base != inputs]
    if len(inner) == 1 or values == outputs:
        return "channels" if inputs != outputs or inputs not in bases else "width"
    return f"{_word(first.path)}_channels"


# --- the rest ------------------------------------------------------------------------------------------------------


def _find_strides(holes: list[Hole], solution: _Solution) -> None:
    """A stride that all uses share is a parameter, too, so that one sees where the map shrinks."""
    columns = {hole.values for hole in holes if hole.kind == "stride" and (hole.is_varying or hole.values[0] != 1)}
    if solution.parameters and len(columns) == 1:
        solution.add("stride", "stride", columns.pop())


def _text_from_channels(hole: Hole, solution: _Solution) -> str | None:
    """Groups as many as channels, zeros for the missing channels: `channels - in_channels`."""
    channels = [(values, text) for (kind, values), text in solution.texts.items() if kind == "channels"]
    if hole.kind in {"groups", "shape"}:
        return next((text for values, text in channels if values == hole.values), None)
    if hole.kind != "pad":
        return None
    for large, more in channels:
        for small, less in channels:
            missing = [a - b for a, b in zip(large, small, strict=True)]
            if missing == list(hole.values):
                return f"{more} - {less}"
            if [count // 2 for count in missing] == list(hole.values):
                return f"({more} - {less}) // 2"
    return None
