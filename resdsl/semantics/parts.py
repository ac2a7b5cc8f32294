"""Stem, stages and head: the rules that a stage follows, and what its map and filters must then be."""

from __future__ import annotations

from dataclasses import dataclass, field

from resdsl.diagnostics import Mistake
from resdsl.ops import MAX_FILTERS, STEPS, Shape, shape_text, value_text
from resdsl.semantics.binding import Given, given_arguments, match_arguments
from resdsl.semantics.halving import run_halving_at_end
from resdsl.semantics.model import Part
from resdsl.semantics.naming import report_place_taken, report_taken
from resdsl.semantics.region import Flow
from resdsl.semantics.scope import Context, Scope
from resdsl.semantics.shortcuts import check_choice, lone_block, run_inline
from resdsl.semantics.steps import StepResolver
from resdsl.semantics.values import NONE, POISON, Poison, Value, is_number
from resdsl.sizes import Extent, first_difference, resize
from resdsl.source import Span
from resdsl.suggest import closest
from resdsl.syntax import tree

MAX_STRIDE = 1 << 24

_ATTRIBUTES: dict[type, str] = {
    tree.MapAttribute: "what it does to the map",
    tree.FiltersAttribute: "how many filters it has",
    tree.ShortcutAttribute: "which shortcut it has",
}


@dataclass(slots=True)
class RulesInForce:
    """The rules of a network, each with its place; the output stride without one."""

    growth: dict[bool, tuple[tree.MapRule, Scope]] = field(default_factory=dict)
    shortcut: tuple[Value, Span] | None = None
    output_stride: int | None = None


@dataclass(slots=True)
class FiltersState:
    """The filters of a stage, the place that set them, and the stage."""

    filters: int
    place: Span
    stage: Span


