"""Entering a block: its parameters, and what a call sets for itself of what its place hands on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resdsl.diagnostics import Mistake
from resdsl.ops import STEPS
from resdsl.semantics.binding import Given, bind_op_arguments, bind_parameters, match_arguments
from resdsl.semantics.scope import CONTEXT_ARGUMENTS, Context, Scope
from resdsl.source import Span
from resdsl.syntax import tree

if TYPE_CHECKING:
    from resdsl.semantics.steps import StepResolver


def enter_block(
    resolver: StepResolver,
    name: str,
    block: tree.Block,
    given: tuple[Given, ...],
    span: Span,
    scope: Scope,
    inner: Scope,
) -> Scope | None:
    """Fill the scope in which a block's body runs: its parameters, and what the place hands on."""
    inner.definitions = resolver.definitions_of(block)
    inner.values = {}
    inner.context = replace(scope.context, stride=scope.owed_stride(), last_stride=None)
    own = [parameter.name.name for parameter in block.parameters]
    matched = match_arguments(name, own, given, resolver.evaluator, span, CONTEXT_ARGUMENTS)
    if matched is None:
        return None
    stated = {word: argument for word, argument in matched.items() if word not in own}
    context = _changed_context(resolver, inner.context, stated, name, scope)
    if context is None:
        return None
    # The rule speaks of what the stage calls, not of what a block calls in turn.
    inner.context = replace(context, filters_place=None)
    # Defaults come last: they may use the filters and the stride that the call sets.
    bound = bind_parameters(name, block.parameters, given, resolver.evaluator, inner, span, CONTEXT_ARGUMENTS)
    return None if bound is None else inner


def _changed_context(
    resolver: StepResolver, context: Context, given: dict[str, Given], callee: str, scope: Scope
) -> Context | None:
    """The context with what a call sets for itself: `basic(filters = 64, stride = 2, shortcut = C)`."""
    if "shortcut" in given:
        context = replace(context, shortcut=(given["shortcut"].value, given["shortcut"].value_span))
    for name in ("filters", "stride"):
        if name not in given:
            continue
        argument = given[name]
        value = _context_number(resolver, argument, name, callee, scope)
        if value is None:
            return None
        if name == "filters" and context.filters_place is not None and value != context.filters:
            facts = {"stated": value, "ruled": context.filters, "callee": callee}
            related = (("rule", context.filters_place, facts),)
            resolver.problems.add(Mistake("R0403", argument.span, facts, related))
            continue
        context = replace(context, **{name: value})
    return context


def _context_number(resolver: StepResolver, argument: Given, name: str, callee: str, scope: Scope) -> Any:
    from_table = STEPS["conv"].args[1 if name == "filters" else 2]
    bound = bind_op_arguments(callee, [from_table], [replace(argument, name=name)], resolver.evaluator, scope,
                              argument.span)  # fmt: skip
    return None if bound is None else bound[name]
