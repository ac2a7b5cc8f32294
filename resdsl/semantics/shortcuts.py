"""Shortcuts: which one is in force, what it makes of its input, and whether the sum fits.

A shortcut is a definition with cases (`same shape -> ...; shape changes -> ...`), a block, or a step; inside it
`filters` are the channels of the branch, and `stride` is how far the branch strides (He et al. 2015, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resdsl.diagnostics import Mistake, Problems
from resdsl.ops import ADD, Op, OpSpec, shape_text
from resdsl.semantics import groups
from resdsl.semantics.binding import Given, bind_parameters, given_arguments
from resdsl.semantics.blocks import enter_block
from resdsl.semantics.model import Link
from resdsl.semantics.naming import open_prefix
from resdsl.semantics.region import Flow, Region
from resdsl.semantics.scope import Context, Scope, unknown_shortcut
from resdsl.semantics.values import NoShortcut, Poison, Ref, Value, Word, describe
from resdsl.source import Span
from resdsl.syntax import tree

if TYPE_CHECKING:
    from resdsl.semantics.steps import StepResolver

Choice = Ref | NoShortcut


@dataclass(frozen=True, slots=True)
class Request:
    """A shortcut to be laid: around what, from where (two places where a preactivation is shared), and which one.

    `choice_span` is `span` where nobody chose; `start_span` is the named place from which a long shortcut comes.
    """

    span: Span
    start: Flow
    changed_start: Flow
    branch: Flow
    choice: Choice
    choice_span: Span
    start_span: Span | None = None


def check_choice(resolver: StepResolver, value: Value, span: Span, scope: Scope) -> Choice | None:
    """The value of a `shortcut` as one; None after a report."""
    match value:
        case Ref() | NoShortcut():
            return value
        case Poison():
            return None
        case Word():
            resolver.problems.add(unknown_shortcut(value.name, value.span, scope.definitions, scope.values))
        case _:
            resolver.problems.report("R0205", span, found=describe(value), wanted="a shortcut")
    return None


def add_shortcut(resolver: StepResolver, request: Request, scope: Scope) -> None:
    """Lay the shortcut and add it to the branch; scope.flow becomes the sum (or the branch, for `none`)."""
    scope.flow = request.branch
    if isinstance(request.choice, NoShortcut):
        return
    carried = carried_flow(resolver, request, scope)
    if carried is None or carried[0].shape is None:
        # Whatever is wrong with the shortcut, the sum would have the branch's shape: what follows can be checked.
        scope.region.is_poisoned = True
        return
    side, is_shape_changed = carried
    link = Link(request.choice.name, request.start.index, is_shape_changed)
    name = scope.region.numbered(scope.prefix, "add")
    resolver.append(name, Op(ADD, {}), (request.branch, side), request.span, scope, link=link)


def carried_flow(resolver: StepResolver, request: Request, scope: Scope) -> tuple[Flow, bool] | None:
    """What arrives through the shortcut, and whether the shape changes; None after a report."""
    is_changed = is_shape_changed(request, scope.region)
    side = _lay(resolver, request, is_changed, scope)
    if side is None or side.shape is None or request.branch.shape is None:
        return None
    differ = groups.differing_sizes(request.branch.shape, side.shape, scope)
    if differ is None:
        spans = (request.span, request.start_span or request.choice_span)
        sides = tuple(zip((request.branch, side), spans, strict=True))
        return None if groups.report_dilations(resolver, request.span, sides, scope) else (side, is_changed)
    _report_misfit(resolver, request, side, differ, scope)
    return None


def is_shape_changed(request: Request, region: Region) -> bool:
    """Whether the branch changes the shape: its channels, its stride or its map."""
    start, branch = request.start.shape, request.branch.shape
    return start != branch or region.geometry(request.start).pace != region.geometry(request.branch).pace


def _lay(resolver: StepResolver, request: Request, is_changed: bool, scope: Scope) -> Flow | None:
    start = request.changed_start if is_changed else request.start
    if request.branch.shape is None or start.shape is None:
        return None
    assert isinstance(request.choice, Ref)
    base = scope.region.geometry(start).pace
    end = scope.region.geometry(request.branch).pace
    stride = tuple(max(1, round(end[axis] / base[axis])) for axis in (0, 1))
    channels = request.branch.shape[0]
    assert isinstance(channels, int)
    name = scope.region.numbered(scope.prefix, "shortcut")
    # Most blocks have one shortcut: it needs no number.
    name = name.removesuffix("1") if name.endswith("shortcut1") else name
    inner = scope.inner(
        flow=start,
        prefix=open_prefix(name, request.span, scope),
        role="shortcut" if scope.role == "trunk" else scope.role,
        context=Context(channels, None, (stride[0], stride[1])),
        stride_base=base,
    )
    return _run(resolver, request, is_changed, inner)


def _run(resolver: StepResolver, request: Request, is_changed: bool, scope: Scope) -> Flow | None:
    choice = request.choice
    assert isinstance(choice, Ref)
    target = choice.target
    given = tuple(Given(name, value, span, span) for name, value, span in choice.arguments)
    match target:
        case OpSpec():
            resolver.apply_target(choice, (), request.choice_span, scope)
        case tree.Block():
            run_inline(resolver, choice.name, target, given, request.choice_span, scope)
        case tree.Shortcut():
            return _run_definition(resolver, choice, target, given, request, is_changed, scope)
    return scope.flow


def run_inline(
    resolver: StepResolver, name: str, block: tree.Block, given: tuple[Given, ...], span: Span, scope: Scope
) -> None:
    """Run a block's body here, without a scope of its own in names: a body that is one block is that block."""
    here = scope.inner(stride_base=scope.region.geometry(scope.flow).pace, beginning=scope.flow)
    inner = enter_block(resolver, name, block, given, span, scope, here)
    if inner is None:
        scope.flow = scope.region.poison()
        return
    calls = resolver.problems.calls
    calls.append(span)
    around, scope.region.places = scope.region.places, {}
    scope.flow = resolver.run_body(block.body, inner)
    scope.region.places = around
    calls.pop()


