"""Stages that halve their map at the end: only the last of their blocks strides, as in Keras' preactivation nets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resdsl.semantics.scope import Scope
from resdsl.semantics.values import Poison, Ref
from resdsl.syntax import tree

if TYPE_CHECKING:
    from resdsl.semantics.steps import StepResolver


def run_halving_at_end(
    resolver: StepResolver, statements: tuple[tree.Statement, ...], stride: tuple[int, int], scope: Scope
) -> None:
    """Run statements of which the last block strides; what stands behind it, such as a ReLU, strides no more."""
    around = scope.context
    still = replace(around, stride=(1, 1), last_stride=None)
    last = _last(statements, scope)
    for number, statement in enumerate(statements):
        scope.context = still
        if number != last:
            resolver.run_statement(statement, scope)
        elif isinstance(statement, tree.If):
            _run_condition(resolver, statement, stride, scope)
        elif isinstance(statement, tree.Chain):
            _run_chain(resolver, statement, stride, scope)
    scope.context = around


def _run_condition(resolver: StepResolver, statement: tree.If, stride: tuple[int, int], scope: Scope) -> None:
    condition = resolver.evaluator.truth(statement.condition, scope)
    if isinstance(condition, Poison):
        scope.flow = scope.region.poison()
        return
    body = statement.then if condition else statement.otherwise
    if body is not None:
        run_halving_at_end(resolver, body.statements, stride, scope)


def _run_chain(resolver: StepResolver, chain: tree.Chain, stride: tuple[int, int], scope: Scope) -> None:
    still = scope.context
    last = max((i for i, step in enumerate(chain.steps) if _is_block(step, scope)), default=len(chain.steps) - 1)
    for number, step in enumerate(chain.steps):
        scope.context = still
        if number == last and isinstance(step, tree.Repeat):
            scope.context = replace(still, last_stride=stride)
        elif number == last:
            scope.context = replace(still, stride=stride)
        resolver.run_step(step, scope)


def _last(statements: tuple[tree.Statement, ...], scope: Scope) -> int:
    """Which statement has the last block; without a block, the last of all."""
    return max(
        (number for number, statement in enumerate(statements) if _has_block(statement, scope)),
        default=len(statements) - 1,
    )


def _has_block(statement: tree.Statement, scope: Scope) -> bool:
    match statement:
        case tree.Chain():
            return any(_is_block(step, scope) for step in statement.steps)
        case tree.If():
            bodies = (statement.then, statement.otherwise)
            return any(_has_block(inner, scope) for body in bodies if body is not None for inner in body.statements)
    return False


def _is_block(step: tree.Step, scope: Scope) -> bool:
    if isinstance(step, tree.Apply):
        name = step.call.callee.name
        found = scope.values.get(name) or scope.definitions.find(name)
        return isinstance(found, Ref) and isinstance(found.target, tree.Block)
    return isinstance(step, (tree.Repeat, tree.Group))
