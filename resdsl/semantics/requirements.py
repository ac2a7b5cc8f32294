"""What a network or block requires of its arguments and its place: `require size >= 32, "as in Keras"`."""

from __future__ import annotations

from collections.abc import Iterator

from resdsl.diagnostics import Mistake
from resdsl.ops import value_text
from resdsl.semantics.evaluate import Evaluator
from resdsl.semantics.scope import Scope
from resdsl.semantics.values import Poison
from resdsl.syntax import tree


def is_met(evaluator: Evaluator, requirement: tree.Require, scope: Scope) -> bool:
    """Whether a requirement holds; False after a report."""
    truth = evaluator.truth(requirement.condition, scope)
    if truth is True:
        return True
    if not isinstance(truth, Poison):
        facts = {
            "condition": requirement.condition.span.text,
            "values": _values(evaluator, requirement.condition, scope),
            "reason": None if requirement.reason is None else str(requirement.reason.value),
        }
        evaluator.problems.add(Mistake("R0505", requirement.condition.span, facts))
    return False


def _values(evaluator: Evaluator, condition: tree.Expr, scope: Scope) -> str:
    """What the names of a condition stand for: `size is 16`."""
    found = {name.name: value_text(evaluator.evaluate(name, scope)) for name in _names(condition)}
    return ", ".join(f"{name} is {value}" for name, value in found.items() if value != name) or "it does not hold"


def _names(expr: tree.Expr) -> Iterator[tree.Name]:
    match expr:
        case tree.Name():
            yield expr
        case tree.Grouped():
            yield from _names(expr.inner)
        case tree.Operation():
            for operand in expr.operands:
                yield from _names(operand)
        case tree.Index():
            yield from _names(expr.base)
            yield from _names(expr.index)
        case tree.ListExpr():
            for item in expr.items:
                yield from _names(item)
        case tree.Call(arguments=tuple() as arguments):
            for argument in arguments:
                yield from _names(argument.value)
