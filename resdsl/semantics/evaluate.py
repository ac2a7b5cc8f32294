"""Expressions to values. A mistake is reported where it is, and its value is poison."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Protocol

from resdsl.diagnostics import Mistake, Problems
from resdsl.semantics.values import (
    NONE,
    POISON,
    NoShortcut,
    Poison,
    Ref,
    Value,
    Word,
    count_of,
    describe,
    is_number,
)  # fmt: skip
from resdsl.sizes import Size
from resdsl.source import Span
from resdsl.suggest import closest
from resdsl.syntax import tree

LARGEST = 1 << 62
MAX_VALUES = 10_000


class Names(Protocol):
    """Where a name is looked up: parameters, then what the place in the network gives, then definitions."""

    def lookup(self, name: str, span: Span) -> Value | None:
        """The value of a name, POISON after reporting why it has none here, None where it is unknown."""

    def known(self) -> Iterable[str]:
        """All names that would be found, for suggestions."""


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _rounded(value: float) -> int:
    """To the nearest whole number, halves up, as papers mean it (Python's round goes to even)."""
    return math.floor(value + 0.5)


FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "round": _rounded,
    "floor": math.floor,
    "ceil": math.ceil,
    "sum": lambda *values: sum(values),
    "len": lambda *values: len(values),
}
_OVER_MANY = frozenset({"min", "max", "sum", "len"})