def _run_definition(
    resolver: StepResolver,
    choice: Ref,
    shortcut: tree.Shortcut,
    given: tuple[Given, ...],
    request: Request,
    is_changed: bool,
    scope: Scope,
) -> Flow | None:
    scope.definitions = resolver.definitions_of(shortcut)
    scope.values = {}
    scope.beginning = scope.flow
    bound = bind_parameters(choice.name, shortcut.parameters, given, resolver.evaluator, scope, request.choice_span)
    if bound is None:
        return None
    statements = _case_statements(resolver, shortcut, is_changed, request)
    if statements is None:
        return None
    lone = lone_block(statements, scope)
    if lone is not None:
        from_call, block = lone
        arguments = given_arguments(from_call.arguments, resolver.evaluator, scope)
        run_inline(resolver, from_call.callee.name, block, arguments, from_call.span, scope)
        return scope.flow
    around, scope.region.places = scope.region.places, {}
    for statement in statements:
        resolver.run_statement(statement, scope)
    scope.region.places = around
    return scope.flow


def _case_statements(
    resolver: StepResolver, shortcut: tree.Shortcut, is_changed: bool, request: Request
) -> tuple[tree.Statement, ...] | None:
    statements = shortcut.body.statements
    cases = [statement for statement in statements if isinstance(statement, tree.Case)]
    if not cases:
        return statements
    for statement in statements:
        if not isinstance(statement, tree.Case):
            resolver.problems.report("R0317", statement.span, name=shortcut.name.name)
            return None
    for case in cases:
        if case.when_shape_changes == is_changed:
            return (case.chain,)
    facts = {
        "name": shortcut.name.name,
        "words": "the branch changes the shape" if is_changed else "the branch keeps the shape",
        "case": "shape changes -> projection" if is_changed else "same shape -> identity",
    }
    related = (("shortcut", shortcut.name.span, facts),)
    resolver.problems.add(Mistake("R0315", request.span, facts, related))
    return None


