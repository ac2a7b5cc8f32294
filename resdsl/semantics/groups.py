"""Ways that part and join: residual, gated, add, concat, multiply, auxiliary heads, joins with a named place."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import TYPE_CHECKING

from resdsl.diagnostics import Mistake, Problems
from resdsl.ops import GATE, JOINS, Op, Shape, ShapeFault, pair_text, shape_text
from resdsl.ops.core import Arg
from resdsl.semantics import shortcuts
from resdsl.semantics.binding import bind_op_arguments, given_arguments, match_arguments
from resdsl.semantics.model import Link
from resdsl.semantics.naming import open_prefix, report_taken
from resdsl.semantics.region import Flow
from resdsl.semantics.scope import Scope
from resdsl.semantics.values import NONE
from resdsl.sizes import Size, at, first_difference
from resdsl.source import Span
from resdsl.suggest import closest
from resdsl.syntax import tree

if TYPE_CHECKING:
    from resdsl.semantics.steps import StepResolver

PLACE_JOINS = frozenset(JOINS) - {"gate"}
MAX_LISTED = 20
_WEIGHT = Arg("weight", "number", 1.0, least=0)


def run_group(resolver: StepResolver, group: tree.Group, scope: Scope) -> None:
    """Append a group; scope.flow is the value before and after."""
    match group.kind:
        case "residual":
            _run_residual(resolver, group, scope)
        case "gated":
            _run_gated(resolver, group, scope)
        case "preactivation":
            resolver.problems.report("R0406", group.keyword)
        case _:
            _run_branches(resolver, group, scope)


def _run_residual(resolver: StepResolver, group: tree.Group, scope: Scope) -> None:
    start = scope.flow
    changed_start = start
    branch = scope.inner(stride_base=scope.stride_base)
    statements = group.branches[0].body.statements
    shared, rest = _split_preactivation(statements)
    if shared is not None:
        resolver.run_body(shared.branches[0].body, branch)
        changed_start = branch.flow
    for statement in rest:
        resolver.run_statement(statement, branch)
    choice = _chosen_shortcut(resolver, group, scope)
    scope.flow = branch.flow
    if choice is None or branch.flow.shape is None or start.shape is None:
        return
    request = shortcuts.Request(group.keyword, start, changed_start, branch.flow, *choice)
    shortcuts.add_shortcut(resolver, request, scope)


def _split_preactivation(
    statements: tuple[tree.Statement, ...],
) -> tuple[tree.Group | None, tuple[tree.Statement, ...]]:
    """The preactivation that a residual begins with, and the rest."""
    if statements and isinstance(statements[0], tree.Chain):
        first, *others = statements[0].steps
        if isinstance(first, tree.Group) and first.kind == "preactivation":
            if not others:
                return first, statements[1:]
            chain = tree.Chain(statements[0].span, tuple(others))
            return first, (chain, *statements[1:])
    return None, statements


def _chosen_shortcut(resolver: StepResolver, group: tree.Group, scope: Scope) -> tuple[shortcuts.Choice, Span] | None:
    """The shortcut in force: the residual's own, the block's, the stage's, the network's, else identity."""
    given = given_arguments(group.arguments, resolver.evaluator, scope)
    matched = match_arguments(group.kind, ["shortcut"], given, resolver.evaluator, group.keyword)
    if matched is None:
        return None
    if "shortcut" in matched:
        value, span = matched["shortcut"].value, matched["shortcut"].value_span
    elif scope.context.shortcut is not None:
        value, span = scope.context.shortcut
    else:
        value, span = scope.definitions.find("identity") or NONE, group.keyword
    choice = shortcuts.check_choice(resolver, value, span, scope)
    return None if choice is None else (choice, span)


def _run_gated(resolver: StepResolver, group: tree.Group, scope: Scope) -> None:
    start = scope.flow
    gate = scope.inner(prefix=open_prefix(f"{scope.prefix}gate", group.keyword, scope), role="gate")
    transform = scope.inner(prefix=open_prefix(f"{scope.prefix}transform", group.keyword, scope))
    resolver.run_body(group.branches[0].body, gate)
    resolver.run_body(group.branches[1].body, transform)
    scope.flow = transform.flow
    choice = _chosen_shortcut(resolver, group, scope)
    if gate.flow.shape is None or transform.flow.shape is None or choice is None:
        scope.flow = scope.region.poison()
        return
    sides = ((gate.flow, group.branches[0].span), (transform.flow, group.branches[1].span))
    if report_dilations(resolver, group.keyword, sides, scope):
        return
    if report_unequal_sides(resolver, "R0304", group.keyword, sides, scope):
        return
    if choice[0] is NONE:
        resolver.problems.add(Mistake("R0316", group.keyword, {}, (("rule", choice[1], {}),)))
        scope.region.is_poisoned = True
        return
    request = shortcuts.Request(group.keyword, start, start, transform.flow, *choice)
    carried = shortcuts.carried_flow(resolver, request, scope)
    if carried is not None and carried[0].shape is not None:
        link = Link(str(choice[0]), start.index, carried[1], is_gated=True)
        name = scope.region.numbered(scope.prefix, "gate")
        inputs = (carried[0], transform.flow, gate.flow)
        resolver.append(name, Op(GATE, {}), inputs, group.keyword, scope, link=link)


def _run_branches(resolver: StepResolver, group: tree.Group, scope: Scope) -> None:
    start = scope.flow
    sides: list[tuple[Flow, Span]] = []
    for number, branch in enumerate(group.branches, start=1):
        name = branch.name.name if branch.name else None
        prefix = f"{scope.prefix}{name}" if name else scope.region.numbered(scope.prefix, "branch")
        if branch.name and scope.region.is_taken(prefix):
            report_taken(prefix, branch.name.span, scope)
            prefix = f"{prefix}'"
        elif branch.name is None:
            prefix = open_prefix(prefix, branch.span, scope).removesuffix(".")
        role = "gate" if group.kind == "multiply" and number > 1 and scope.role == "trunk" else scope.role
        inner = scope.inner(prefix=f"{prefix}.", role=role, flow=start)
        resolver.run_body(branch.body, inner)
        sides.append((inner.flow, branch.span))
    join_flows(resolver, group.kind, tuple(sides), group.keyword, scope)


def join_flows(
    resolver: StepResolver, kind: str, sides: tuple[tuple[Flow, Span], ...], span: Span, scope: Scope
) -> None:
    """Append add, concat or multiply of several values, or report the two that do not fit."""
    if any(flow.shape is None for flow, _ in sides):
        scope.flow = scope.region.poison()
        return
    if len(sides) == 1:
        scope.flow = sides[0][0]
        return
    if report_dilations(resolver, span, sides, scope):
        return
    name = scope.region.numbered(scope.prefix, kind)
    try:
        scope.flow = scope.region.add_op(name, Op(JOINS[kind], {}), tuple(flow for flow, _ in sides), span, scope.role)
    except ShapeFault as fault:
        if not report_unequal_sides(resolver, fault.code, span, sides, scope):
            resolver.problems.add(Mistake(fault.code, span, fault.facts))
            scope.flow = scope.region.poison()


def report_unequal_sides(
    resolver: StepResolver, code: str, span: Span, sides: tuple[tuple[Flow, Span], ...], scope: Scope
) -> bool:
    """Report the first side that does not fit the first one; True when there is one."""
    first, first_span = sides[0]
    for flow, side_span in sides[1:]:
        assert first.shape is not None
        assert flow.shape is not None
        differ = differing_sizes(first.shape, flow.shape, scope, is_concat=code == "R0303")
        if differ is None:
            continue
        unequal = _unequal(first.shape, flow.shape, code == "R0303")
        facts = {"first": shape_text(first.shape), "other": shape_text(flow.shape), "unequal": unequal, **differ}
        related = (("first", first_span, facts), ("other", side_span, facts))
        resolver.problems.add(Mistake("R0309" if differ else code, span, facts, related))
        _go_on(first, code == "R0303", scope)
        return True
    return False


def _unequal(first: Shape, other: Shape, is_concat: bool) -> str | None:
    """What to make equal where two shapes differ."""
    if len(first) != len(other):
        return None
    words = [] if is_concat or first[0] == other[0] else [f"filters ({first[0]} or {other[0]})"]
    if first[1:] != other[1:]:
        words.append("stride and padding")
    return ", ".join(words)


def _go_on(first: Flow, is_concat: bool, scope: Scope) -> None:
    """Behind a join whose sides differ take the first side's shape for the result; a concatenation has another."""
    scope.flow = scope.region.poison() if is_concat else first
    scope.region.is_poisoned = True