class Evaluator:
    """Evaluates expressions of one program, reporting into its problems."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def evaluate(self, expr: tree.Expr, names: Names) -> Value:
        """The value of an expression; POISON after a report."""
        match expr:
            case tree.Literal():
                return expr.value
            case tree.Name():
                return self._name(expr.name, expr.span, names)
            case tree.Grouped():
                return self.evaluate(expr.inner, names)
            case tree.ListExpr():
                items = tuple(self.evaluate(item, names) for item in expr.items)
                return POISON if any(item is POISON for item in items) else self._checked(expr, items)
            case tree.Operation():
                return self._operation(expr, names)
            case tree.Conditional():
                return self._conditional(expr, names)
            case tree.Index():
                return self._index(expr, names)
            case tree.Call():
                return self._call(expr, names)

    def _checked(self, expr: tree.Expr, value: Value) -> Value:
        """A value made of others, refused where it holds too many: lists of lists can double with every block."""
        if count_of(value) <= MAX_VALUES:
            return value
        self.problems.report("R0208", expr.span, what=f"has more than {MAX_VALUES:,} values")
        return POISON

    def truth(self, expr: tree.Expr, names: Names) -> bool | Poison:
        """The value of a condition."""
        value = self.evaluate(expr, names)
        if isinstance(value, (bool, Poison)):
            return value
        return self._wrong(expr, value, "a condition (true or false)")

    def integer(self, expr: tree.Expr, names: Names, wanted: str = "a whole number") -> int | Poison:
        """The value of an expression that must be a whole number."""
        value = self.evaluate(expr, names)
        if isinstance(value, Poison):
            return POISON
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return self._wrong(expr, value, wanted)

    def wrong_kind(self, span: Span, value: Value, wanted: str, names: Names | None = None) -> Poison:
        """Report a value of the wrong kind; a word that is nobody's name is an unknown name instead."""
        if isinstance(value, Word):
            return self.unknown_name(value.name, value.span, names)
        if isinstance(value, Size):
            self.problems.report("R0210", span, size=str(value), wanted=wanted)
        else:
            self.problems.report("R0205", span, found=describe(value), wanted=wanted)
        return POISON

    def unknown_name(self, name: str, span: Span, names: Names | None) -> Poison:
        """Report a name that nothing defines."""
        guess = closest(name, names.known()) if names is not None else None
        self.problems.report("R0201", span, name=name, guess=guess)
        return POISON

    def _wrong(self, expr: tree.Expr, value: Value, wanted: str) -> Poison:
        return self.wrong_kind(expr.span, value, wanted)

    def _name(self, name: str, span: Span, names: Names) -> Value:
        if name == "none":
            return NONE
        value = names.lookup(name, span)
        return Word(name, span) if value is None else value

    def _known(self, value: Value, names: Names) -> Value:
        """A value an operator works on: here a word that nothing defines is a mistake."""
        return self.unknown_name(value.name, value.span, names) if isinstance(value, Word) else value

    def _operation(self, expr: tree.Operation, names: Names) -> Value:
        sign = expr.operator
        if sign in ("and", "or", "not"):
            return self._logic(expr, names)
        values = [self.evaluate(operand, names) for operand in expr.operands]
        if sign in ("==", "!="):
            return self._equality(expr, values, names)
        values = [self._known(value, names) for value in values]
        if any(isinstance(value, Poison) for value in values):
            return POISON
        for operand, value in zip(expr.operands, values, strict=True):
            if isinstance(value, Size) and sign in ("+", "-", "*", "//"):
                continue
            if not is_number(value):
                return self._wrong(operand, value, "a number")
        if len(values) == 1:
            return self._compute(expr, lambda: -values[0])  # type: ignore[operator]
        left, right = values
        if sign in _ORDER:
            return _ORDER[sign](left, right)  # type: ignore[arg-type]
        if isinstance(left, Size) or isinstance(right, Size):
            return self._sized(expr, sign, left, right)
        return self._compute(expr, lambda: _ARITHMETIC[sign](left, right))  # type: ignore[arg-type]

    def _equality(self, expr: tree.Operation, values: list[Value], names: Names) -> Value:
        """Words are values, as in `option == A`; but one that only this comparison knows equals nothing else."""
        left, right = values
        for operand, value, other in ((expr.operands[0], left, right), (expr.operands[1], right, left)):
            is_written_here = isinstance(value, Word) and value.span == operand.span
            if is_written_here and not isinstance(other, (Word, Ref, NoShortcut, Poison)):
                values = [self._known(value, names), other]
        if POISON in values:
            return POISON
        return _same(left, right) == (expr.operator == "==")

    def _sized(self, expr: tree.Operation, sign: str, left: Value, right: Value) -> Value:
        if isinstance(right, Size) and isinstance(left, int) and sign in ("+", "*"):
            left, right = right, left
        if not isinstance(left, Size) or not isinstance(right, int) or (sign in ("*", "//") and right < 1):
            free = left if isinstance(left, Size) else right
            return self._wrong(expr, free, "a known number")
        match sign:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
        return left // right

    def _compute(self, expr: tree.Expr, compute: Callable[[], float]) -> Value:
        try:
            result = compute()
        except ZeroDivisionError:
            self.problems.report("R0208", expr.span, what="divides by zero")
            return POISON
        except (OverflowError, ValueError):
            self.problems.report("R0208", expr.span, what="has no finite value")
            return POISON
        if abs(result) > LARGEST or result != result:
            self.problems.report("R0208", expr.span, what="is larger than any number of the language")
            return POISON
        return result

    def _logic(self, expr: tree.Operation, names: Names) -> Value:
        first = self.truth(expr.operands[0], names)
        if isinstance(first, Poison):
            return POISON
        if expr.operator == "not":
            return not first
        if first == (expr.operator == "or"):
            return first
        return self.truth(expr.operands[1], names)

    def _conditional(self, expr: tree.Conditional, names: Names) -> Value:
        condition = self.truth(expr.condition, names)
        if isinstance(condition, Poison):
            return POISON
        return self.evaluate(expr.then if condition else expr.otherwise, names)

    def _index(self, expr: tree.Index, names: Names) -> Value:
        base = self._known(self.evaluate(expr.base, names), names)
        position = self.integer(expr.index, names)
        if isinstance(base, Poison) or isinstance(position, Poison):
            return POISON
        if not isinstance(base, tuple):
            return self._wrong(expr.base, base, "a list")
        if not 0 <= position < len(base):
            items = f"items 0 to {len(base) - 1}" if base else "no items"
            self.problems.report("R0211", expr.index.span, index=position, items=items)
            return POISON
        value: Value = base[position]
        return value

    def _call(self, expr: tree.Call, names: Names) -> Value:
        name = expr.callee.name
        arguments = expr.arguments or ()
        target = names.lookup(name, expr.callee.span)
        if isinstance(target, Ref):
            given = tuple(
                (None if arg.name is None else arg.name.name, self.evaluate(arg.value, names), arg.span)
                for arg in arguments
            )
            if any(value is POISON for _, value, _ in given):
                return POISON
            return self._checked(expr, Ref(target.name, target.target, target.arguments + given))
        if name not in FUNCTIONS:
            if target is not None:
                return self._wrong(expr, target, "something that can be called")
            guess = closest(name, (*FUNCTIONS, *names.known()))
            self.problems.add(Mistake("R0201", expr.callee.span, {"name": name, "guess": guess}))
            return POISON
        return self._function(expr, name, arguments, names)

    def _function(self, expr: tree.Call, name: str, arguments: tuple[tree.Argument, ...], names: Names) -> Value:
        values = [self._known(self.evaluate(arg.value, names), names) for arg in arguments]
        if any(isinstance(value, Poison) for value in values):
            return POISON
        if len(values) == 1 and name in _OVER_MANY and isinstance(values[0], tuple):
            values = list(values[0])
        is_count_right = len(values) > 0 if name in _OVER_MANY else len(values) == 1
        if not is_count_right or any(arg.name for arg in arguments):
            wanted = "one number or more, or a list" if name in _OVER_MANY else "one number"
            self.problems.report("R0204", expr.span, name=name, wanted=wanted)
            return POISON
        for value in values:
            if not is_number(value) and name != "len":
                return self._wrong(expr, value, "a number")
        return self._compute(expr, lambda: FUNCTIONS[name](*values))


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, (Ref, Word)) and isinstance(right, (Ref, Word)):
        return left.name == right.name and getattr(left, "arguments", ()) == getattr(right, "arguments", ())
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return left == right
