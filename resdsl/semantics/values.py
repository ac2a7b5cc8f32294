"""The values that expressions have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

from resdsl.ops import OpSpec, value_text
from resdsl.sizes import Size
from resdsl.source import Span
from resdsl.syntax import tree


class Poison:
    """The value of an expression in which a mistake was already reported: it causes no further reports."""

    def __repr__(self) -> str:
        return "POISON"


POISON = Poison()


@dataclass(frozen=True, slots=True)
class Ref:
    """A block, a shortcut or an op named as a value, with arguments when it was written as a call.

    `arguments` are (name or None, value, place) in the order written.
    """

    name: str
    target: tree.Block | tree.Shortcut | OpSpec
    arguments: tuple[tuple[str | None, Value, Span], ...] = ()

    def __str__(self) -> str:
        return self.name

    def key(self) -> tuple[object, ...]:
        """What decides which shapes and ops it makes; places do not."""
        return (self.target, *((name, key_of(value)) for name, value, _ in self.arguments))


@dataclass(frozen=True, slots=True)
class Word:
    """A name that is neither a value nor a definition: right only where a word is asked for, such as `at = both`."""

    name: str
    span: Span

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class NoShortcut:
    """The value of `none`."""

    def __str__(self) -> str:
        return "none"


NONE = NoShortcut()

Value = Union[int, float, bool, str, tuple[Any, ...], Size, Ref, Word, NoShortcut, Poison]


def key_of(value: Value) -> object:
    """A hashable stand-in under which two values are the same only if they mean the same (`1` is not `true`)."""
    match value:
        case Ref():
            return value.key()
        case Word():
            return ("word", value.name)
        case tuple():
            return tuple(key_of(item) for item in value)
        case _:
            return (type(value), value)


def count_of(value: Value) -> int:
    """How many values a value is made of."""
    match value:
        case tuple():
            return len(value) + sum(count_of(item) for item in value if isinstance(item, (tuple, Ref)))
        case Ref():
            return 1 + sum(count_of(item) for _, item, _ in value.arguments)
    return 1


def describe(value: Value) -> str:
    """A value in a sentence: `the number 3`, `the name B`."""
    match value:
        case bool():
            return f"`{value_text(value)}`"
        case int() | float():
            return f"the number {value_text(value)}"
        case str():
            return f'the text "{value[:30]}"'
        case Size():
            return f"the free size {value}"
        case tuple():
            return f"the list or size {value_text(value)}"
        case Word():
            return f"the name `{value.name}`"
        case Ref():
            is_block, is_shortcut = isinstance(value.target, tree.Block), isinstance(value.target, tree.Shortcut)
            return f"the {'block' if is_block else 'shortcut' if is_shortcut else 'step'} `{value.name}`"
    return f"`{value}`"


def is_number(value: Value) -> bool:
    """Whether a value is a number; `true` and `false` are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Value) -> str | int | float | bool | tuple[Any, ...]:
    """A value as data for records: names become their text."""
    match value:
        case Ref() | Word():
            return value.name
        case tuple():
            return tuple(plain(item) for item in value)
    return value if isinstance(value, (int, float, str)) else str(value)