class PartResolver:
    """Runs the parts of one network in order."""

    def __init__(self, steps: StepResolver) -> None:
        self.steps = steps
        self.problems = steps.problems
        self.rules = RulesInForce()
        self.parts: list[Part] = []
        self._filters: FiltersState | None = None
        self._names: dict[str, Span] = {}

    # --- rules ---

    def add_rules(self, rules: tree.Rules, scope: Scope) -> None:
        """Take up the rules of a network, in its own scope; a later network (a variant) may replace them."""
        seen: dict[object, Span] = {}
        for rule in rules.rules:
            key: object
            match rule:
                case tree.MapRule():
                    key = rule.halve
                    self.rules.growth[rule.halve] = (rule, scope)
                case tree.ShortcutRule():
                    key = "shortcut"
                    self.rules.shortcut = self._shortcut(rule.value, scope)
                case tree.DefaultRule():
                    key = rule.step.name
                    self._add_default(rule, scope)
                case tree.StrideRule():
                    key = "output stride"
                    self.rules.output_stride = self._output_stride(rule, scope)
            if key in seen:
                facts = {"what": "the rule"}
                self.problems.add(Mistake("R0408", rule.span, facts, (("first", seen[key], {}),)))
            seen[key] = rule.span

    def _shortcut(self, expr: tree.Expr, scope: Scope) -> tuple[Value, Span]:
        """The value of a choice of shortcut, poison where it is none, and its place."""
        choice = check_choice(self.steps, self.steps.evaluator.evaluate(expr, scope), expr.span, scope)
        return (POISON if choice is None else choice), expr.span

    def _output_stride(self, rule: tree.StrideRule, scope: Scope) -> int | None:
        value = self.steps.evaluator.evaluate(rule.value, scope)
        if value is NONE or isinstance(value, Poison):
            return None
        wanted = f"a whole number (1 to {MAX_STRIDE:,}), or none"
        if not is_number(value) or value != int(value):  # type: ignore[arg-type]
            self.steps.evaluator.wrong_kind(rule.value.span, value, wanted, scope)
        elif not 1 <= value <= MAX_STRIDE:  # type: ignore[operator]
            facts = {"what": "the output stride", "wanted": wanted, "found": value_text(value)}
            self.problems.add(Mistake("R0207", rule.value.span, facts))
        else:
            return int(value)  # type: ignore[arg-type]
        return None

    def _add_default(self, rule: tree.DefaultRule, scope: Scope) -> None:
        ref = scope.definitions.find(rule.step.name)
        if ref is None or isinstance(ref.target, (tree.Block, tree.Shortcut)):
            guess = None if ref else closest(rule.step.name, STEPS)
            self.problems.report("R0219", rule.step.span, name=rule.step.name, guess=guess)
            return
        given = given_arguments(rule.arguments, self.steps.evaluator, scope)
        positional = next((argument for argument in given if argument.name is None), None)
        if positional is not None:
            example = next((arg.name for arg in ref.target.args), "argument")
            self.problems.report("R0223", positional.span, name=rule.step.name, example=example)
            return
        names = [arg.name for arg in ref.target.args]
        if match_arguments(rule.step.name, names, given, self.steps.evaluator, rule.span) is None:
            return
        self.steps.set_default(rule.step.name, given)

    # --- parts ---

    def run_sequence(self, statement: tree.Statement, scope: Scope) -> None:
        """Run a statement that stands in the network itself; statements side by side make one part."""
        start = len(scope.region.nodes)
        before = scope.flow
        scope.context = Context(shortcut=self.rules.shortcut)
        self.steps.run_statement(statement, scope)
        last = self.parts[-1] if self.parts else None
        is_only_auxiliary = scope.flow.index == before.index and not (last and last.kind == "sequence")
        if scope.flow.shape is None or is_only_auxiliary:
            return
        first = (last.start, last.input, last.span) if last and last.kind == "sequence" else (start, before.index, None)
        if last and last.kind == "sequence":
            self.parts.pop()
        span = statement.span if first[2] is None else first[2].to(statement.span)
        end = len(scope.region.nodes)
        self.parts.append(Part("sequence", "layers", span, first[0], end, first[1], scope.flow.index, scope.flow.shape))

    def run_part(self, part: tree.Part, scope: Scope) -> None:
        """Run a stem, stage or head; scope.flow is the map before and after."""
        name = part.name.name
        if name in self._names:
            self.problems.add(
                Mistake("R0404", part.name.span, {"name": name}, (("first", self._names[name], {"name": name}),))
            )
        prefix = self._open(part, scope)
        self._names[name] = part.name.span
        before, start = scope.flow, len(scope.region.nodes)
        inner = scope.inner(prefix=prefix, stride_base=scope.region.geometry(before).pace)
        if part.kind == "stage":
            self._run_stage(part, inner)
        else:
            inner.context = Context(shortcut=self.rules.shortcut)
            self._run_end(part, inner)
        scope.flow = inner.flow
        if part.kind == "stage":
            # From its end on a stage's name is the stage, also where a step in it was given the same name.
            scope.region.places[name] = (scope.flow, part.name.span)
        if scope.flow.shape is not None:
            end = len(scope.region.nodes)
            self.parts.append(
                Part(part.kind, name, part.heading, start, end, before.index, scope.flow.index, scope.flow.shape)
            )

    def _open(self, part: tree.Part, scope: Scope) -> str:
        """The prefix of a part's names; reported where something else has the part's name."""
        name, span = part.name.name, part.name.span
        place = scope.region.places.get(name)
        if name in self._names:
            return f"{name}."
        if part.kind == "stage" and name == "input":
            self.problems.report("R0221", span, name=name)
        elif place is not None:
            report_place_taken(span, place[1], scope)
        elif scope.region.is_taken(name):
            report_taken(name, span, scope)
        else:
            return f"{name}."
        # A name that no module can have, so that what stands in the part is not reported again.
        return f"{name}'."

    def _run_end(self, part: tree.Part, scope: Scope) -> None:
        """A stem or head; when it is one block, the block's steps are its own."""
        lone = lone_block(part.body.statements, scope)
        if lone is None:
            self.steps.run_body(part.body, scope)
            return
        call, block = lone
        given: tuple[Given, ...] = given_arguments(call.arguments, self.steps.evaluator, scope)
        run_inline(self.steps, call.callee.name, block, given, call.span, scope)

    def _run_stage(self, part: tree.Part, scope: Scope) -> None:
        by_kind = self._attributes(part)
        if by_kind is None:
            self._filters = None
            scope.flow = scope.region.poison()
            return
        change = by_kind.get(tree.MapAttribute)
        halve = isinstance(change, tree.MapAttribute) and change.halve
        at_end = isinstance(change, tree.MapAttribute) and change.at_end
        filters = self._stage_filters(part, halve, by_kind.get(tree.FiltersAttribute), scope)
        shortcut = self.rules.shortcut
        stated = by_kind.get(tree.ShortcutAttribute)
        if isinstance(stated, tree.ShortcutAttribute):
            shortcut = self._shortcut(stated.value, scope)
        stride = (2, 2) if halve else (1, 1)
        if filters is not None:
            self._filters = filters
        scope.context = Context(
            filters.filters if filters else None, filters.place if filters else None, stride, shortcut
        )
        before = scope.flow
        if at_end:
            run_halving_at_end(self.steps, part.body.statements, stride, scope)
        else:
            self.steps.run_body(part.body, scope)
        self._check_map(part, change, halve, before, scope)

    def _attributes(self, part: tree.Part) -> dict[type, tree.Attribute] | None:
        """What a stage states, by kind; None after reporting two of a kind that differ: which is meant is not known."""
        by_kind: dict[type, tree.Attribute] = {}
        is_clear = True
        for attribute in part.attributes:
            first = by_kind.setdefault(type(attribute), attribute)
            if first is attribute:
                continue
            is_same = first.span.text == attribute.span.text
            facts = {
                "stage": part.name.name,
                "what": _ATTRIBUTES[type(attribute)],
                "again": "the second time" if is_same else "this contradicts the first",
            }
            self.problems.add(Mistake("R0411", attribute.span, facts, (("first", first.span, {}),)))
            is_clear = is_clear and is_same
        return by_kind if is_clear else None

    # --- filters ---

    def _stage_filters(
        self, part: tree.Part, halve: bool, stated: tree.Attribute | None, scope: Scope
    ) -> FiltersState | None:
        ruled = self._ruled_filters(part, halve, scope)
        if not isinstance(stated, tree.FiltersAttribute):
            return ruled
        before = self._filters.filters if self._filters else None
        names = scope.inner()
        if before is not None:
            names.values["filters"] = before
        value = self.steps.evaluator.integer(stated.value, names, "the stage's filters, a whole number")
        if not isinstance(value, Poison) and not 1 <= value <= MAX_FILTERS:
            self._report_filters_range("the stage's filters", value, stated.value.span)
            value = POISON
        if isinstance(value, Poison):
            scope.region.is_poisoned = True
            return ruled
        if ruled is not None and ruled.filters != value and not stated.override:
            self._report_contradiction(part, stated, value, ruled, halve)
        return FiltersState(value, stated.span, part.heading)

    def _report_contradiction(
        self, part: tree.Part, stated: tree.FiltersAttribute, value: int, ruled: FiltersState, halve: bool
    ) -> None:
        before = self._filters
        facts = {
            "stage": part.name.name,
            "stated": value,
            "ruled": ruled.filters,
            "before": before.filters if before else None,
            "reason": _growth_text(ruled, before),
        }
        related = [("rule", ruled.place, facts)]
        if before is not None:
            related.append(("before", before.stage, facts))
        self.problems.add(Mistake("R0401", stated.span, facts, tuple(related)))

    def _ruled_filters(self, part: tree.Part, halve: bool, scope: Scope) -> FiltersState | None:
        """The filters that the network's rule gives the stage; None without a rule for this change of the map."""
        found = self.rules.growth.get(halve)
        if found is None:
            return None
        rule, rule_scope = found
        if self._filters is None:
            if scope.flow.shape is None:
                return None
            channels = scope.flow.shape[0]
            place = scope.region.nodes[scope.flow.index].span if scope.flow.index >= 0 else rule.span
            assert isinstance(channels, int)
            self._filters = FiltersState(channels, place, place)
        before = self._filters.filters
        if isinstance(rule.growth, str):
            grown: int | Poison = before if rule.growth == "same" else 2 * before
        else:
            names = rule_scope.inner()
            names.values["filters"] = before
            grown = self.steps.evaluator.integer(rule.growth, names, "a whole number of filters")
        if isinstance(grown, Poison):
            return None
        if not 1 <= grown <= MAX_FILTERS:
            self._report_filters_range("the filters that the rule gives", grown, rule.growth_span)
            return None
        return FiltersState(grown, rule.span, part.heading)

    def _report_filters_range(self, what: str, value: int, span: Span) -> None:
        wanted = f"a whole number (1 to {MAX_FILTERS:,})"
        self.problems.report("R0207", span, what=what, wanted=wanted, found=f"{value:,}")

    # --- the map ---

    def _check_map(
        self, part: tree.Part, change: tree.Attribute | None, halve: bool, before: Flow, scope: Scope
    ) -> None:
        """The stage must do to the map what it says; without a word, what the rule `same map` says."""
        before, after = (Flow(flow.index, scope.region.undilated(flow)) for flow in (before, scope.flow))
        is_ruled = isinstance(change, tree.MapAttribute) or False in self.rules.growth
        if before.shape is None or after.shape is None or not is_ruled:
            return
        if len(before.shape) == len(after.shape) == 1 and not halve:
            return
        if len(before.shape) == len(after.shape) == 3:
            pairs = list(zip(before.shape[1:], after.shape[1:], strict=True))
            if all(_is_halved(a, b) if halve else not _differ(a, b) for a, b in pairs):
                return
        is_map = len(before.shape) == 3
        found = f"the map is {shape_text(before.shape)} before this stage and {_result_text(after.shape)} behind it"
        facts = {
            "stage": part.name.name,
            "wanted": "halve the map" if halve else "keep the map",
            "instead": "its blocks do something else" if is_map else "a vector has no map",
            "found": found if is_map else f"a vector of {before.shape[0]} comes in here",
        }
        rule = self.rules.growth.get(halve)
        related = () if rule is None or isinstance(change, tree.MapAttribute) else (("rule", rule[0].span, facts),)
        self.problems.add(Mistake("R0402", part.heading, facts, related, _map_hints(halve, before, after)))