def report_dilations(resolver: StepResolver, span: Span, sides: tuple[tuple[Flow, Span], ...], scope: Scope) -> bool:
    """Report the first side whose map has another dilation than that of the first one; True when there is one."""
    first, first_span = sides[0]
    for flow, side_span in sides[1:]:
        facts = _differing_dilations(first, flow, scope)
        if facts is not None:
            related = [("first", first_span, facts), ("other", side_span, facts)]
            shown = tuple(place for place in related if place[1] != span)
            resolver.problems.add(Mistake("R0320", span, facts, shown))
            scope.flow = scope.region.poison()
            return True
    return False


def _differing_dilations(first: Flow, other: Flow, scope: Scope) -> dict[str, object] | None:
    """The dilations of two sides that differ in it, as facts; one factor a channel has none."""
    if scope.region.limit is None or first.shape is None or other.shape is None:
        return None
    if len(first.shape) != 3 or len(other.shape) != 3 or other.shape[1:] == (1, 1):
        return None
    pairs = [scope.region.geometry(flow).dilation for flow in (first, other)]
    if pairs[0] == pairs[1]:
        return None
    shapes = [shape_text(scope.region.undilated(flow) or ()) for flow in (first, other)]
    return {"first": shapes[0], "other": shapes[1], "left": pair_text(pairs[0]), "right": pair_text(pairs[1])}