def lone_block(statements: tuple[tree.Statement, ...], scope: Scope) -> tuple[tree.Call, tree.Block] | None:
    """The call when statements are one call of a block and nothing else."""
    match statements:
        case (tree.Chain(steps=(tree.Apply(label=None) as step,)),):
            value = scope.values.get(step.call.callee.name) or scope.definitions.find(step.call.callee.name)
            if isinstance(value, Ref) and isinstance(value.target, tree.Block) and not value.arguments:
                return step.call, value.target
    return None


# --- reports -------------------------------------------------------------------------------------------------------


def _report_misfit(
    resolver: StepResolver, request: Request, side: Flow, differ: dict[str, object], scope: Scope
) -> None:
    """Report a sum whose sides differ; a choice that does not fit in many places is one mistake."""
    assert request.branch.shape is not None
    assert side.shape is not None
    if request.choice_span in resolver.misfits:
        return
    resolver.misfits.add(request.choice_span)
    calls = resolver.problems.calls
    site = calls[0] if calls else request.span
    number = resolver.rounds.get(site)
    option, verb = str(request.choice), "keeps" if side.index == request.start.index else "gives"
    is_chosen = request.choice_span != request.span
    facts = {
        "branch": shape_text(request.branch.shape),
        "side": shape_text(side.shape),
        "option": option,
        "verb": verb,
        "where": f" in block {number}" if number else "",
        "kept": "" if is_chosen else f", {option} {verb} {shape_text(side.shape)}",
        **differ,
    }
    related = [("shortcut", request.choice_span, facts)] if is_chosen and request.choice_span != site else []
    if request.start_span is not None:
        related.append(("start", request.start_span, facts))
    last = scope.region.nodes[request.branch.index].span if request.branch.index >= 0 else request.span
    if not last.source.is_ours and last not in (site, request.span) and (differ or site != request.span):
        related.append(("branch", last, facts))
    hints = () if differ else _repairs(resolver, request, scope)
    resolver.problems.add(Mistake("R0309" if differ else "R0301", site, facts, tuple(related), hints))


def _repairs(resolver: StepResolver, request: Request, scope: Scope) -> tuple[str, ...]:
    """The options that would fit here, with what each costs, found by trying them."""
    words = {"B": "project where the shape changes", "A": "pad with zeros"}
    found: list[str] = []
    for option, purpose in words.items():
        cost = _cost(resolver, request, option, scope)
        if cost is not None:
            written = option if found else _as_written(request, option)
            found.append(f"`{written}` to {purpose} (+{cost:,}{'' if found else ' parameters'})")
    return (f"write {', or '.join(found)}",) if found else ()


def _as_written(request: Request, option: str) -> str:
    """A choice of shortcut in the form in which it stands in the text: `shortcut -> B` in a rule, `shortcut = B`."""
    span = request.choice_span
    if span == request.span:
        return f"shortcut {'->' if request.start_span is None else '='} {option}"
    written = span.text.partition("(")[0].strip()
    if written != str(request.choice) and written.isidentifier():
        return f"{written} = {option}"
    line = span.source.line_text(span.line)[: span.column - 1].rstrip()
    sign = next((sign for sign in ("->", "=") if line.endswith(sign)), "")
    return " ".join(filter(None, ("shortcut", sign, option)))


def _cost(resolver: StepResolver, request: Request, option: str, scope: Scope) -> int | None:
    """Parameters that an option of the library would add at this place; None where it does not fit either."""
    ref = scope.definitions.find(option)
    assert request.branch.shape is not None
    if ref is None or not isinstance(ref.target, tree.Shortcut):
        return None
    known, resolver.problems = resolver.problems, Problems()
    resolver.evaluator.problems = resolver.problems
    before = len(scope.region.nodes)
    trial = scope.inner(problems=resolver.problems)
    try:
        side = _lay(resolver, replace(request, choice=ref), is_shape_changed(request, scope.region), trial)
        fits = side is not None and side.shape == request.branch.shape and not resolver.problems
        if not fits or side is None:
            return None
        scope.region.settle((side.index,), before)
        return scope.region.parameters_from(before)
    finally:
        scope.region.drop_from(before)
        resolver.problems = resolver.evaluator.problems = known