def _growth_text(ruled: FiltersState, before: FiltersState | None) -> str:
    """Where the filters of a rule come from: ` (2 x 16)`."""
    if before is None:
        return ""
    times, rest = divmod(ruled.filters, before.filters)
    if times == 1 and not rest:
        return ", as before"
    return "" if rest else f" ({times} x {before.filters})"


def _differ(a: Extent, b: Extent) -> bool:
    return a != b and first_difference(a, b) is not None


def _is_halved(a: Extent, b: Extent) -> bool:
    """Half the size, an odd one rounded up or down."""
    return not _differ(resize(a, 1, 1, 2), b) or not _differ(resize(a, 1, 0, 2), b)


def _result_text(shape: Shape) -> str:
    return shape_text(shape) if len(shape) == 3 else f"a vector of {shape[0]}"


def _map_hints(halve: bool, before: Flow, after: Flow) -> tuple[str, ...]:
    assert before.shape is not None
    assert after.shape is not None
    if len(before.shape) == 1:
        return ("leave `halve map` out, or let the stage stand in front of the pool or `flatten`",) if halve else ()
    if halve and before.shape[1:] == after.shape[1:]:
        return ("no step of the stage strides: write `stride = stride` in a convolution of its block",)
    is_halved = len(after.shape) == 3 and all(
        _is_halved(a, b) for a, b in zip(before.shape[1:], after.shape[1:], strict=True)
    )
    return ("write `halve map` behind the stage's name",) if not halve and is_halved else ()