def differing_sizes(
    left: tuple[int | Size, ...], right: tuple[int | Size, ...], scope: Scope, is_concat: bool = False
) -> dict[str, object] | None:
    """None where two shapes are equal at all sizes; {} where they never are; else the smallest size that parts them."""
    if len(left) != len(right):
        return {}
    axes = ("channels", "height", "width")[: len(left)]
    triples = list(zip(left, right, axes, strict=True))[1 if is_concat else 0 :]
    if all(a == b for a, b, _ in triples):
        return None
    found: dict[str, object] | None = None
    smallest = 0
    for a, b, axis in triples:
        symbols = [extent.symbol for extent in (a, b) if isinstance(extent, Size)]
        least = max((scope.region.smallest(symbol) for symbol in symbols), default=1)
        size = first_difference(a, b, least)
        if size is None:
            continue
        if len(set(symbols)) != 1 or _growth(a) != _growth(b) or _always_differ(a, b, least):
            return {}
        if found is None or (symbols[0] == found["symbol"] and size < smallest):
            smallest = size
            found = {"symbol": symbols[0], "size": size, "axis": axis, "left": at(a, size), "right": at(b, size)}
    return found


def _growth(extent: int | Size) -> tuple[int, int]:
    """How fast an extent grows with the free size, as a fraction in lowest terms; sides that fit grow alike."""
    up, down = (0, 1) if isinstance(extent, int) else (1, 1)
    for multiply, _, divide in extent.steps if isinstance(extent, Size) else ():
        up, down = up * multiply, down * divide
    common = gcd(up, down)
    return up // common, down // common


