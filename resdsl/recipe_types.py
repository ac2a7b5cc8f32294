"""What recipes are made of: values, calls, and the forms that describe them; recipe_schema.py has the forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resdsl.records import Record

MAX_SEED = 2**62  # the largest number that a spec can hold: recipes are recorded as text of the language

Value = int | float | bool | str | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Call:
    """A word with its arguments, in the order of its form: sgd(lr = 0.1), pad(pixels = 4), flip."""

    name: str
    args: tuple[tuple[str, Value], ...] = ()

    def __getitem__(self, arg: str) -> Value:
        """The argument's value. Raises KeyError where the call does not hold it."""
        return dict(self.args)[arg]

    def integer(self, arg: str) -> int:
        """An argument of kind "int"."""
        value = self[arg]
        assert isinstance(value, int)
        return value

    def number(self, arg: str) -> float:
        """An argument of kind "float"."""
        value = self[arg]
        assert isinstance(value, int | float)
        return float(value)

    def integers(self, arg: str) -> tuple[int, ...]:
        """An argument of kind "ints"."""
        value = self[arg]
        assert isinstance(value, tuple)
        return value

    def with_args(self, **changes: Value) -> Call:
        """The same call with other values for some of its arguments."""
        return Call(self.name, tuple((name, changes.get(name, value)) for name, value in self.args))

    def to_text(self) -> str:
        """The call as the language writes it."""
        given = ", ".join(f"{name} = {value_text(value)}" for name, value in self.args if value is not None)
        return f"{self.name}({given})" if given else self.name


SettingValue = Value | Call | tuple[Call, ...]


class Arg(Record):
    """One argument, or the value of a plain setting. `default` None without `required` means: may be left out."""

    name: str
    kind: str  # "int", "float" (an int will do), "bool", "choice", "ints"
    doc: str
    default: Value = None
    required: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None  # the smallest value allowed
    above: float | None = None  # values must be larger than this
    below: float | None = None  # values must be smaller than this
    most: float | None = None  # the largest value allowed


class Form(Record):
    """One name that a setting accepts, with its arguments."""

    name: str
    doc: str
    args: tuple[Arg, ...] = ()

    def bind(self, given: Call) -> Call:
        """The call with every argument of the form present, defaults filled in, in the form's order."""
        known = dict(given.args)
        return Call(self.name, tuple((arg.name, known.get(arg.name, arg.default)) for arg in self.args))


class Setting(Record):
    """One line of a `train` block: what may follow the word, and what holds where the line is missing."""

    word: str
    shape: str  # "value", "call", "chain" or "self"; see the head of this file
    doc: str
    example: str
    value: Arg | None = None  # for shape "value"
    forms: tuple[Form, ...] = ()  # for the other shapes
    default: SettingValue = None
    required: bool = False

    def form(self, name: str) -> Form | None:
        """The form of that name, if the setting accepts it."""
        return next((form for form in self.forms if form.name == name), None)


def value_fault(arg: Arg, value: Value) -> str:
    """What is wrong with `value` for this argument, as one sentence without a full stop; "" where it fits."""
    if _is_kind(arg, value) and _is_in_range(arg, value):
        return ""
    return f"`{arg.name}` must be {_wanted(arg)}, not {value_text(value)}"


def value_text(value: Value) -> str:
    """A value as the language writes it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() if value >= 1000 and value % 1000 == 0:
            return f"{value // 1000}k"
        case tuple():
            return f"[{', '.join(value_text(item) for item in value)}]"
        case _:
            return str(value)


LARGEST = 1.7e308  # beyond it an integer has no float; nan and infinity fail the comparison too

_KINDS: dict[str, Callable[[Value], bool]] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST,
    "bool": lambda value: isinstance(value, bool),
    "choice": lambda value: isinstance(value, str),
    "ints": lambda value: isinstance(value, tuple) and len(value) > 0 and all(type(item) is int for item in value),
}


def _is_kind(arg: Arg, value: Value) -> bool:
    return _KINDS[arg.kind](value) and (not arg.choices or value in arg.choices)


def _is_in_range(arg: Arg, value: Value) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return all(
        (arg.least is None or item >= arg.least)
        and (arg.above is None or item > arg.above)
        and (arg.below is None or item < arg.below)
        and (arg.most is None or item <= arg.most)
        for item in items
        if isinstance(item, int | float)
    )


def _wanted(arg: Arg) -> str:
    if arg.choices:
        return "one of " + ", ".join(arg.choices)
    ints = "a list of integers such as [32k, 48k]"
    nouns = {"int": "an integer", "float": "a number", "bool": "true or false", "ints": ints}
    bounds = [
        f"{words} {bound:g}" if bound < 1e6 else f"{words} {bound}"
        for words, bound in (("at least", arg.least), ("above", arg.above), ("below", arg.below), ("at most", arg.most))
        if bound is not None
    ]
    return ", ".join(part for part in (nouns.get(arg.kind, arg.kind), " and ".join(bounds)) if part)