def _always_differ(a: int | Size, b: int | Size, least: int) -> bool:
    return all(at(a, value) != at(b, value) for value in range(least, least + 256))


def join_place(resolver: StepResolver, step: tree.Apply, scope: Scope) -> None:
    """`add(early)`, `concat(early)`, `multiply(early)`: a long shortcut from a named place to here."""
    kind = step.call.callee.name
    place, rest = _place_argument(resolver, step, scope)
    if place is None or scope.flow.shape is None:
        scope.flow = scope.region.poison()
        return
    flow, span = place
    given = given_arguments(rest, resolver.evaluator, scope)
    matched = match_arguments(kind, ["shortcut"] if kind == "add" else [], given, resolver.evaluator, step.span)
    if matched is None or flow.shape is None:
        scope.flow = scope.region.poison()
    elif kind == "add":
        value = matched["shortcut"].value if matched else scope.definitions.find("identity") or NONE
        value_span = matched["shortcut"].value_span if matched else step.span
        choice = shortcuts.check_choice(resolver, value, value_span, scope)
        if choice is not None:
            request = shortcuts.Request(step.span, flow, flow, scope.flow, choice, value_span, span)
            shortcuts.add_shortcut(resolver, request, scope)
    else:
        join_flows(resolver, kind, ((scope.flow, _before(scope, step)), (flow, span)), step.span, scope)


def _before(scope: Scope, step: tree.Apply) -> Span:
    """The step in front of a join."""
    return scope.region.nodes[scope.flow.index].span if scope.flow.index >= 0 else step.span


def report_unknown_place(problems: Problems, name: str, span: Span, known: Iterable[str]) -> None:
    """Report a name that no earlier place has, with those that can be named here."""
    known = list(known)
    places = ", ".join(f"`{place}`" for place in known[-MAX_LISTED:]) + (", ..." if len(known) > MAX_LISTED else "")
    problems.report("R0214", span, name=name, guess=closest(name, known), places=places or None)


def _place_argument(
    resolver: StepResolver, step: tree.Apply, scope: Scope
) -> tuple[tuple[Flow, Span] | None, tuple[tree.Argument, ...]]:
    arguments = step.call.arguments or ()
    kind = step.call.callee.name
    if not arguments or arguments[0].name is not None or not isinstance(arguments[0].value, tree.Name):
        resolver.problems.report("R0206", step.span, callee=kind, name="place", wanted="the name of an earlier place")
        return None, ()
    name = arguments[0].value
    if name.name == "input":
        return (scope.beginning or scope.region.input(), name.span), arguments[1:]
    place = scope.region.places.get(name.name)
    if place is None:
        report_unknown_place(resolver.problems, name.name, name.span, (*scope.region.places, "input"))
    return place, arguments[1:]


def run_auxiliary(resolver: StepResolver, step: tree.Auxiliary, scope: Scope) -> None:
    """Append an auxiliary head: it leaves the trunk here and has an output of its own."""
    outputs = scope.region.auxiliaries
    if outputs is None:
        resolver.problems.report("R0407", step.name.span, what="an auxiliary head", where="in a stem, stage or head")
        return
    given = given_arguments(step.arguments, resolver.evaluator, scope)
    bound = bind_op_arguments("auxiliary", [_WEIGHT], given, resolver.evaluator, scope, step.span)
    first = next((span for name, _, _, span in outputs if name == step.name.name), None)
    if first is not None:
        resolver.problems.add(Mistake("R0213", step.name.span, {"name": step.name.name}, (("first", first, {}),)))
        return
    if scope.region.is_taken(step.name.name):
        report_taken(step.name.name, step.name.span, scope)
        return
    inner = scope.inner(prefix=f"{step.name.name}.", role="auxiliary")
    resolver.run_body(step.body, inner)
    if bound is not None and inner.flow.shape is not None:
        outputs.append((step.name.name, bound["weight"], inner.flow, step.span))
